# standard library imports
import sys, multiprocessing

# import softgrid orchestrator
from gridcompute.softgrid import Orchestrator

# parameters
NUMBER     = 20                    # number of transfer cycles to get a statistical representation
NO_DATA    = None                  #            (16 bytes)
TINY_DATA  = list(range(1000000))  # 1000,000   (37 MB)
SMALL_DATA = list(range(10000000)) # 10,000,000 (370 MB)
BIG_DATA   = list(range(50000000)) # 50,000,000 (1.85 GB)

# instanciate orchestrator
O = Orchestrator(password='some_password_12345', acceptWorkers=True)

# create workers
ncpu = O.machineNumberOfCores - 1
status, ss,fl = O.launch_worker(upgridUniqueName=O.gridUniqueName,
                                 executorAddress=[O.address]*ncpu,
                                 executorKwargs=None,
                                 machineUser=['some_user']*ncpu)
for s in status:
     print(s)

## ASSESS FROM ORCHESTRATOR TO WORKER WHICH IS A DIRECT PATH
# assess no data
result = O.assess_transfer_speed(toGUN=O.workers[-1], fromGUN=None, data=NO_DATA, number=NUMBER, plot=True)
for r in result:
     print(r)

# assess tiny data
result = O.assess_transfer_speed(toGUN=O.workers[-1], fromGUN=None, data=TINY_DATA, number=NUMBER, plot=True)
for r in result:
     print(r)

# assess small data
result = O.assess_transfer_speed(toGUN=O.workers[-1], fromGUN=None, data=SMALL_DATA, number=NUMBER, plot=True)
for r in result:
     print(r)

# assess big data
result = O.assess_transfer_speed(toGUN=O.workers[-1], fromGUN=None, data=BIG_DATA, number=NUMBER, plot=True)
for r in result:
     print(r)


## ASSESS FROM WORKER TO ANOTHER WHICH IS A 2 STEPS PATH
# assess no data
result = O.assess_transfer_speed(toGUN=O.workers[-1], fromGUN=O.workers[-2], data=NO_DATA, number=NUMBER, plot=True)
for r in result:
     print(r)

# assess tiny data
result = O.assess_transfer_speed(toGUN=O.workers[-1], fromGUN=O.workers[-2], data=TINY_DATA, number=NUMBER, plot=True)
for r in result:
     print(r)

# assess small data
result = O.assess_transfer_speed(toGUN=O.workers[-1], fromGUN=O.workers[-2], data=SMALL_DATA, number=NUMBER, plot=True)
for r in result:
     print(r)

# assess big data
result = O.assess_transfer_speed(toGUN=O.workers[-1], fromGUN=O.workers[-2], data=BIG_DATA, number=NUMBER, plot=True)
for r in result:
     print(r)
