"""T8, T13, T14: what a submitter does with cases."""

from __future__ import annotations

from typing import Any

from gridcompute import config
from gridcompute.grid import cases
from gridcompute.grid.cases import Party
from gridcompute.grid.database.connection import Connection
from gridcompute.grid.database.expressions import GIVEN_UP, NOTHING_HELD, Document, after, ended_attempt


class Acting(Connection):
    """The transitions that a person asks for: T8, T13, T14."""

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
            "processors.processor_list": ended_attempt("$token", "cancelled"),
            **NOTHING_HELD,
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
            "$or": GIVEN_UP,
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
            **NOTHING_HELD,
        }
        with self._asked("retry a case"):
            return bool(self._cases.update_one(query, [{"$set": update}]).matched_count)

    def begin_removal(self, case_id: Any, user: str) -> bool:
        """T14. Mark the archives of a cancelled or failed case of `user` for removal."""
        query = {
            **self._own(case_id, user),
            "files": "kept",
            "$or": GIVEN_UP,
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
            "$or": GIVEN_UP,
            "$expr": {"$lt": [{"$ifNull": ["$ended", "$$NOW"]}, after(-days * 86_400)]},
        }
        with self._asked("look for old cases"):
            return [found["_id"] for found in self._cases.find(query, {"_id": 1}).limit(1000)]
