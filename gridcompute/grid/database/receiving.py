"""T9 to T12: what a machine that receives results asks and writes, and the removal of archives."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pymongo

from gridcompute import config
from gridcompute.grid import cases
from gridcompute.grid.cases import Case, Observed, Party
from gridcompute.grid.database.connection import Connection
from gridcompute.grid.database.expressions import DUE, LIST_FIELDS, Document, after, count, literal, past


class Receiving(Connection):
    """The receiver's transitions: T9 to T12."""

    def claim_result(self, origin: Party, token: str, applications: Collection[str] | None = None) -> Case | None:
        """T9. Claim the first result of `origin` that nobody receives, under `token`."""
        query = {
            **self._of_origin(origin),
            "status": cases.PROCESSED,
            "receiver": {"$exists": False},
            "$expr": DUE,
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
                {"lease_until": after(self.lease)},
            ]
        }
        with self._asked("claim a result"):
            found = self._cases.find_one_and_update(
                query,
                [{"$set": {"receiver": receiver}}],
                sort=sort,
                projection=LIST_FIELDS,
                return_document=pymongo.ReturnDocument.AFTER,
            )
        return Case.of(found) if found else None

    def claimed_result(self, token: str) -> Case | None:
        """The case whose result `token` holds, after a claim whose reply was lost."""
        with self._asked("look for a claimed result"):
            found = self._cases.find_one({"receiver.token": token, "status": cases.PROCESSED}, LIST_FIELDS)
        return Case.of(found) if found else None

    def beat_receiver(self, tokens: Collection[str]) -> set[str]:
        """One heartbeat for all results held; returns the tokens that are still good."""
        if not tokens:
            return set()
        query = {"receiver.token": {"$in": list(tokens)}, "status": cases.PROCESSED}
        with self._asked("send a receiver's heartbeat", seconds=self._beat_patience):
            done = self._cases.update_many(
                query,
                [{"$set": {"receiver.beat": count("$receiver.beat"), "receiver.lease_until": after(self.lease)}}],
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
            "$expr": past("$receiver.lease_until"),
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
            update = [{"$set": {"receiver": "$$REMOVE", "not_before": after(pause)}}]
            return bool(self._cases.update_one(query, update).matched_count)

    def received(self, case_id: Any, token: str) -> bool:
        """T10. The results are home: the case is received, its archives are to be removed. False: not mine."""
        update = {
            "status": cases.RECEIVED,
            "origin.time.end": "$$NOW",
            "files": "removing",
            "not_before": "$$REMOVE",
        }
        return self._end_receiving("report a received case", case_id, token, update, mark="received_by")

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
        """T11. receive.py failed: again after `pause` seconds, or ``error: receive: <reason>`` at the last attempt.

        False: not mine, nothing changed.
        """
        last = {"$gte": [count("$receive_failures"), attempts]}
        update = {
            "status": {"$cond": [last, literal(f"error: receive: {reason}"), cases.PROCESSED]},
            "ended": {"$cond": [last, "$$NOW", "$$REMOVE"]},
            "receive_failures": count("$receive_failures"),
            "not_before": after(pause),
            "error": {"$mergeObjects": [literal({"message": reason, "traceback": traceback}), {"time": "$$NOW"}]},
            "receive_output": literal(output),
        }
        what = "report a result that could not be received"
        return self._end_receiving(what, case_id, token, update, mark="receive_failed_by")

    def result_lost(self, case_id: Any, token: str, reason: str) -> bool:
        """T12. The result is not on the share, or damaged: to process again, twice at most, then an error.

        False: not mine, nothing changed.
        """
        again = {"$lt": [{"$ifNull": ["$results_lost", 0]}, 2]}
        update = {
            "status": {"$cond": [again, cases.TO_PROCESS, literal(f"error: result lost: {reason}")]},
            "ended": {"$cond": [again, "$$REMOVE", "$$NOW"]},
            "path": "$input.path",
            "results_lost": count("$results_lost"),
            "result": "$$REMOVE",
            "not_before": "$$REMOVE",
        }
        return self._end_receiving("report a lost result", case_id, token, update, mark="result_lost_by")

    def _end_receiving(self, what: str, case_id: Any, token: str, update: Document, *, mark: str) -> bool:
        """The guarded write that ends receiving, and the question after one that matched nothing.

        The token in the field `mark` is the answer to that question.
        """
        query = {"_id": case_id, "receiver.token": token, "status": cases.PROCESSED}
        with self._asked(what):
            ended = {**update, mark: token, "receiver": "$$REMOVE"}
            if self._cases.update_one(query, [{"$set": ended}]).matched_count:
                return True
            found = self._cases.find_one({"_id": case_id}, {mark: 1})
        return found is not None and found.get(mark) == token

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
