# standard library imports
from __future__ import print_function
import sys, multiprocessing

# softgrid imports
from gridcompute.softgrid import Orchestrator, Globals

# allow multiple managers on the same machine. This is not a good
# practice but it's ok for the sake of this example
Globals.RULES['machine_maximum_number_of_managers'] = None

# create orchestrator
O = Orchestrator(password='nopassword', acceptWorkers=True)

## launch six local routers
status, routers,fl = O.launch_router(upgridUniqueName=O.gridUniqueName,
                                     executorAddress=[O.address]*6,
                                     executorKwargs=None,
                                     machineUser='some_user')
for s in status:
    print(s)

# get routers gridUniqueName
routers = [e['gridUniqueName'] for e in routers]

## launch six local managers
status, managers, fl = O.launch_manager(upgridUniqueName=routers[-1],
                                        executorAddress=[O.address]*6,
                                        executorKwargs=None,
                                        machineUser='some_user')
for s in status:
    print(s)

# get workers gridUniqueName
managers = [e['gridUniqueName'] for e in managers]

## launch local workers connecting directly to orchestrator
ncpu = O.machineNumberOfCores - 1
status, workers, fl = O.launch_worker(upgridUniqueName=O.gridUniqueName,
                                      executorAddress=[O.address]*ncpu,
                                      executorKwargs=None,
                                      machineUser=['some_user']*ncpu)
for s in status:
    print(s)

# get workers gridUniqueName
workers = [e['gridUniqueName'] for e in workers]

# create a user defined function that takes the
# remote executor as it's first argument
def transfer_log_and_get_gun(executor, receivers):
    import random
    from datetime import datetime
    # get time
    t = datetime.now().strftime("%H:%M:%S.%f")
    # get all workers different than this one
    receivers = [w for w in receivers if w!=executor.gridUniqueName]
    # select a worker to transfer and log from
    receiver = random.choice(receivers)
    # transfer and log
    m = "I am '%s', transfering my log '%s' to '%s' and initiate the log from there"%(executor.gridUniqueName,t,receiver)
    executor.transfer_to_executor_and_log(receiver=receiver, logType='info', message=m)
    # return data
    return "%s --> %s"%(t, executor.gridUniqueName)

# create transfer data
transferKwargs = O.get_transfer_template(func=transfer_log_and_get_gun, priority=None, kwargs={'receivers':O.routers+O.managers})

# set 'first_argument_executor' flag to true.
# This will tell remote executor to pass itself as the funtion first argument
transferKwargs['first_argument_executor'] = True

# create list of receivers which is a list of all workers
# gridUniqueName
receivers = O.workers

# transfer to all receivers
guns = O.transfer(transferKwargs=transferKwargs, receivers=receivers, collect=True)

# print returned results which is a list of strings of the
# format timestamp --> gridUniqueName
print(guns)
