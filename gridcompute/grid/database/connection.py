"""The connection to a grid's database: how it is made, what the server itself is asked, and its errors as ours."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from datetime import datetime, timezone

import pymongo
from pymongo import errors as mongo
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from gridcompute import clock, config
from gridcompute.errors import DatabaseAway, DatabaseError
from gridcompute.grid.cases import Party
from gridcompute.grid.database.expressions import Document
from gridcompute.grid.database.refusals import ours
from gridcompute.grid.passwords import password_of
from gridcompute.grid.settings import Settings

logging.getLogger("pymongo.client").setLevel(logging.CRITICAL)  # it logs tracebacks of what it tries again by itself

_refusal_counts = 60.0
"""Seconds for which a refusal counts that is not repeated: what was tried may never be tried again."""


def _client_arguments(settings: Settings, patience: float, answer: float) -> Document:
    """Arguments of MongoClient: group and password are never pasted into the address.

    One ``host:port`` is connected directly; a list of hosts or a whole address is taken as it stands.
    """
    address = settings.mongodb_server
    whole = address.startswith(("mongodb://", "mongodb+srv://"))
    arguments: Document = {
        "host": address if whole else [part.strip() for part in address.split(",") if part.strip()],
        "username": settings.user_group or None,
        "password": password_of(settings) or None,
        "appname": config.program_name,
        "tz_aware": True,
        "serverSelectionTimeoutMS": int(patience * 1000),
        "connectTimeoutMS": int(min(patience, 10.0) * 1000),
        "socketTimeoutMS": int(answer * 1000),
        "w": "majority",
        "journal": True,
        "retryWrites": True,
    }
    if not whole and "," not in address:
        arguments["directConnection"] = True
    if settings.user_group and "authsource=" not in address.lower():
        arguments["authSource"] = config.database_name
    return arguments


class Connection:
    """The connection to one grid's database as one user group and instance; classes with queries build on it."""

    @staticmethod
    def lease_patience(settings: Settings) -> float:
        """Seconds that whoever holds a lease may wait for a reply: one that never comes must not cost the lease."""
        return min(30.0, max(1.0, settings.heartbeat_dead / 4))

    def __init__(self, settings: Settings, *, patience: float = 5.0, answer: float = 30.0):
        self.settings = settings
        self.address = settings.mongodb_server
        self.lease = settings.heartbeat_dead
        self._beat_patience = self.lease_patience(settings)
        try:
            with warnings.catch_warnings():
                # PyMongo warns of an option that it does not know and goes on: without TLS where `tls` is misspelt.
                warnings.filterwarnings("error", "Unknown option", UserWarning)
                self._client: pymongo.MongoClient[Document] = pymongo.MongoClient(
                    **_client_arguments(settings, patience, answer)
                )
        except (
            mongo.PyMongoError,
            ValueError,
            UserWarning,
            OSError,
        ) as exc:  # OSError: a certificate that is not there
            words = f"{exc.strerror}: {exc.filename}" if isinstance(exc, OSError) and exc.filename else str(exc)
            reason = words.partition(" Hint: ")[0].partition(". Did you mean")[0].rstrip(".")
            raise DatabaseError(
                f"Cannot use '{self._shown_address}' as 'mongodb server' in settings.txt: {reason}. Write host:port, a "
                "list of hosts, or a whole mongodb:// address."
            ) from exc
        database = self._client.get_database(
            config.database_name,
            write_concern=WriteConcern(w="majority", j=True),
            read_concern=ReadConcern("majority"),
        )
        self._database = database
        self._cases = database["cases"]
        self._versions = database["versions"]
        self._machines = database["machines"]
        self._pins = database["pins"]
        self._refused: dict[str, float] = {}  # what was tried -> monotonic moment of the last refusal
        self._scope = {"user_group": settings.user_group, "instance": settings.instance}

    def close(self) -> None:
        """Give the connections back; may be called twice. Takes half a second at most, the server away too."""
        with pymongo.timeout(0.5), contextlib.suppress(mongo.PyMongoError):
            self._client.close()

    @property
    def _shown_address(self) -> str:
        """The address without what may be a password in it."""
        head, at, tail = self.address.rpartition("@")
        return f"{head.split('://')[0]}://***@{tail}" if at and "://" in head else self.address

    @contextlib.contextmanager
    def _asked(self, what: str, *, seconds: float | None = None) -> Iterator[None]:
        """Pymongo's errors become ours; `what` says what was tried, `seconds` how long at most."""
        try:
            with contextlib.nullcontext() if seconds is None else pymongo.timeout(seconds):
                yield
        except mongo.PyMongoError as exc:
            error = ours(what, exc, self._shown_address, self.settings)
            if not isinstance(error, DatabaseAway):
                self._refused[what] = clock.monotonic()
            raise error from exc
        if self._refused:
            self._refused.pop(what, None)

    @property
    def refuses(self) -> bool:
        """Whether something was refused in the last minute and not allowed since.

        That something else is allowed tells nothing: who may not write may read.
        """
        now = clock.monotonic()
        return any(now - moment < _refusal_counts for moment in list(self._refused.values()))

    def server_time(self) -> datetime:
        """The server's moment, now, in UTC."""
        with self._asked("ask for the time"):
            return self._database.command("hello")["localTime"].replace(tzinfo=timezone.utc)

    def ping(self) -> None:
        """Prove that server, user and password are right; raises `DatabaseAway` or `DatabaseRefused`."""
        with self._asked("connect"):
            self._cases.find_one({"_id": 0}, {"_id": 1})

    def describe(self) -> Document:
        """For `doctor`: server version, replica set or not, whether change streams are offered."""
        with self._asked("ask for the server's version"):
            hello = self._database.command("hello")
            build = self._database.command("buildInfo")
            return {
                "version": build["version"],
                "replica_set": hello.get("setName"),
                "local_time": hello["localTime"].replace(tzinfo=timezone.utc),
                "change_streams": bool(hello.get("setName") or hello.get("msg") == "isdbgrid"),
            }

    def _of_origin(self, origin: Party) -> Document:
        """The filter for the cases of one user, machine and installation that no newer version wrote (hard case 15)."""
        return {
            **self._scope,
            "origin.user": origin.user,
            "origin.machine": origin.machine,
            "origin.installation": origin.installation,
            "format": {"$lte": config.case_format},
        }
