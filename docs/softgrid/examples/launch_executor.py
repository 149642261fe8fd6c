# standard library imports
from __future__ import print_function
import sys

# softgrid imports
from gridcompute.softgrid import Orchestrator, Globals

# create orchestrator
O = Orchestrator(password='nopassword', acceptWorkers=False)

## launch four local routers
status, routers,fl = O.launch_router(upgridUniqueName=O.gridUniqueName,
                                     executorAddress=[O.address]*4,
                                     executorKwargs=None,
                                     machineUser='some_user')
for s in status:
    print(s)
