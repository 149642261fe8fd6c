# The document shows the middle of this script; here it is with a repository and a grid around it.
import tempfile
from pyrep import Repository
from gridcompute.softgrid import Addons, Orchestrator

# create a repository with two files
repo = Repository()
repo.create_repository(tempfile.mkdtemp() + '/local', info={'project': 'some project'})
repo.dump_file({'a': 1}, 'data/first')
repo.dump_file([1, 2, 3], 'second')

# create orchestrator and a manager
O = Orchestrator(password='some_password_12345')
status, managers, fl = O.launch_manager(executorAddress=O.address, machineUser='some_user')
for s in status:
    print(s)

paths = [p[0] for p in repo.walk_files_info(relativePath='',fullPath=False, recursive=True)]
tkw   = Addons.RepositoryTransfer.get_repository_transfer_kwargs(localRepo=repo,
                                                                 remoteRepo='repo_path', remoteRepoInfo=True,
                                                                 remoteRepoReplace=True, paths=paths)
# transfer from orchestrator (O) to a manager
c = O.transfer(transferKwargs=tkw, receivers=O.managers[-1], collect=True)
print(c[0])

# what is there now
there = Repository().load_repository(c[0].data)
print(there.info, there.pull_file('data/first'), there.pull_file('second'))
