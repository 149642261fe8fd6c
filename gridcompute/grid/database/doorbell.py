"""The doorbell: a change stream that rings."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from typing import Any

import bson
from pymongo import errors as mongo

from gridcompute import clock
from gridcompute.grid.database.connection import Connection
from gridcompute.grid.database.expressions import Document

_NO_CHANGE_STREAM = {40573, 20, 13}
"""A standalone server, a server without an oplog, a user without the right."""


_doorbell_rest = 0.03
"""Seconds that a doorbell rests after a ring: many changes then come in one reply."""


class Doorbell:
    """Rings when a case gets one of some statuses; never carries data.

    `run` opens a change stream, rings once (so that the listener queries after the stream is open), then rings for each
    change; after an error, a drop or an invalidate it opens the stream again. Where the server offers none it returns
    False at once and the listener polls.
    """

    def __init__(
        self, database: Connection, statuses: Collection[str] | None, ring: Callable[[str], None], stop: threading.Event
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
