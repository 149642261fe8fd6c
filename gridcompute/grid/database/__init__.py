"""Every query and index on the database; this package alone imports pymongo.

One method for each transition of the protocol (T1 to T14 in ``docs/protocol.md``). Rules that hold for all of them:

- Each write is acknowledged by the majority and the journal, whatever the address says.
- Moments are the server's: ``$$NOW`` inside pipeline updates, ``hello.localTime`` for inserts, where ``$$NOW`` is text.
- Each guard names `_id` and the caller's token. A write that matched nothing is a question: the case is read, and the
  answer is `True` (done by me, now or by the write whose reply was lost) or `False` (no longer mine; stop). A write
  whose outcome is unknown raises `DatabaseAway`; sending it again is safe.
- Strings of users and plugins enter pipelines through ``$literal``, since a leading ``$`` would name a field.

Methods may be called from any thread.
"""

from __future__ import annotations

from gridcompute.grid.cases import Observed
from gridcompute.grid.database.acting import Acting
from gridcompute.grid.database.administration import Administration
from gridcompute.grid.database.doorbell import Doorbell
from gridcompute.grid.database.looking import Looking, is_pattern, object_id
from gridcompute.grid.database.machines import Machines
from gridcompute.grid.database.processing import Processing
from gridcompute.grid.database.receiving import Receiving
from gridcompute.grid.database.submitting import Submitting

__all__ = ["Database", "Doorbell", "Observed", "is_pattern", "object_id"]


class Database(Submitting, Processing, Receiving, Acting, Looking, Machines, Administration):
    """The database of one grid, for one user group and instance.

    `patience` is the time in seconds that a call waits for a server before it raises `DatabaseAway`, `answer` how long
    it waits for a reply on a connection that has gone dumb before it takes another. Nothing is connected before the
    first call.
    """
