# In this code snippet we will be performing asynchronous
# computation between a randomly selected requester worker and
# the remaining of the workers as responders.
# The orchestrator will transfer and execute 'request_function'
# at the requester side and will transfer and execute
# 'respond_function' at all responders side.
# 'request_function' function  will loop through all given
# NUMBER_OF_CYCLES request for response cycles. The request for
# response is set to a randomly selected a responder from the list
# of responders. The request received at the responder
# side might get transfered to multiple other responders before
# returning back to the requester. The execution will be waiting for
# all that time because of the called method 'wait_for_response'.
# Once the response reaches the requester, the time to get back
# the response is calculated, appended to the response and the
# cycle loops back to send another request for response.
# At the responder side, where 'respond_function' function is
# executed, responders are waiting for any request. Once one is
# received, a random number is drawn to decide whether to respond
# or to transfer to an asynchronous responder at a probability
# of ASYNCHRONOUS_PROBA. When a request is transfered more than
# MAX_ASYNCHRONOUS_TRANSFERS the responder will respond back to
# request without additional asynchronous transfers.


# standard library imports
import time, uuid, sys, random

# softgrid imports
from gridcompute.softgrid import Orchestrator, Globals

######################### USER PARAMETERS ##########################
MAX_ASYNCHRONOUS_TRANSFERS = 10   # maximum asynchronous request transfer per request
ASYNCHRONOUS_PROBA         = 0.85 # probability or asynchronous request transfer
NUMBER_OF_CYCLES           = 200  # this is the total number of requestss


####################### DON'T TOUCH FROM HERE ######################
## allow machine to accept any number of workers
Globals.RULES['machine_maximum_number_of_workers']  = None

# create some funky request password
t = time.strftime("%Y-%m-%d-%H-%M-%S", time.localtime(time.time()))
s = str(uuid.uuid1())
PASSWORD = "%s_%s"%(t,s)

######################## LAUNCHING THE GRID ########################
# create orchestrator
O = Orchestrator(password='some_password_12345', acceptWorkers=True)

# executor kwargs used here to mute some worker grid log types
executorKwargs = {'logKwargs':{'logTypes':{'execution_started': {'stdoutFlag':False, 'fileFlag':False},
                                           'execution_finished':{'stdoutFlag':False, 'fileFlag':False},
                                           'result':            {'stdoutFlag':False, 'fileFlag':False},
                                           }
                              }
                  }

# create local workers
status, workers,_ = O.launch_worker(upgridUniqueName=O.gridUniqueName,
                                    executorAddress=[O.address]*10,
                                    executorKwargs=executorKwargs,
                                    machineUser=['some_user']*10)
for s in status:
    print(s)

# get workers gridUniqueName
workers = [e['gridUniqueName'] for e in workers]

# select random requester from the list of workers
requester  = random.choice(workers)
# the remaining of the workers are designated responders
responders = [w for w in workers if w != requester]

################### DEFINING REQUESTER FUNCTION ####################
def request_function(executor, responders, password, numberfOfCycles):
    import time, random
    from datetime import datetime
    result = []
    for step in range(numberfOfCycles):
        # initiate request data
        tic       = time.time()
        responder = random.choice(responders)
        request   = {step:[]}
        # send transfer request
        executor.transfer_request_to_responder(responder=responder, password=password, request=request)
        # wait for response
        response = executor.wait_for_response(password=password,timeout=20,frequency=0.0005)
        # get response dictionary value
        response = response[password]['response']['value']
        # add total request to response time
        response['total_time'] = time.time()-tic
        result.append( response )
        # log and transfer cycle step finished
        tt  = response['total_time']
        ls  = len(response[step])
        avg = float(tt)/float(ls)
        msg = "Finished cycle '%i' in '%.4f' sec. for '%i' asynchronous transfers averaging '%.4f' sec. per transfer"%(step,tt,ls,avg)
        executor.log_and_transfer(logType='info', message=msg)
    # send final requests to stop all responders from waiting for requests
    executor.transfer_request_to_responder(responder=responders, password=[password]*len(responders), request='STOP', register=False)
    # return result
    return result

################### DEFINING RESPONDERS FUNCTION ###################
def respond_function(executor, requester, responders, password, maxAsynchronousTransfers, asynchronousProba):
    from datetime import datetime
    import random
    responders = [w for w in responders if w != executor.gridUniqueName]
    while True:
        request = executor.wait_for_request(password=password, timeout=120, frequency=0.0005)
        # get request value
        value = request[password]['request']
        # check for request to break
        if value == 'STOP':
            executor.log_and_transfer(logType='info', message="Received 'STOP' request. Exiting 'wait_for_request' loop")
            break
        k = list(value)[0]
        value[k].append((executor.gridUniqueName, datetime.now().strftime("%H:%M:%S.%f")))
        # if path length is bigger than 10, or random > asynchronousProba then respond back to requester
        if len(value[k])>=maxAsynchronousTransfers or random.random()>asynchronousProba:
            executor.transfer_response_to_requester(requester=requester, password=password, response=value)
        else:
            gun = random.choice(responders)
            executor.transfer_asynchronous_request(requester=requester, newResponder=gun, password=password, response=value)


################## TRANSER FUNCTION TO RESPONDERS ##################
transferKwargs = O.get_transfer_template(func=respond_function)
transferKwargs["kwargs"] = {'requester':requester,
                            'responders':responders,
                            'password':PASSWORD,
                            'maxAsynchronousTransfers':MAX_ASYNCHRONOUS_TRANSFERS,
                            'asynchronousProba':ASYNCHRONOUS_PROBA}
transferKwargs['first_argument_executor'] = True
transferKwargs['priority']                = None
O.transfer(transferKwargs=transferKwargs,
           receivers=responders,
           collect= False)

########## TRANSER FUNCTION REQUESTER AND WAIT FOR RESULT ##########
transferKwargs = O.get_transfer_template(func=request_function)
transferKwargs["kwargs"] = {'responders':responders,
                            'password':PASSWORD,
                            'numberfOfCycles':NUMBER_OF_CYCLES}
transferKwargs['first_argument_executor'] = True
transferKwargs['priority']                = None
# transfer remote_increment to worker and start executing remotely
result = O.transfer(transferKwargs=transferKwargs,
                    receivers=requester,
                    transferTimeout= 3600,
                    collect= True)


########################## PLOT HISTOGRAMS #########################
cyclesTime     = [[] for _ in range(MAX_ASYNCHRONOUS_TRANSFERS)]
firstResponder = dict([(w,0) for w in responders])
asyncResponder = dict([(w,0) for w in responders])
for idx, r in enumerate(result[0]):
    tt = r['total_time']
    rt = r[idx]
    cyclesTime[len(rt)-1].append(tt)
    firstResponder[rt[0][0]] += 1
    for r in rt[1:]:
        asyncResponder[r[0]] += 1

# compute averages
cyclesAvg = [0 if not len(i) else sum(i)/len(i) for i in cyclesTime]


# plot asynchronous transfer time histogram
import matplotlib.pyplot as plt
_ = plt.figure()
_ = plt.bar([i for i in range(1, len(cyclesAvg)+1)], cyclesAvg, .8)
_ = plt.xlabel('Number of asynchronous transfers per request')
_ = plt.ylabel('Time (sec.)')
_ = plt.xticks(range(1,len(cyclesTime)+1))
for i,d in enumerate(cyclesTime):
    _ = plt.text(x=i+1 , y=cyclesAvg[i] , s=f"{len(d)}" , fontdict=dict(fontsize=10,horizontalalignment='center'))

# plot number of transfers per responder
_ = plt.figure()
wlist = list(firstResponder)
_ = plt.bar(range(len(responders)), [firstResponder[k] for k in wlist], 0.8, label='First Responder')
_ = plt.bar(range(len(responders)), [asyncResponder[k] for k in wlist], 0.8, bottom=[firstResponder[k] for k in wlist], label='Asynchronous Responder')
_ = plt.legend()
_ = plt.ylabel('Number of transfers')
_ = plt.xticks(range(len(wlist)), range(1,len(wlist)+1))
_ = plt.xlabel('Responders')
plt.tight_layout()
plt.show()
