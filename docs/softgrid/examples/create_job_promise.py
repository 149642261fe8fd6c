# The document shows the middle of this script; here it is with a grid around it.
import time

from gridcompute.softgrid import Globals, Orchestrator

## allow machine to accept any number of workers
Globals.RULES['machine_maximum_number_of_workers']  = None

# create orchestrator
E = Orchestrator(password='some_password_12345', acceptWorkers=True)

# create local workers
status, workers, fl = E.launch_worker(executorAddress=[E.address]*5, machineUser='some_user')
for s in status:
    print(s)

import random
ntasks   = 5
statuses = E.create_job_promise(ntasks=ntasks, workers=None, nworkersMin=ntasks, promiseTimeout=60)
if not isinstance(statuses, list):
    print(statuses)
else:
    def func(wait, n):
        import time, random
        tic = time.time()
        while time.time()-tic<wait:
            continue
        return [random.random() for _ in range(n)]

    for i in range(ntasks):
        password = statuses[i]['promise_password']
        worker   = statuses[i]['promise_executor']
        E.schedule_task(func=func, worker=worker, promisePassword=password,
                        fkwargs={'wait':30, 'n':random.randint(1000,10000)}, collect=False,
                        returnResult=True, storeResult=False, resultName='random_range')

        # After about 30 seconds results shall be returned from executors
        # and retrieved using E._executedReturned['random_range']

    while len(E._executedReturned.get('random_range', [])) < ntasks:
        time.sleep(0.1)
    print([len(numbers) for numbers in E._executedReturned['random_range']])
    E.remove_job_promise(statuses)
