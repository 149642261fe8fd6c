"""Connections between neighbours: the one package that moves bytes. `docs/softgrid/transport.md` has the reasons.

One thread, the `Loop`, reads and writes the `Link` of every neighbour; another thread that sends a small message writes
it itself when the line is free. A `Listener` waits for those that call.
"""

from .link import Link, LinkLost
from .listener import Listener
from .loop import Loop
from .outbox import Ticket, urgency

__all__ = ["Link", "LinkLost", "Listener", "Loop", "Ticket", "urgency"]
