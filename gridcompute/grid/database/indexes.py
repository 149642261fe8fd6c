"""The indexes of the collection *cases*: each query has one that serves it."""

from __future__ import annotations

from gridcompute.grid import cases
from gridcompute.grid.database.expressions import Document

INDEXES: list[tuple[str, list[tuple[str, int]], Document]] = [
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
