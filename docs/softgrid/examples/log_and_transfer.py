# standard library imports
from __future__ import print_function
import sys, multiprocessing

# softgrid imports
from gridcompute.softgrid import Orchestrator

# create orchestrator
O = Orchestrator(password='nopassword', acceptWorkers=True)

## launch local workers
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
def log_and_get_gun(executor):
    from datetime import datetime
    t = datetime.now().strftime("%H:%M:%S.%f")
    executor.log_and_transfer(logType='info', message="I'm logging '%s' in my UDF"%t)
    return "%s --> %s"%(t, executor.gridUniqueName)

# create transfer data
transferKwargs = O.get_transfer_template(func=log_and_get_gun, priority=None)

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
