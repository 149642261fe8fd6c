# standard library imports
import sys

# import softgrid orchestrator
from gridcompute.softgrid import Orchestrator

# instanciate orchestrator
O = Orchestrator(password='some_password_12345', acceptWorkers=True)

# create workers
status, ss,fl = O.launch_worker(upgridUniqueName=O.gridUniqueName,
                                executorAddress=O.address,
                                executorKwargs=None,
                                machineUser='some_user')
for s in status:
     print(s)

# define some function to transfer
def power(n,p):
    return n**p

# get transfer template
transferKwargs = O.get_transfer_template(func=power,
                                         args=(),
                                         kwargs={'n':10, 'p':6},
                                         priority=None,
                                         promisePassword=None,
                                         returnResult=True,
                                         storeResult=False,
                                         resultName=None)

# transfer and execute on a remote worker
result = O.transfer(transferKwargs=transferKwargs,
                       receivers=O.workers[-1],
                       collect=True)

# print result
print(result)
