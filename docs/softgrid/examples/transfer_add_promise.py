# standard library imports
import time, uuid, sys
from pprint import pprint

# softgrid imports
from gridcompute.softgrid import Orchestrator

# create some funky password
t = time.strftime("%Y-%m-%d-%H-%M-%S", time.localtime(time.time()))
s = str(uuid.uuid1())
PROMISE_PASSWORD = "%s_%s"%(t,s)

# create orchestrator
O = Orchestrator(password='some_password_12345', acceptWorkers=True)

# create local workers
ncpu = O.machineNumberOfCores - 1
status, ss,fl = O.launch_worker(upgridUniqueName=O.gridUniqueName,
                                executorAddress=[O.address]*ncpu,
                                executorKwargs=None,
                                machineUser=['some_user']*ncpu)
for s in status:
    print(s)

# create job execution promise on all workers
promises = O.transfer_add_promise(workerGUN=O.workers, promisePassword=PROMISE_PASSWORD, promiseTimeout=60, force=True)

# print returned promises
if not isinstance(promises, list):
    # failed to transfer at all
    print(promises)
else:
    # print failed promises
    for p in promises:
        if not isinstance(p, dict):
            print(p)
    # print successful promises
    for p in promises:
        if isinstance(p, dict):
            pprint(p)

# IN 1 MIN, ALL PROMISES WILL EXPIRE BECAUSE promiseTimeout IS SET TO 60.
# ORCHESTRATOR WILL RECEIVE A TIMEOUT LOG ABOUT PROMISES ON REMOTE WORKERS
# EXPIRING AFTER BEING IDLE FOR 60 SECONDS.
