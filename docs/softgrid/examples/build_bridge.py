from __future__ import print_function
import sys
from gridcompute.softgrid import Collections, Orchestrator, Globals

## allow machine to accept any number of managers
Globals.RULES['machine_maximum_number_of_managers'] = None
## allow machine to accept any number of workers
Globals.RULES['machine_maximum_number_of_workers']  = None

## launch orchestrator
O = Orchestrator(password='nopassword')

## launch 3 managers attached to orchestrator
status,managers,_ = O.launch_manager(upgridUniqueName=O.gridUniqueName,
                                     executorAddress=[O.address]*3,
                                     machineUser='some_user',
                                     timeout=20)

# get managers gridUniqueName
managers = [e['gridUniqueName'] for e in managers]

## launch 5 workers on attached to each manager for a total of 15 workers
status,workers,_ = O.launch_worker(upgridUniqueName=managers*5,
                                   executorAddress=[O.address]*len(managers)*5,
                                   machineUser='some_user',
                                   timeout=20)

# get workers gridUniqueName
workers = [e['gridUniqueName'] for e in workers]

## build connection bridges between workers
O.build_bridge(O.workers[0], O.workers[14])
O.build_bridge(O.workers[2], O.workers[7])
O.build_bridge(O.workers[5], O.workers[12])
O.build_bridge(O.workers[8], O.workers[10])

## visualize grid graph as seen from orchestrator
O.visualize_grid(labelsFormat='${role}\n${pid}')
