"""A MongoDB on the spot: find the server's program, start it on a folder of its own, wait until it answers, stop it.

It serves the demo, the tests and a team that has no MongoDB yet (`gridcompute serve`): a replica set of one member, so
that change streams and retried writes work, with users, a bounded cache and everything in one private folder.

Beside the package `gridcompute.grid.database` this one alone imports pymongo, and only inside functions: a server
that was just made has to be told its replica set and its users before it is a database that the grid could use.
"""

from __future__ import annotations

from gridcompute.machine.mongod.finding import find_mongod
from gridcompute.machine.mongod.ports import free_port, is_free
from gridcompute.machine.mongod.private import PrivateMongod
from gridcompute.machine.mongod.setup import administrator

__all__ = ["PrivateMongod", "administrator", "find_mongod", "free_port", "is_free"]
