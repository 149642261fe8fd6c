"""T1: new cases."""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from bson import ObjectId
from pymongo import errors as mongo

from gridcompute import config
from gridcompute.errors import DatabaseAway, DatabaseError
from gridcompute.grid import cases
from gridcompute.grid.cases import Archive, Party
from gridcompute.grid.database.connection import Connection
from gridcompute.grid.database.expressions import Document
from gridcompute.grid.settings import Settings


class Submitting(Connection):
    """The submitter's transition: T1."""

    def __init__(self, settings: Settings, *, patience: float = 5.0, answer: float = 30.0):
        super().__init__(settings, patience=patience, answer=answer)
        self._counter = int.from_bytes(os.urandom(2), "big")
        self._random = os.urandom(5)
        self._counter_lock = threading.Lock()

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
