"""Processes of cases on Linux: a helper that forks, keepers that watch, runners that work.

Why three. A fresh interpreter costs 20 to 50 ms of a core before it has imported anything, a fork of a small process
one or two; but only a process without threads and without a MongoClient forks safely, hence the *helper*. An
application may start processes that detach themselves from it, hence the *keeper*: as a "child subreaper" (prctl 2) it
inherits every orphan of its case, so that it finds them all, and knows by `waitpid` when none is left. The *runner*
under it runs the application's code and waits ready, forked, before a case comes. A keeper outlives its cases and forks
a new runner after each; nothing of the application ever ran in it.

    owner (daemon) ─── helper ─┬─ keeper ── runner ── whatever the application starts
                               └─ keeper ── runner (ready)

Who notices what:

- owner gone:   helper and keepers read the end of their sockets; keepers kill their trees, the helper what is left.
- helper gone:  keepers read the end of a pipe that only the helper holds, kill their trees and say that they are lost.
- keeper gone:  its runner dies with it (PR_SET_PDEATHSIG); what the runner had started falls to the helper, itself a
  subreaper, which kills it and then tells the owner.

Stopped processes (SIGSTOP) are killed like others. Each keeper has a socket of its own to the owner, which the helper
passes on, so that a case is handed out and reports without the helper.
"""
