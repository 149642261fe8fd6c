"""What people look at: cases, the queue, the machines."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import timedelta
from typing import Any

from bson import ObjectId

from gridcompute import config
from gridcompute.errors import UsageError
from gridcompute.grid import cases
from gridcompute.grid.cases import Case, Party
from gridcompute.grid.database.connection import Connection
from gridcompute.grid.database.expressions import LIST_FIELDS, Document

SHOWN_FIELDS = dict.fromkeys(
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


def object_id(text: str) -> ObjectId:
    """The `_id` of a case from its hexadecimal text, as journals keep it."""
    return ObjectId(text)


def is_pattern(text: str) -> bool:
    """Whether `text` is the beginning of a hexadecimal `_id`."""
    return 0 < len(text) <= 24 and all(c in "0123456789abcdefABCDEF" for c in text)


class Looking(Connection):
    """What is read and changes no case."""

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
            found = self._cases.find(query, LIST_FIELDS, batch_size=500).sort("_id", 1).limit(limit)
            return [Case.of(one) for one in found]

    def shown(self, user: str) -> Iterator[Case]:
        """The cases of `user` with the fields that a list shows: those that are neither received nor given up, oldest
        first, then the newest of those that were received lately, newest first.

        They come one by one: ten thousand at once would be as many objects that the interpreter walks through.
        """
        mine = {**self._scope, "origin.user": user}
        lately = {"$gte": self.server_time() - timedelta(seconds=config.received_shown)}
        with self._asked("read the cases"):
            # Small batches: decoding one holds the interpreter's lock, which a window in this process would feel.
            unreceived = {**mine, "status": {"$ne": cases.RECEIVED}, "files": "kept"}
            for one in self._cases.find(unreceived, SHOWN_FIELDS, batch_size=250).sort("_id", 1):
                yield Case.of(one)
            received = {**mine, "origin.time.end": lately, "status": cases.RECEIVED}
            found = self._cases.find(received, SHOWN_FIELDS, batch_size=250, hint="home")
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
        """Application -> kind of status -> number of cases: of those under way, and of the failed that are kept."""
        under_way = {"status": {"$in": [cases.TO_PROCESS, cases.PROCESSING, cases.PROCESSED]}}  # the index tells it all
        failed = {"status": {"$regex": "^error:"}, "files": "kept"}
        group = {"_id": {"application": "$application", "status": "$status"}, "number": {"$sum": 1}}
        counts: dict[str, dict[str, int]] = {}
        with self._asked("count the cases"):
            for query in (under_way, failed):
                for row in self._cases.aggregate([{"$match": {**self._scope, **query}}, {"$group": group}]):
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
