"""What queries and updates on a case are made of: moments, counts, lists, and the fields that are read."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from gridcompute import config
from gridcompute.grid import cases

Document = dict[str, Any]

NOTHING_HELD = {"token": "$$REMOVE", "lease_until": "$$REMOVE", "holder": "$$REMOVE", "progress": "$$REMOVE"}

LIST_FIELDS = {"output": 0, "error.traceback": 0, "avoid": 0}
"""What a list never shows; documents stay small on the way."""

QUEUE = [("priority", -1), ("_id", 1)]
"""The order in which cases are given out."""

GIVEN_UP: list[Document] = [{"status": cases.CANCELLED}, {"status": {"$regex": "^error:"}}]
"""The statuses whose archives may be retried or removed."""


def storable(value: Any) -> Any:
    """`value` with every text in it as the database takes it.

    A message may hold the name of a file that is no valid Unicode, which MongoDB refuses: its bytes are then escaped.
    """
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, dict):
        return {key: storable(one) for key, one in value.items()}
    return [storable(one) for one in value] if isinstance(value, list) else value


def literal(value: Any) -> Document:
    """`value` inside a pipeline, where a text that begins with ``$`` would name a field."""
    return {"$literal": storable(value)}


def after(seconds: float) -> Document:
    """The server's moment in `seconds`."""
    return {"$add": ["$$NOW", int(seconds * 1000)]}


def or_empty(path: str) -> Document:
    return {"$ifNull": [path, []]}


def count(path: str) -> Document:
    return {"$add": [{"$ifNull": [path, 0]}, 1]}


def ended_attempt(token: str | Document, outcome: str) -> Document:
    """The list of processors with the end and outcome of the attempt that has `token`."""
    return {
        "$map": {
            "input": or_empty("$processors.processor_list"),
            "in": {
                "$cond": [
                    {"$eq": ["$$this.token", token]},
                    {"$mergeObjects": ["$$this", {"end": "$$NOW", "outcome": outcome}]},
                    "$$this",
                ]
            },
        }
    }


furthest = max(config.db_heartbeat_dead_limit, config.retry_pause_limit, config.avoid_time)
"""Seconds: no lease, pause or avoidance reaches further. A moment beyond was written before the server's clock was set
back, and waiting for it could take as long as the clock had been wrong."""


def past(moment: Any) -> Document:
    """True where `moment` is over, or can't be meant."""
    return {"$or": [{"$lte": [moment, "$$NOW"]}, {"$gt": [moment, after(furthest)]}]}


def not_avoided_by(machine: str) -> Document:
    """True where `machine` is on no unlapsed entry of the case's `avoid`."""
    blocking = {
        "$filter": {
            "input": or_empty("$avoid"),
            "cond": {"$and": [{"$eq": ["$$this.machine", literal(machine)]}, {"$not": [past("$$this.until")]}]},
        }
    }
    return {"$eq": [{"$size": blocking}, 0]}


DUE = past({"$ifNull": ["$not_before", datetime(1970, 1, 1, tzinfo=timezone.utc)]})
