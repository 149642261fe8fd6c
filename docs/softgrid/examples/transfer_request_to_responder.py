# In this code snippet we will be performing synchronous
# computation between the orchestrator and a random worker.
# The orchestrator will launch remote_increment function on a
# worker. This function will instanciate a variable called
# totalSum increment its value by incrementValue constant and
# sends it back to the orchestrator as a request for response.
# The worker execution will block until orchestrator responds back
# with the response for the request. At this time the orchestrator
# will be waiting to receive a request from the worker
# using wait_for_request method. Upon receiving the request,
# the orchestrator will get totalSum value, increments it by
# incrementValue and responds it back to the worker which was doing
# nothing but waiting for the response back from the orchestrator.
# This cycle will be repeated 100 time until finally the
# total value is logged using log_and_transfer method.


# standard library imports
import time, uuid, sys

# softgrid imports
from gridcompute.softgrid import Orchestrator

# create some funky password
t = time.strftime("%Y-%m-%d-%H-%M-%S", time.localtime(time.time()))
s = str(uuid.uuid1())
PASSWORD = "%s_%s"%(t,s)

# create orchestrator
O = Orchestrator(password='some_password_12345', acceptWorkers=True)

# create local workers
ncpu = O.machineNumberOfCores - 1
status, workers, fl = O.launch_worker(upgridUniqueName=O.gridUniqueName,
                                      executorAddress=[O.address]*ncpu,
                                      executorKwargs=None,
                                      machineUser=['some_user']*ncpu)
for s in status:
    print(s)

# get workers gridUniqueName
workers = [e['gridUniqueName'] for e in workers]

# define remote function to execute at the requester side
def remote_increment(executor, responder, password, startValue, incrementValue, cycles):
    import time
    totalSum = startValue
    for step in range(cycles):
        # increment total sum
        totalSum += incrementValue
        # send transfer for a response
        executor.transfer_request_to_responder(responder=responder, password=password, request=totalSum)
        # wait for response
        result = executor.wait_for_response(password=password,timeout=20,frequency=0.0005)
        # get result from responder
        totalSum = result[password]['response']['value']

# create function to call at orchestrator side which is the
# responder's side in this case. this function will transfer
# 'remote_increment' to a worker and start request and respond loops
def transfer_and_start_respond_to_requests(O=O):
    # create transfer data
    transferKwargs = O.get_transfer_template(func=remote_increment)
    transferKwargs["kwargs"] = {'responder':O.gridUniqueName,
                                'password':PASSWORD,
                                'startValue':1,
                                'incrementValue':1,
                                'cycles':100}
    transferKwargs['first_argument_executor'] = True
    transferKwargs['priority']                = None
    # transfer remote_increment to worker and start executing remotely
    O.transfer(transferKwargs=transferKwargs,
               receivers=O.workers[-1],
               collect= False)
    # initiate wait for request on orchestrator
    startTime = time.time()
    stepsTime = []
    for step in range(100):
        tic = time.time()
        # wait for request of certain password
        request = O.wait_for_request(password=PASSWORD, frequency=0.0005)
        # get request value and add 1
        value   = request[PASSWORD]['request'] + 1
        # get requester which should be the same as O.workers[-1]
        requester = request[PASSWORD]['requester']
        # respond to requester
        O.transfer_response_to_requester(requester=requester, password=PASSWORD, response=value)
        stepsTime.append(time.time()-tic)
    endTime = time.time()
    time.sleep(1) # wait for all logs before logging final message
    message = "Total request and wait for response time for %s back and forth cycles is %.5f sec. (avg/cycle %.5f)"%(100,endTime-startTime, sum(stepsTime)/len(stepsTime))
    O.log_and_transfer('info', message)

# execute function
transfer_and_start_respond_to_requests()
