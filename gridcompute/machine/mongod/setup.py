"""What a MongoDB server that has just been started is told: its replica set, its administrator and the team's user.

This alone in the package imports pymongo, and only inside functions: the program that starts a server may be small.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gridcompute.config import database_name
from gridcompute.errors import MongodError

if TYPE_CHECKING:
    from pymongo import MongoClient

administrator = "admin"
minimum_wire_version = 9
"""What MongoDB 4.4 speaks, the oldest that the grid works with."""

_already_initialized = 23


@contextlib.contextmanager
def connection(port: int, password: str, data: Path, log_path: Path) -> Iterator[MongoClient[dict[str, Any]]]:
    """A connection to this computer's server at `port` as the administrator, or as nobody where there is none yet.

    An empty `password` is for a server without users. Raises `MongodError`, which names the server's folder `data` and
    its log, for whatever pymongo raises in the block.
    """
    from pymongo import MongoClient
    from pymongo.errors import OperationFailure, PyMongoError

    options: dict[str, Any] = {"directConnection": True, "serverSelectionTimeoutMS": 10_000}
    login: dict[str, Any] = {"username": administrator, "password": password} if password else {}
    client: MongoClient[dict[str, Any]] = MongoClient("127.0.0.1", port, **options, **login)
    try:
        try:
            client.admin.command("ping")
        except OperationFailure:
            client.close()
            client = MongoClient("127.0.0.1", port, **options)
        yield client
    except PyMongoError as exc:
        raise MongodError(
            f"The MongoDB server on {data} runs but could not be set up: {exc}. What it says is in "
            f"{log_path}. If its folder was made with other users, name an empty folder."
        ) from exc
    finally:
        client.close()


def is_too_old(client: MongoClient[dict[str, Any]]) -> bool:
    """Whether the server is older than the grid can work with."""
    return client.admin.command("hello")["maxWireVersion"] < minimum_wire_version


def make_replica_set(client: MongoClient[dict[str, Any]], name: str, member: str) -> None:
    """Begin the replica set; where the folder has one already, under another port, change that one."""
    from pymongo.errors import OperationFailure

    if "setName" in client.admin.command("hello"):
        return
    config = {"_id": name, "version": 1, "members": [{"_id": 0, "host": member}]}
    try:
        client.admin.command("replSetInitiate", config)
        return
    except OperationFailure as exc:
        if exc.code != _already_initialized:
            raise
    config = client.admin.command("replSetGetConfig")["config"]
    if config["members"][0]["host"] != member:
        config["members"][0]["host"] = member
        config["version"] += 1
        client.admin.command("replSetReconfig", config, force=True)


def takes_writes(client: MongoClient[dict[str, Any]]) -> bool:
    """Whether the server is its set's primary by now."""
    return client.admin.command("hello")["isWritablePrimary"]


def make_administrator(client: MongoClient[dict[str, Any]], password: str) -> None:
    """Make the administrator, unless the client already speaks as one."""
    if not client.admin.command("connectionStatus")["authInfo"]["authenticatedUsers"]:
        # The server lets anybody on this computer make its first user, and that one only.
        client.admin.command("createUser", administrator, pwd=password, roles=["root"])


def make_team_user(client: MongoClient[dict[str, Any]], name: str, password: str) -> None:
    """Make the team's user, who may read and write the grid's database, or give the one that is there `password`."""
    database = client[database_name]
    known = database.command("usersInfo", name)["users"]
    verb = "updateUser" if known else "createUser"
    database.command(verb, name, pwd=password, roles=[{"role": "readWrite", "db": database_name}])
