"""Every query and index on the database; alone imports pymongo.

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

import contextlib
import logging
import os
import struct
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import bson
import pymongo
from bson import ObjectId
from pymongo import errors as mongo
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from gridcompute import clock, config
from gridcompute.errors import DatabaseAway, DatabaseError, DatabaseRefused, UsageError, VersionRefused
from gridcompute.grid import cases
from gridcompute.grid.cases import Archive, Case, Party
from gridcompute.grid.passwords import password_of
from gridcompute.grid.settings import Settings

Document = dict[str, Any]

_AUTHENTICATION = {13, 18, 8000}
_PASSING = {6, 7, 24, 50, 64, 89, 91, 112, 133, 189, 202, 211, 9001, 10107, 11600, 11602, 13435, 13436}
"""Codes of a server that starts, stops, elects or is cut off; the command is worth sending again.

211, no key for the cluster's time, comes from one that was started again and whose clock was set.
"""

logging.getLogger("pymongo.client").setLevel(logging.CRITICAL)  # it logs tracebacks of what it tries again by itself

_NO_CHANGE_STREAM = {40573, 20, 13}
"""A standalone server, a server without an oplog, a user without the right."""

_NOTHING_HELD = {"token": "$$REMOVE", "lease_until": "$$REMOVE", "holder": "$$REMOVE", "progress": "$$REMOVE"}

_LIST_FIELDS = {"output": 0, "error.traceback": 0, "avoid": 0}
"""What a list never shows; documents stay small on the way."""

_QUEUE = [("priority", -1), ("_id", 1)]
"""The order in which cases are given out."""

_SHOWN_FIELDS = dict.fromkeys(
    [
        "application",
        "status",
        "priority",
        "attempt",
        "origin.time",
        "processors",
        "input_names",
        "progress",
        "error.message",
    ],
    1,
)
"""All that a list of cases shows."""

_INDEXES: list[tuple[str, list[tuple[str, int]], Document]] = [
    # The application stands before priority: eight claimers stay at full speed at every depth of the queue.
    (
        "claim",
        [("user_group", 1), ("instance", 1), ("status", 1), ("application", 1), ("priority", -1), ("_id", 1)],
        {},
    ),
    ("mine", [("user_group", 1), ("instance", 1), ("origin.user", 1), ("status", 1), ("_id", 1)], {}),
    ("lease", [("lease_until", 1)], {"partialFilterExpression": {"status": cases.PROCESSING}}),
    ("token", [("token", 1)], {"partialFilterExpression": {"token": {"$exists": True}}}),
    ("receiver", [("receiver.token", 1)], {"partialFilterExpression": {"receiver.token": {"$exists": True}}}),
    ("holder", [("holder.installation", 1)], {"partialFilterExpression": {"holder.installation": {"$exists": True}}}),
    ("removing", [("origin.installation", 1)], {"partialFilterExpression": {"files": "removing"}}),
    (
        "finished",
        [("user_group", 1), ("instance", 1), ("processors.time.end", 1)],
        {"partialFilterExpression": {"processors.time.end": {"$exists": True}}},
    ),
    (
        "home",
        [("user_group", 1), ("instance", 1), ("origin.user", 1), ("origin.time.end", -1)],
        {"partialFilterExpression": {"origin.time.end": {"$exists": True}}},
    ),
    ("alone", [("user_group", 1), ("instance", 1)], {"partialFilterExpression": {"alone": True}}),
]


_doorbell_rest = 0.03
"""Seconds that a doorbell rests after a ring: many changes then come in one reply."""


_GIVEN_UP: list[Document] = [{"status": cases.CANCELLED}, {"status": {"$regex": "^error:"}}]
"""The statuses whose archives may be retried or removed."""


@dataclass(frozen=True)
class Observed:
    """A lease that ran out, as one observer saw it: T7 and T9 act only if token and beat are still these."""

    id: Any
    token: str
    beat: int


def literal(value: Any) -> Document:
    """`value` as it stands, inside a pipeline."""
    return {"$literal": value}


def _after(seconds: float) -> Document:
    """The server's moment in `seconds`."""
    return {"$add": ["$$NOW", int(seconds * 1000)]}


def _or_empty(path: str) -> Document:
    return {"$ifNull": [path, []]}


def _count(path: str) -> Document:
    return {"$add": [{"$ifNull": [path, 0]}, 1]}


def _ended_attempt(token: str | Document, outcome: str) -> Document:
    """The list of processors with the end and outcome of the attempt that has `token`."""
    return {
        "$map": {
            "input": _or_empty("$processors.processor_list"),
            "in": {
                "$cond": [
                    {"$eq": ["$$this.token", token]},
                    {"$mergeObjects": ["$$this", {"end": "$$NOW", "outcome": outcome}]},
                    "$$this",
                ]
            },
        }
    }


_furthest = max(config.db_heartbeat_dead_limit, config.retry_pause_limit, config.avoid_time)
"""Seconds: no lease, pause or avoidance reaches further. A moment beyond was written before the server's clock was set
back, and waiting for it could take as long as the clock had been wrong."""


def _past(moment: Any) -> Document:
    """True where `moment` is over, or can't be meant."""
    return {"$or": [{"$lte": [moment, "$$NOW"]}, {"$gt": [moment, _after(_furthest)]}]}


def _not_avoided_by(machine: str) -> Document:
    """True where `machine` is on no unlapsed entry of the case's `avoid`."""
    blocking = {
        "$filter": {
            "input": _or_empty("$avoid"),
            "cond": {"$and": [{"$eq": ["$$this.machine", literal(machine)]}, {"$not": [_past("$$this.until")]}]},
        }
    }
    return {"$eq": [{"$size": blocking}, 0]}


_DUE = _past({"$ifNull": ["$not_before", datetime(1970, 1, 1, tzinfo=timezone.utc)]})


def object_id(text: str) -> ObjectId:
    """The `_id` of a case from its hexadecimal text, as journals keep it."""
    return ObjectId(text)


def is_pattern(text: str) -> bool:
    """Whether `text` is the beginning of a hexadecimal `_id`."""
    return 0 < len(text) <= 24 and all(c in "0123456789abcdefABCDEF" for c in text)


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


class Database:
    """The database of one grid, for one user group and instance.

    `patience` is the time in seconds that a call waits for a server before it raises `DatabaseAway`, `answer` how long
    it waits for a reply on a connection that has gone dumb before it takes another. Nothing is connected before the
    first call.
    """

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
            self._client: pymongo.MongoClient[Document] = pymongo.MongoClient(
                **_client_arguments(settings, patience, answer)
            )
        except (mongo.PyMongoError, ValueError) as exc:
            reason = str(exc).partition(" Hint: ")[0].rstrip(".")
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
        self._scope = {"user_group": settings.user_group, "instance": settings.instance}
        self._counter = int.from_bytes(os.urandom(2), "big")
        self._random = os.urandom(5)
        self._counter_lock = threading.Lock()

    def close(self) -> None:
        """Give the connections back; may be called twice. Takes half a second at most, the server away too."""
        with pymongo.timeout(0.5), contextlib.suppress(mongo.PyMongoError):
            self._client.close()

    # Connection, versions, time.

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
        except (mongo.OperationFailure, mongo.ConnectionFailure, mongo.ExecutionTimeout) as exc:
            raise self._error(what, exc) from exc
        except mongo.PyMongoError as exc:
            raise DatabaseError(f"Cannot {what} in the database at {self._shown_address}: {exc}.") from exc

    def _error(self, what: str, exc: mongo.PyMongoError) -> DatabaseError:
        code = getattr(exc, "code", None)
        if isinstance(exc, mongo.OperationFailure):
            if code in _AUTHENTICATION:
                answer = (exc.details or {}).get("errmsg", exc)
                return DatabaseRefused(
                    f"Cannot {what}: the database at {self._shown_address} refuses user group "
                    f"'{self.settings.user_group}' ({answer}). Check 'user group' and 'password' in settings.txt, and "
                    f"that this user has the role readWrite in the database '{config.database_name}'."
                )
            if code not in _PASSING and not exc.has_error_label("RetryableWriteError"):
                return DatabaseError(f"Cannot {what} in the database at {self._shown_address}: {exc} (code {code}).")
        reason = str(exc).split(", Timeout:")[0].split(" (configured timeouts")[0]
        return DatabaseAway(
            f"Cannot {what}: the database at {self._shown_address} does not answer ({reason}). Check that MongoDB runs "
            "there and that this computer reaches it."
        )

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

    def ensure_indexes(self) -> None:
        """Make the indexes that serve the queries below; does nothing where they are."""
        with self._asked("make the indexes"):
            for name, keys, options in _INDEXES:
                self._cases.create_index(keys, name=name, **options)

    def check_version(self, version: str = config.version) -> str | None:
        """What the collection *versions* says of `version`: None if allowed, else a warning's text.

        Raises `VersionRefused`, also for a version that the collection does not know. No collection is a warning.
        """
        with self._asked("read the allowed versions"):
            entry = self._versions.find_one({"_id": version})
            known = entry is not None or self._versions.find_one({}, {"_id": 1}) is not None
        if not known:
            return (
                "The version of the program is not controlled by the database: it has no collection 'versions'. An "
                "administrator can make one with admin/database_management.py."
            )
        if entry is None:
            raise VersionRefused(
                f"The database at {self._shown_address} does not know version {version} of {config.program_name}. "
                f"Ask the administrator to add it (admin/database_management.py --allow {version}), or use a version "
                "that is allowed."
            )
        message = str(entry.get("message") or "").strip()
        status = entry.get("status")
        if status == "allowed":
            return None
        if status == "warning":
            return message or f"Version {version} is allowed with a warning by the administrator."
        raise VersionRefused(
            f"The database at {self._shown_address} refuses version {version} of {config.program_name}: "
            f"{message.rstrip('.') or 'the administrator gave no reason'}. Use a version that is allowed."
        )

    # Administration.

    def count_cases(self) -> int:
        """How many cases of all groups the collection holds."""
        with self._asked("count the cases"):
            return self._cases.count_documents({})

    def set_versions(self, versions: Sequence[Mapping[str, Any]]) -> None:
        """Replace the collection *versions* by `versions`, each with `_id`, `status` and perhaps `message`."""
        with self._asked("write the versions"):
            for entry in versions:
                self._versions.replace_one({"_id": entry["_id"]}, dict(entry), upsert=True)
            self._versions.delete_many({"_id": {"$nin": [entry["_id"] for entry in versions]}})

    def put_version(self, entry: Mapping[str, Any]) -> None:
        """Add or change one entry of *versions*."""
        with self._asked("write a version"):
            self._versions.replace_one({"_id": entry["_id"]}, dict(entry), upsert=True)

    def versions(self) -> list[Document]:
        with self._asked("read the versions"):
            return list(self._versions.find().sort("_id"))

    # Pins: which code may run.

    def pins(self) -> dict[str, dict[str, str]]:
        """What the administrator pinned, for `gridcompute.grid.pins`; empty where nothing is."""
        with self._asked("read which applications are pinned"):
            found = self._pins.find(self._scope)
            return {one["application"]: {file["path"]: file["sha256"] for file in one["files"]} for one in found}

    def pin(self, application: str, digests: Mapping[str, str]) -> None:
        """Pin the code of an application, in place of what was pinned before."""
        files = [{"path": path, "sha256": digest} for path, digest in sorted(digests.items())]
        with self._asked("pin an application"):
            self._pins.replace_one(
                {**self._scope, "application": application},
                {**self._scope, "application": application, "files": files},
                upsert=True,
            )

    def unpin(self, application: str | None = None) -> int:
        """Forget one application's pin, or all; how many were forgotten."""
        which = self._scope if application is None else {**self._scope, "application": application}
        with self._asked("unpin applications"):
            return self._pins.delete_many(which).deleted_count

    def remove_all(self) -> None:
        """Remove every document of every collection of the database; a right to drop is not needed."""
        with self._asked("empty the database"):
            for name in self._database.list_collection_names():
                if not name.startswith("system."):
                    self._database[name].delete_many({})

    # T1: submit.

    def new_ids(self, number: int) -> tuple[list[ObjectId], datetime]:
        """`number` fresh ids in ascending order, their seconds by the server's clock, and the server's moment."""
        moment = self.server_time()
        seconds = struct.pack(">I", int(moment.timestamp()))
        with self._counter_lock:
            first = self._counter
            self._counter = (self._counter + number) % 0xFFFFFF
        if first + number > 0xFFFFFF:  # start the counter anew, so that one call's ids stay in order
            first = 0
        ids = [ObjectId(seconds + self._random + (first + n).to_bytes(3, "big")) for n in range(number)]
        return ids, moment

    def case_document(
        self,
        case_id: ObjectId,
        moment: datetime,
        application: str,
        origin: Party,
        archive: Archive,
        *,
        submission: str,
        priority: int,
        names: Sequence[str],
    ) -> Document:
        """The document of a new case; JSON can carry it but for `_id` and the moment."""
        return {
            "_id": case_id,
            **self._scope,
            "status": cases.TO_PROCESS,
            "application": application,
            "path": archive.path,
            "origin": {
                "machine": origin.machine,
                "user": origin.user,
                "installation": origin.installation,
                "time": {"start": moment},
            },
            "processors": {"processor_list": [], "time": {}},
            "format": config.case_format,
            "priority": priority,
            "submission": submission,
            "input": archive.document(),
            "input_names": {"first": [name[:200] for name in names[:5]], "count": len(names)},
            "files": "kept",
            "beat": 0,
            "attempt": 0,
            "failures": 0,
            "losses": 0,
            "receive_failures": 0,
        }

    def submit(self, documents: Sequence[Document]) -> None:
        """T1. Insert new cases; one that stands there already with the same `submission` is done already."""
        with self._asked("submit cases"):
            try:
                self._cases.insert_many(documents, ordered=False)
            except mongo.BulkWriteError as exc:
                if exc.has_error_label("RetryableWriteError") or (exc.details or {}).get("writeConcernErrors"):
                    raise DatabaseAway(f"Cannot submit cases: the database did not confirm them ({exc}).") from exc
                self._refuse_strangers(exc, documents)

    def _refuse_strangers(self, exc: mongo.BulkWriteError, documents: Sequence[Document]) -> None:
        failed = (exc.details or {}).get("writeErrors", [])
        if any(error.get("code") != 11000 for error in failed):
            raise DatabaseError(
                f"Cannot submit cases to the database at {self._shown_address}: {failed[0]['errmsg']}."
            ) from exc
        mine = {document["_id"]: document["submission"] for document in documents}
        ids = [documents[error["index"]]["_id"] for error in failed]
        for found in self._cases.find({"_id": {"$in": ids}}, {"submission": 1}):
            if found.get("submission") != mine[found["_id"]]:
                raise DatabaseError(
                    f"Cannot submit case {found['_id']}: another case has this id. Submit again."
                ) from exc

    def submitted(self, ids: Iterable[Any], submission: str) -> set[Any]:
        """Those of `ids` that stand in the database as cases of `submission`."""
        with self._asked("look for submitted cases"):
            return {
                found["_id"]
                for found in self._cases.find({"_id": {"$in": list(ids)}, "submission": submission}, {"_id": 1})
            }

    # T2 to T7: process.

    def claim(self, party: Party, applications: Collection[str], token: str, *, alone: bool) -> Case | None:
        """T2. Claim the first case of the queue for `party` under `token`, or None if there is none.

        `alone` tells that the machine holds no other case: only then a case that must run alone is given out. The
        call may be sent again with the same token after a lost reply: it then returns the case claimed before.
        """
        if not applications:
            return None
        query = self._claimable(party, applications, alone=alone)
        attempt = {"machine": party.machine, "user": party.user, "token": token}
        update = [
            {
                "$set": {
                    "status": cases.PROCESSING,
                    "token": token,
                    "beat": 0,
                    "attempt": _count("$attempt"),
                    "lease_until": _after(self.lease),
                    "last_heartbeat": "$$NOW",
                    "holder": literal(party.holder()),
                    "progress": "$$REMOVE",
                    "processors.processor_list": {
                        "$slice": [
                            {
                                "$concatArrays": [
                                    _or_empty("$processors.processor_list"),
                                    [{"$mergeObjects": [literal(attempt), {"start": "$$NOW"}]}],
                                ]
                            },
                            -50,
                        ]
                    },
                    "processors.time.start": "$$NOW",
                    "processors.time.end": "$$REMOVE",
                }
            }
        ]
        with self._asked("claim a case"):
            found = self._cases.find_one_and_update(
                query,
                update,
                sort=_QUEUE,
                projection=_LIST_FIELDS,
                return_document=pymongo.ReturnDocument.AFTER,
            )
        return Case.of(found) if found else None

    def _claimable(self, party: Party, applications: Collection[str], *, alone: bool) -> Document:
        query: Document = {
            **self._scope,
            "status": cases.TO_PROCESS,
            "application": {"$in": sorted(applications)},
            "format": {"$lte": config.case_format},
            "$expr": {"$and": [_DUE, _not_avoided_by(party.machine)]},
        }
        if not alone:
            query["alone"] = {"$ne": True}
        return query

    def next_application(self, party: Party, applications: Collection[str]) -> str | None:
        """The application of the case that `claim` would give to a machine with room for any, or None."""
        query = self._claimable(party, applications, alone=False)
        with self._asked("look at the head of the queue"):
            found = self._cases.find_one(query, {"application": 1}, sort=_QUEUE)
        return found["application"] if found else None

    def claimed(self, token: str) -> Case | None:
        """The case that `token` holds, after a claim whose reply was lost."""
        with self._asked("look for a claimed case"):
            found = self._cases.find_one({"token": token, "status": cases.PROCESSING}, _LIST_FIELDS)
        return Case.of(found) if found else None

    def must_run_alone(self, party: Party, applications: Collection[str]) -> bool:
        """Whether a case waits that this machine may process, but alone."""
        query = {
            **self._scope,
            "alone": True,
            "status": cases.TO_PROCESS,
            "application": {"$in": sorted(applications)},
            "format": {"$lte": config.case_format},
            "$expr": {"$and": [_DUE, _not_avoided_by(party.machine)]},
        }
        with self._asked("look for cases that run alone"):
            return self._cases.find_one(query, {"_id": 1}, hint="alone") is not None

    def beat(self, tokens: Collection[str]) -> bool:
        """T3. One heartbeat for all cases held; True if every token is still good.

        A machine that was taken for lost and comes back before the next claim is no loss.
        """
        if not tokens:
            return True
        came_back = {"$eq": ["$status", cases.TO_PROCESS]}
        others_lost = {"$setDifference": [_or_empty("$lost_on"), [{"$ifNull": ["$holder.machine", "?"]}]]}
        with self._asked("send a heartbeat", seconds=self._beat_patience):
            done = self._cases.update_many(
                {"token": {"$in": list(tokens)}, "status": {"$in": [cases.PROCESSING, cases.TO_PROCESS]}},
                [
                    {
                        "$set": {
                            "status": cases.PROCESSING,
                            "beat": _count("$beat"),
                            "lease_until": _after(self.lease),
                            "last_heartbeat": "$$NOW",
                            "lost_on": {"$cond": [came_back, others_lost, "$lost_on"]},
                        }
                    },
                    {
                        "$set": {
                            "losses": {"$size": _or_empty("$lost_on")},
                            "alone": {
                                "$cond": [
                                    {"$gte": [{"$size": _or_empty("$lost_on")}, config.losses_before_alone]},
                                    True,
                                    "$$REMOVE",
                                ]
                            },
                        }
                    },
                ],
            )
        return done.matched_count == len(tokens)

    def still_held(self, tokens: Collection[str]) -> set[str]:
        """Those of `tokens` under which a case is still processed (or expired and unclaimed)."""
        query = {"token": {"$in": list(tokens)}, "status": {"$in": [cases.PROCESSING, cases.TO_PROCESS]}}
        with self._asked("check the cases held", seconds=self._beat_patience):
            return {found["token"] for found in self._cases.find(query, {"token": 1})}

    def holds(self, case_id: Any, token: str) -> bool:
        """Whether `token` still holds the case: asked just before a result is published."""
        with self._asked("check a case"):
            query = {"_id": case_id, "token": token, "status": {"$in": [cases.PROCESSING, cases.TO_PROCESS]}}
            return self._cases.find_one(query, {"_id": 1}) is not None

    def tell_progress(self, case_id: Any, token: str, fraction: float, text: str) -> None:
        """Write down how far a case is; changes nothing if it is no longer held."""
        with self._asked("tell the progress of a case"):
            self._cases.update_one(
                {"_id": case_id, "token": token, "status": cases.PROCESSING},
                {"$set": {"progress": {"fraction": fraction, "text": text[:200]}}},
            )

    def complete(
        self, case_id: Any, token: str, result: Archive, *, output: str = "", place: Document | None = None
    ) -> bool:
        """T4. The result is published: the case is processed. False: no longer mine, nothing changed."""
        update = {
            "status": cases.PROCESSED,
            "path": literal(result.path),
            "result": literal({**result.document(), "token": token}),
            "processors.time.end": "$$NOW",
            "processors.processor_list": _ended_attempt(token, "processed"),
            "output": literal(output),
            "output_place": literal(place),
            "error": "$$REMOVE",
            "not_before": "$$REMOVE",
            "losses": 0,
            "lost_on": "$$REMOVE",
            "alone": "$$REMOVE",
            **_NOTHING_HELD,
        }
        return self._finish("complete a case", case_id, token, update, "processed")

    def fail(
        self,
        case_id: Any,
        token: str,
        reason: str,
        *,
        machine: str,
        user: str,
        attempts: int,
        pause: float,
        avoid: float,
        traceback: str = "",
        output: str = "",
        place: Document | None = None,
    ) -> bool:
        """T5. The application failed: to process again after `pause` seconds, not on `machine` for `avoid` seconds, or
        ``error: <reason>`` at failure number `attempts`. False: no longer mine, nothing changed.

        The machine outlived the case, so the count of machines that did not is over.
        """
        last = {"$gte": [_count("$failures"), attempts]}
        update = {
            "status": {"$cond": [last, literal(f"error: {reason}"), cases.TO_PROCESS]},
            "ended": {"$cond": [last, "$$NOW", "$$REMOVE"]},
            "failures": _count("$failures"),
            "losses": 0,
            "lost_on": "$$REMOVE",
            "alone": "$$REMOVE",
            "not_before": _after(pause),
            "avoid": self._avoiding(machine, avoid),
            "error": {
                "$mergeObjects": [
                    literal({"message": reason, "traceback": traceback, "machine": machine, "user": user}),
                    {"time": "$$NOW"},
                ]
            },
            "output": literal(output),
            "output_place": literal(place),
            "processors.time.end": "$$NOW",
            "processors.processor_list": _ended_attempt(token, "failed"),
            **_NOTHING_HELD,
        }
        return self._finish("report a failed case", case_id, token, update, "failed")

    @staticmethod
    def _avoiding(machine: str, seconds: float) -> Document:
        """The unlapsed entries of `avoid`, the last few of them, and `machine` for `seconds`."""
        unlapsed = {"$filter": {"input": _or_empty("$avoid"), "cond": {"$gt": ["$$this.until", "$$NOW"]}}}
        added = [{"machine": literal(machine), "until": _after(seconds)}] if seconds > 0 else []
        return {"$slice": [{"$concatArrays": [unlapsed, added]}, -config.avoid_limit]}

    def hand_back(self, case_id: Any, token: str, *, pause: float = 0.0, machine: str = "", avoid: float = 0.0) -> bool:
        """T6. Give a case back, nothing counted; the end of its processes is confirmed before. False: not mine.

        With `avoid`, `machine` leaves the case to others for so many seconds (its share or disk is away).
        """
        update = {
            "status": cases.TO_PROCESS,
            "not_before": _after(pause),
            "avoid": self._avoiding(machine, avoid),
            "processors.time.end": "$$NOW",
            "processors.processor_list": _ended_attempt(token, "handed back"),
            **_NOTHING_HELD,
        }
        return self._finish("hand a case back", case_id, token, update, "handed back")

    def _finish(self, what: str, case_id: Any, token: str, update: Document, outcome: str) -> bool:
        """The guarded write that ends an attempt, and the question after one that matched nothing."""
        query = {"_id": case_id, "token": token, "status": {"$in": [cases.PROCESSING, cases.TO_PROCESS]}}
        with self._asked(what):
            if self._cases.update_one(query, [{"$set": update}]).matched_count:
                return True
            found = self._cases.find_one({"_id": case_id}, {"processors.processor_list": 1})
        attempts = (found or {}).get("processors", {}).get("processor_list") or []
        return any(one.get("token") == token and one.get("outcome") == outcome for one in attempts)

    def under_name_of(self, installation: str) -> list[Case]:
        """Cases that are processed (or expired and unclaimed) under this installation's name.

        Those that the caller does not run are left from a claim whose reply was lost, or from a daemon that was killed.
        """
        query = {
            "holder.installation": installation,
            **self._scope,
            "status": {"$in": [cases.PROCESSING, cases.TO_PROCESS]},
        }
        with self._asked("look for cases under this machine's name"):
            return [Case.of(found) for found in self._cases.find(query, _LIST_FIELDS, hint="holder")]

    def expired(self) -> list[Observed]:
        """Candidates of T7: cases whose lease ran out by the server's clock, or reaches further than any lease can,
        since that clock was set back. The lease proposes, it does not decide.
        """
        query = {
            **self._scope,
            "status": cases.PROCESSING,
            "lease_until": {"$type": "date"},
            "format": {"$lte": config.case_format},
            "$expr": _past("$lease_until"),
        }
        with self._asked("look for lost cases"):
            found = self._cases.find(query, {"token": 1, "beat": 1}, hint="lease")
            return [Observed(one["_id"], one.get("token", ""), one.get("beat", 0)) for one in found]

    def expire(self, seen: Observed) -> bool:
        """T7. Take a case from an owner that gave no sign, if token and beat are still as `seen`.

        The token stays, so that an owner who wakes before the next claim goes on. The machine is counted once among
        the losses; a case that was lost while it ran alone is an error.
        """
        machine = {"$ifNull": ["$holder.machine", "?"]}
        lost = {"$setUnion": [_or_empty("$lost_on"), [machine]]}
        hopeless = {"$eq": [{"$ifNull": ["$alone", False]}, True]}
        reason = {
            "$concat": [
                "error: lost ",
                {"$toString": {"$size": lost}},
                " machines while it ran, the last one alone on ",
                machine,
                ". Look at what the case does to a machine, then retry it.",
            ]
        }
        update = {
            "status": {"$cond": [hopeless, reason, cases.TO_PROCESS]},
            "ended": {"$cond": [hopeless, "$$NOW", "$$REMOVE"]},
            "token": {"$cond": [hopeless, "$$REMOVE", "$token"]},
            "lost_on": lost,
            "losses": {"$size": lost},
            "alone": {"$gte": [{"$size": lost}, config.losses_before_alone]},
            "lease_until": "$$REMOVE",
            "progress": "$$REMOVE",
            "processors.processor_list": _ended_attempt("$token", "lost"),
        }
        query = {
            "_id": seen.id,
            "status": cases.PROCESSING,
            "token": seen.token,
            "beat": seen.beat,
            "format": {"$lte": config.case_format},
        }
        with self._asked("take back a lost case"):
            return bool(self._cases.update_one(query, [{"$set": update}]).matched_count)

    # T8, T13, T14: what the submitter does.

    def _own(self, case_id: Any, user: str) -> Document:
        """The filter for a case that `user` submitted and that no newer version wrote (hard case 15)."""
        return {"_id": case_id, **self._scope, "origin.user": user, "format": {"$lte": config.case_format}}

    def cancel(self, case_id: Any, user: str) -> bool:
        """T8. Cancel a case of `user`; False if it is received, is being received, or belongs to somebody else."""
        query = {
            **self._own(case_id, user),
            "$or": [
                {"status": {"$in": [cases.TO_PROCESS, cases.PROCESSING]}},
                {"status": {"$regex": "^error:"}},
                {"status": cases.PROCESSED, "receiver": {"$exists": False}},
            ],
        }
        update = {
            "status": cases.CANCELLED,
            "ended": "$$NOW",
            "processors.processor_list": _ended_attempt("$token", "cancelled"),
            **_NOTHING_HELD,
        }
        with self._asked("cancel a case"):
            if self._cases.update_one(query, [{"$set": update}]).matched_count:
                return True
            found = self._cases.find_one({"_id": case_id, "origin.user": user}, {"status": 1})
        return found is not None and found.get("status") == cases.CANCELLED

    def retry(self, case_id: Any, user: str) -> bool:
        """T13. Try a case in error or cancelled again: to process, or processed where a result stands."""
        query = {
            **self._own(case_id, user),
            "files": "kept",
            "$or": _GIVEN_UP,
        }
        has_result = {"$eq": [{"$type": "$result.path"}, "string"]}
        update = {
            "status": {"$cond": [has_result, cases.PROCESSED, cases.TO_PROCESS]},
            "path": {"$cond": [has_result, "$result.path", "$input.path"]},
            "failures": 0,
            "losses": 0,
            "receive_failures": 0,
            "results_lost": "$$REMOVE",
            "lost_on": "$$REMOVE",
            "alone": "$$REMOVE",
            "avoid": "$$REMOVE",
            "not_before": "$$REMOVE",
            "ended": "$$REMOVE",
            "error": "$$REMOVE",
            "receiver": "$$REMOVE",
            **_NOTHING_HELD,
        }
        with self._asked("retry a case"):
            return bool(self._cases.update_one(query, [{"$set": update}]).matched_count)

    def begin_removal(self, case_id: Any, user: str) -> bool:
        """T14. Mark the archives of a cancelled or failed case of `user` for removal."""
        query = {
            **self._own(case_id, user),
            "files": "kept",
            "$or": _GIVEN_UP,
        }
        with self._asked("remove a case's archives"):
            return bool(self._cases.update_one(query, {"$set": {"files": "removing"}}).matched_count)

    def past_retention(self, origin: Party, days: float) -> list[Any]:
        """Ids of this origin's cancelled and failed cases whose archives were kept for `days`."""
        query = {
            **self._scope,
            "origin.user": origin.user,
            "origin.installation": origin.installation,
            "files": "kept",
            "format": {"$lte": config.case_format},
            "$or": _GIVEN_UP,
            "$expr": {"$lt": [{"$ifNull": ["$ended", "$$NOW"]}, _after(-days * 86_400)]},
        }
        with self._asked("look for old cases"):
            return [found["_id"] for found in self._cases.find(query, {"_id": 1}).limit(1000)]

    # T9 to T12: receive.

    def _of_origin(self, origin: Party) -> Document:
        return {
            **self._scope,
            "origin.user": origin.user,
            "origin.machine": origin.machine,
            "origin.installation": origin.installation,
            "format": {"$lte": config.case_format},
        }

    def claim_result(self, origin: Party, token: str, applications: Collection[str] | None = None) -> Case | None:
        """T9. Claim the first result of `origin` that nobody receives, under `token`."""
        query = {
            **self._of_origin(origin),
            "status": cases.PROCESSED,
            "receiver": {"$exists": False},
            "$expr": _DUE,
        }
        if applications is not None:
            query["application"] = {"$in": sorted(applications)}
        return self._take_result(query, origin, token, sort=[("_id", 1)])

    def take_over_result(self, seen: Observed, origin: Party, token: str) -> Case | None:
        """T9. Claim a result from a receiver that gave no sign, if its token and beat are still as `seen`."""
        query = {
            "_id": seen.id,
            **self._of_origin(origin),
            "status": cases.PROCESSED,
            "receiver.token": seen.token,
            "receiver.beat": seen.beat,
        }
        return self._take_result(query, origin, token)

    def _take_result(self, query: Document, origin: Party, token: str, sort: Any = None) -> Case | None:
        receiver = {
            "$mergeObjects": [
                literal({"token": token, "beat": 0, "agent": origin.agent}),
                {"lease_until": _after(self.lease)},
            ]
        }
        with self._asked("claim a result"):
            found = self._cases.find_one_and_update(
                query,
                [{"$set": {"receiver": receiver}}],
                sort=sort,
                projection=_LIST_FIELDS,
                return_document=pymongo.ReturnDocument.AFTER,
            )
        return Case.of(found) if found else None

    def claimed_result(self, token: str) -> Case | None:
        """The case whose result `token` holds, after a claim whose reply was lost."""
        with self._asked("look for a claimed result"):
            found = self._cases.find_one({"receiver.token": token, "status": cases.PROCESSED}, _LIST_FIELDS)
        return Case.of(found) if found else None

    def beat_receiver(self, tokens: Collection[str]) -> set[str]:
        """One heartbeat for all results held; returns the tokens that are still good."""
        if not tokens:
            return set()
        query = {"receiver.token": {"$in": list(tokens)}, "status": cases.PROCESSED}
        with self._asked("send a receiver's heartbeat", seconds=self._beat_patience):
            done = self._cases.update_many(
                query,
                [{"$set": {"receiver.beat": _count("$receiver.beat"), "receiver.lease_until": _after(self.lease)}}],
            )
            if done.matched_count == len(tokens):
                return set(tokens)
            return {found["receiver"]["token"] for found in self._cases.find(query, {"receiver.token": 1})}

    def silent_receivers(self, origin: Party) -> list[Observed]:
        """Candidates of T9's take-over: this origin's results whose receiver's lease ran out."""
        query = {
            **self._of_origin(origin),
            "status": cases.PROCESSED,
            "receiver.lease_until": {"$type": "date"},
            "$expr": _past("$receiver.lease_until"),
        }
        with self._asked("look for silent receivers"):
            return [
                Observed(one["_id"], one["receiver"]["token"], one["receiver"]["beat"])
                for one in self._cases.find(query, {"receiver": 1})
            ]

    def release_result(self, case_id: Any, token: str, *, pause: float = 0.0) -> bool:
        """Stop receiving without a count: the share is away, or the daemon quits."""
        query = {"_id": case_id, "receiver.token": token, "status": cases.PROCESSED}
        with self._asked("release a result"):
            update = [{"$set": {"receiver": "$$REMOVE", "not_before": _after(pause)}}]
            return bool(self._cases.update_one(query, update).matched_count)

    def received(self, case_id: Any, token: str) -> bool:
        """T10. The results are home: the case is received, its archives are to be removed. False: not mine."""
        query = {"_id": case_id, "receiver.token": token, "status": cases.PROCESSED}
        update = {
            "status": cases.RECEIVED,
            "origin.time.end": "$$NOW",
            "files": "removing",
            "received_by": token,
            "receiver": "$$REMOVE",
            "not_before": "$$REMOVE",
        }
        with self._asked("report a received case"):
            if self._cases.update_one(query, [{"$set": update}]).matched_count:
                return True
            found = self._cases.find_one({"_id": case_id}, {"received_by": 1})
        return found is not None and found.get("received_by") == token

    def receive_failed(
        self,
        case_id: Any,
        token: str,
        reason: str,
        *,
        attempts: int,
        pause: float,
        traceback: str = "",
        output: str = "",
    ) -> bool:
        """T11. receive.py failed: again after `pause` seconds, or ``error: receive: <reason>`` at the last attempt."""
        query = {"_id": case_id, "receiver.token": token, "status": cases.PROCESSED}
        last = {"$gte": [_count("$receive_failures"), attempts]}
        update = {
            "status": {"$cond": [last, literal(f"error: receive: {reason}"), cases.PROCESSED]},
            "ended": {"$cond": [last, "$$NOW", "$$REMOVE"]},
            "receive_failures": _count("$receive_failures"),
            "not_before": _after(pause),
            "error": {"$mergeObjects": [literal({"message": reason, "traceback": traceback}), {"time": "$$NOW"}]},
            "receive_output": literal(output),
            "receive_failed_by": token,
            "receiver": "$$REMOVE",
        }
        with self._asked("report a result that could not be received"):
            if self._cases.update_one(query, [{"$set": update}]).matched_count:
                return True
            found = self._cases.find_one({"_id": case_id}, {"receive_failed_by": 1})
        return found is not None and found.get("receive_failed_by") == token

    def result_lost(self, case_id: Any, token: str, reason: str) -> bool:
        """T12. The result is not on the share, or damaged: to process again, twice at most, then an error."""
        query = {"_id": case_id, "receiver.token": token, "status": cases.PROCESSED}
        again = {"$lt": [{"$ifNull": ["$results_lost", 0]}, 2]}
        update = {
            "status": {"$cond": [again, cases.TO_PROCESS, literal(f"error: result lost: {reason}")]},
            "ended": {"$cond": [again, "$$REMOVE", "$$NOW"]},
            "path": "$input.path",
            "results_lost": _count("$results_lost"),
            "result": "$$REMOVE",
            "receiver": "$$REMOVE",
            "not_before": "$$REMOVE",
        }
        with self._asked("report a lost result"):
            return bool(self._cases.update_one(query, [{"$set": update}]).matched_count)

    def removals(self, origin: Party) -> list[Case]:
        """This installation's cases whose archives are to be removed; a removal cut off by a crash is among them."""
        query = {
            "origin.installation": origin.installation,
            "files": "removing",
            **self._scope,
            "origin.user": origin.user,
            "format": {"$lte": config.case_format},
        }
        with self._asked("look for archives to remove"):
            found = self._cases.find(query, {"input": 1, "result": 1, "status": 1, "application": 1}, hint="removing")
            return [Case.of(one) for one in found.limit(1000)]

    def removed(self, ids: Collection[Any]) -> None:
        """The archives of these cases are gone from the share."""
        if ids:
            with self._asked("report removed archives"):
                self._cases.update_many(
                    {"_id": {"$in": list(ids)}, "files": "removing"}, {"$set": {"files": "removed"}}
                )

    # What people look at.

    def case(self, case_id: Any) -> Case | None:
        """One case, with everything."""
        with self._asked("read a case"):
            found = self._cases.find_one({"_id": case_id})
        return Case.of(found) if found else None

    def find(self, beginning: str) -> Case:
        """The case of this grid whose `_id` begins with the hexadecimal `beginning`; UsageError if not exactly one."""
        if not is_pattern(beginning):
            raise UsageError(
                f"'{beginning}' is no case: write the hexadecimal id that 'gridcompute cases' shows, or its beginning."
            )
        low, high = ObjectId(beginning.ljust(24, "0")), ObjectId(beginning.ljust(24, "f"))
        with self._asked("look for a case"):
            found = list(self._cases.find({**self._scope, "_id": {"$gte": low, "$lte": high}}).limit(2))
        if not found:
            raise UsageError(f"No case of this grid begins with '{beginning}'. See 'gridcompute cases --all'.")
        if len(found) > 1:
            raise UsageError(f"Several cases begin with '{beginning}'. Write more of the id.")
        return Case.of(found[0])

    def cases(self, *, user: str | None = None, unreceived: bool = False, limit: int = 0) -> list[Case]:
        """Cases of the group, oldest first, without their output: of `user` alone, or of all."""
        query: Document = dict(self._scope)
        if user is not None:
            query["origin.user"] = user
        if unreceived:  # nor given up
            query |= {"status": {"$ne": cases.RECEIVED}, "files": "kept"}
        with self._asked("read the cases"):
            found = self._cases.find(query, _LIST_FIELDS, batch_size=500).sort("_id", 1).limit(limit)
            return [Case.of(one) for one in found]

    def shown(self, user: str) -> Iterator[Case]:
        """The cases of `user` with the fields that a list shows: those that are not received, oldest first, then the
        newest of those that were received lately, newest first.

        They come one by one: ten thousand at once would be as many objects that the interpreter walks through.
        """
        mine = {**self._scope, "origin.user": user}
        lately = {"$gte": self.server_time() - timedelta(seconds=config.received_shown)}
        with self._asked("read the cases"):
            # Small batches: decoding one holds the interpreter's lock, which a window in this process would feel.
            unreceived = {**mine, "status": {"$ne": cases.RECEIVED}}
            for one in self._cases.find(unreceived, _SHOWN_FIELDS, batch_size=250).sort("_id", 1):
                yield Case.of(one)
            received = {**mine, "origin.time.end": lately, "status": cases.RECEIVED}
            found = self._cases.find(received, _SHOWN_FIELDS, batch_size=250, hint="home")
            for one in found.sort("origin.time.end", -1).limit(config.received_listed):
                yield Case.of(one)

    def positions(self, limit: int = 20_000) -> dict[str, int]:
        """Id -> place in the queue of its application, from 1, of the first `limit` waiting cases of the group."""
        query = {**self._scope, "status": cases.TO_PROCESS}
        found: dict[str, int] = {}
        lengths: dict[str, int] = {}
        with self._asked("read the queue"):
            waiting = self._cases.find(query, {"application": 1}, batch_size=1000)
            for one in waiting.sort([("application", 1), ("priority", -1), ("_id", 1)]).hint("claim").limit(limit):
                place = lengths[one["application"]] = lengths.get(one["application"], 0) + 1
                found[str(one["_id"])] = place
        return found

    def say_present(self, party: Party, *, offered: int, busy: int, applications: Collection[str]) -> None:
        """This machine is there now, and offers so many processes, so many of them busy."""
        name = {**self._scope, "installation": party.installation, "machine": party.machine}
        told = {"user": party.user, "offered": offered, "busy": busy, "applications": sorted(applications)}
        update = [{"$set": {**{key: literal(value) for key, value in told.items()}, "seen": "$$NOW"}}]
        with self._asked("say that this machine is there"):
            self._machines.update_one(name, update, upsert=True)

    def present(self) -> list[Document]:
        """Machines of the grid that gave a sign of life in the last days, with its `age` in seconds."""
        pipeline: list[Document] = [
            {"$match": self._scope},
            {"$set": {"age": {"$divide": [{"$subtract": ["$$NOW", "$seen"]}, 1000]}}},
            {"$match": {"age": {"$lt": config.presence_kept}}},
            {"$project": {"_id": 0, "machine": 1, "user": 1, "offered": 1, "busy": 1, "applications": 1, "age": 1}},
            {"$sort": {"machine": 1}},
        ]
        with self._asked("read which machines are there"):
            return list(self._machines.aggregate(pipeline))

    def finished_by_hour(self, hours: int) -> tuple[datetime, list[Document]]:
        """The server's moment, and for each machine and hour (UTC) the number of cases processed since."""
        now = self.server_time()
        first = now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=hours - 1)
        hour = {"$dateToString": {"format": "%Y-%m-%dT%H:00:00+00:00", "date": "$processors.time.end"}}
        pipeline: list[Document] = [
            {"$match": {**self._scope, "processors.time.end": {"$gte": first}}},
            {"$match": {"status": {"$in": [cases.PROCESSED, cases.RECEIVED]}}},
            {"$project": {"hour": hour, "machine": {"$arrayElemAt": ["$processors.processor_list.machine", -1]}}},
            {"$group": {"_id": {"machine": "$machine", "hour": "$hour"}, "number": {"$sum": 1}}},
        ]
        with self._asked("count the finished cases"):
            rows = self._cases.aggregate(pipeline, hint="finished")
            return now, [
                {
                    "machine": row["_id"].get("machine") or "",
                    "hour": datetime.fromisoformat(row["_id"]["hour"]),
                    "number": row["number"],
                }
                for row in rows
            ]

    def each_case(self) -> Iterator[Document]:
        """Every document of the group's cases, oldest first, with all fields but the output: for the report."""
        with self._asked("read the cases"):
            yield from self._cases.find(self._scope, {"output": 0}, batch_size=1000).sort("_id", 1)

    def statuses(self, ids: Collection[Any]) -> dict[Any, str]:
        """The status of each of `ids` that exists."""
        with self._asked("read the status of cases"):
            return {one["_id"]: one["status"] for one in self._cases.find({"_id": {"$in": list(ids)}}, {"status": 1})}

    def waiting(self, applications: Collection[str]) -> int:
        """How many cases of `applications` wait to be processed or are processed by somebody; a newer program's do not
        count, since we may process none of them.
        """
        query = {
            **self._scope,
            "status": {"$in": [cases.TO_PROCESS, cases.PROCESSING]},
            "application": {"$in": sorted(applications)},
            "format": {"$lte": config.case_format},
        }
        with self._asked("count the waiting cases"):
            return self._cases.count_documents(query)

    def queue(self) -> dict[str, dict[str, int]]:
        """Application -> kind of status -> number of cases, received ones left out."""
        pipeline: list[Document] = [
            {"$match": {**self._scope, "status": {"$ne": cases.RECEIVED}}},
            {"$group": {"_id": {"application": "$application", "status": "$status"}, "number": {"$sum": 1}}},
        ]
        counts: dict[str, dict[str, int]] = {}
        with self._asked("count the cases"):
            for row in self._cases.aggregate(pipeline):
                of_application = counts.setdefault(row["_id"]["application"], {})
                status = cases.kind(row["_id"]["status"])
                of_application[status] = of_application.get(status, 0) + row["number"]
        return counts

    def held_by_origins(self) -> list[tuple[str, str, int, int]]:
        """Machine, user, number and bytes of the results that each origin has not received."""
        pipeline: list[Document] = [
            {"$match": {**self._scope, "status": cases.PROCESSED}},
            {
                "$group": {
                    "_id": {"machine": "$origin.machine", "user": "$origin.user"},
                    "number": {"$sum": 1},
                    "bytes": {"$sum": "$result.size"},
                }
            },
            {"$sort": {"bytes": -1}},
        ]
        with self._asked("count the results"):
            rows = self._cases.aggregate(pipeline)
            return [(row["_id"]["machine"], row["_id"]["user"], row["number"], row["bytes"]) for row in rows]

    def to_receive(self, origin: Party) -> int:
        """How many results of `origin` wait to be received or are being received."""
        with self._asked("count the results"):
            return self._cases.count_documents({**self._of_origin(origin), "status": cases.PROCESSED})

    def running(self, origin: Party) -> int:
        """How many cases of `origin` are being processed, wherever."""
        with self._asked("count the running cases"):
            return self._cases.count_documents({**self._of_origin(origin), "status": cases.PROCESSING})

    def named_archives(self, paths: Collection[str]) -> set[str]:
        """Those of `paths` that a case of any group or instance names: asked before a journal's archive is deleted."""
        with self._asked("look for archives"):
            query = {"$or": [{"input.path": {"$in": list(paths)}}, {"result.path": {"$in": list(paths)}}]}
            named: set[str] = set()
            for one in self._cases.find(query, {"input.path": 1, "result.path": 1}):
                named.update(part["path"] for part in (one.get("input"), one.get("result")) if part)
            return named & set(paths)


class Doorbell:
    """Rings when a case gets one of some statuses; never carries data.

    `run` opens a change stream, rings once (so that the listener queries after the stream is open), then rings for each
    change; after an error, a drop or an invalidate it opens the stream again. Where the server offers none it returns
    False at once and the listener polls.
    """

    def __init__(
        self, database: Database, statuses: Collection[str] | None, ring: Callable[[str], None], stop: threading.Event
    ):
        """`statuses` None rings for whatever happens to a case of the grid."""
        self.database, self._ring, self._stop = database, ring, stop
        self.statuses = None if statuses is None else sorted(statuses)
        self.listening = False

    def _pipeline(self) -> list[Document]:
        whole = {f"fullDocument.{key}": value for key, value in self.database._scope.items()}
        if self.statuses is None:  # an update tells no group: one of another group rings for nothing
            wanted: Document = {"$exists": True}
            updated: Document = {"operationType": "update"}
        else:
            wanted = {"$in": self.statuses}
            updated = {"operationType": "update", "updateDescription.updatedFields.status": wanted}
        return [
            {
                "$match": {
                    "$or": [
                        {**whole, "fullDocument.status": wanted},
                        updated,
                        {"operationType": {"$in": ["drop", "rename", "dropDatabase", "invalidate"]}},
                    ]
                }
            },
            {
                "$project": {
                    "_id": 1,
                    "operationType": 1,
                    "fullDocument.status": 1,
                    "updateDescription.updatedFields.status": 1,
                }
            },
        ]

    def run(self) -> bool:
        """Listen until the stop event is set (True) or the server turns out to offer no change stream (False)."""
        pauses = clock.Backoff(0.2, 5.0)
        while not self._stop.is_set():
            try:
                self._listen(pauses)
            except mongo.OperationFailure as exc:
                if exc.code in _NO_CHANGE_STREAM:
                    return False
                self._stop.wait(pauses.next())
            except mongo.PyMongoError:
                self._stop.wait(pauses.next())
            finally:
                self.listening = False
        return True

    def _listen(self, pauses: clock.Backoff) -> None:
        # Batches, not changes one by one: what came in one reply is older than the ring that it is worth.
        whole = [{"$changeStream": {}}, *self._pipeline()]
        stream: Any  # its annotation names a class that knows no `try_next`
        with self.database._cases.aggregate_raw_batches(whole, maxAwaitTimeMS=1000) as stream:
            self.listening = True
            self._ring("opened")
            while stream.alive and not self._stop.is_set():
                batch = stream.try_next()
                if not batch:
                    continue
                pauses.reset()
                for status in {self._status(change) for change in bson.decode_all(batch)}:
                    self._ring(status)
                self._stop.wait(_doorbell_rest)

    @staticmethod
    def _status(change: Mapping[str, Any]) -> str:
        document = change.get("fullDocument") or (change.get("updateDescription") or {}).get("updatedFields") or {}
        return document.get("status", change["operationType"])
