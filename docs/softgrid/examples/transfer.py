# standard library imports
from __future__ import print_function
import sys, multiprocessing

# softgrid imports
from gridcompute.softgrid import Orchestrator, Globals

# Default settings forbid user to execute his own defined functions
# (UDF) on grid's routers and managers. This is meant to prevent
# cluttering the network and the machines with work that is only
# meant to be ran and managed by grid workers. In this particular
# case, for the sake of this example, we need to allow executing UDF
# and this can be done by altering some grid default rules. Those
# rules must be modified prior to instanciating the orchestrator

# Allow executing user defined functions on routers and managers
Globals.RULES["router_allow_executing_udf"]  = True
Globals.RULES["manager_allow_executing_udf"] = True

# Allow launching as many managers as one wants on a single machine.
# By default it's allowed to launch one manager by machine
Globals.RULES['machine_maximum_number_of_managers'] = None

# create orchestrator
O = Orchestrator(password='nopassword', acceptWorkers=False)

## launch four local routers
status, routers, fl = O.launch_router(upgridUniqueName=O.gridUniqueName,
                                      executorAddress=[O.address]*4,
                                      executorKwargs=None,
                                      machineUser='some_user')
for s in status:
    print(s)

# get routers gridUniqueName
routers = [e['gridUniqueName'] for e in routers]

## launch four local managers
status, managers, fl = O.launch_manager(upgridUniqueName=routers[-1],
                                        executorAddress=[O.address]*4,
                                        executorKwargs=None,
                                        machineUser='some_user')
for s in status:
    print(s)

# get managers gridUniqueName
managers = [e['gridUniqueName'] for e in managers]

## launch local workers
ncpu = O.machineNumberOfCores - 1
status, workers, fl = O.launch_worker(upgridUniqueName=managers[-1],
                                      executorAddress=[O.address]*ncpu,
                                      executorKwargs=None,
                                      machineUser=['some_user']*ncpu)
for s in status:
    print(s)

# get workers gridUniqueName
workers = [e['gridUniqueName'] for e in workers]

# create a user defined function that takes the
# remote executor as it's first argument
def get_gun(executor):
    from datetime import datetime
    t = datetime.now().strftime("%H:%M:%S.%f")
    return "%s --> %s"%(t, executor.gridUniqueName)


# create transfer data using helper function get_transfer_template
transferKwargs = O.get_transfer_template(func=get_gun, priority=None)

# set 'first_argument_executor' flag to true.
# This will tell remote executor to pass itself as the funtion first argument
transferKwargs['first_argument_executor'] = True

# create list of receivers which is a list of all routers, managers
# and workers grid unique names
receivers = O.routers+O.managers+O.workers

# transfer to receivers
guns = O.transfer(transferKwargs=transferKwargs, receivers=receivers, collect=True)

# print returned results which is a list of strings of the
# format timestamp --> gridUniqueName
print(guns)
