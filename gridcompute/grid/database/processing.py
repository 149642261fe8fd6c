"""T2 to T7: what a machine that processes cases asks and writes."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pymongo

from gridcompute import config
from gridcompute.grid import cases
from gridcompute.grid.cases import Archive, Case, Observed, Party
from gridcompute.grid.database.connection import Connection
from gridcompute.grid.database.expressions import (
    DUE,
    LIST_FIELDS,
    NOTHING_HELD,
    QUEUE,
    Document,
    after,
    count,
    ended_attempt,
    literal,
    not_avoided_by,
    or_empty,
    past,
    storable,
)


class Processing(Connection):
    """The processor's transitions: T2 to T7."""

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
                    "attempt": count("$attempt"),
                    "lease_until": after(self.lease),
                    "last_heartbeat": "$$NOW",
                    "holder": literal(party.holder()),
                    "progress": "$$REMOVE",
                    "processors.processor_list": {
                        "$slice": [
                            {
                                "$concatArrays": [
                                    or_empty("$processors.processor_list"),
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
                sort=QUEUE,
                projection=LIST_FIELDS,
                return_document=pymongo.ReturnDocument.AFTER,
            )
        return Case.of(found) if found else None

    def _claimable(self, party: Party, applications: Collection[str], *, alone: bool) -> Document:
        query: Document = {
            **self._scope,
            "status": cases.TO_PROCESS,
            "application": {"$in": sorted(applications)},
            "format": {"$lte": config.case_format},
            "$expr": {"$and": [DUE, not_avoided_by(party.machine)]},
        }
        if not alone:
            query["alone"] = {"$ne": True}
        return query

    def next_application(self, party: Party, applications: Collection[str]) -> str | None:
        """The application of the case that `claim` would give to a machine with room for any, or None."""
        query = self._claimable(party, applications, alone=False)
        with self._asked("look at the head of the queue"):
            found = self._cases.find_one(query, {"application": 1}, sort=QUEUE)
        return found["application"] if found else None

    def claimed(self, token: str) -> Case | None:
        """The case that `token` holds, after a claim whose reply was lost."""
        with self._asked("look for a claimed case"):
            found = self._cases.find_one({"token": token, "status": cases.PROCESSING}, LIST_FIELDS)
        return Case.of(found) if found else None

    def must_run_alone(self, party: Party, applications: Collection[str]) -> bool:
        """Whether a case waits that this machine may process, but alone."""
        query = {
            **self._scope,
            "alone": True,
            "status": cases.TO_PROCESS,
            "application": {"$in": sorted(applications)},
            "format": {"$lte": config.case_format},
            "$expr": {"$and": [DUE, not_avoided_by(party.machine)]},
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
        others_lost = {"$setDifference": [or_empty("$lost_on"), [{"$ifNull": ["$holder.machine", "?"]}]]}
        with self._asked("send a heartbeat", seconds=self._beat_patience):
            done = self._cases.update_many(
                {"token": {"$in": list(tokens)}, "status": {"$in": [cases.PROCESSING, cases.TO_PROCESS]}},
                [
                    {
                        "$set": {
                            "status": cases.PROCESSING,
                            "beat": count("$beat"),
                            "lease_until": after(self.lease),
                            "last_heartbeat": "$$NOW",
                            "lost_on": {"$cond": [came_back, others_lost, "$lost_on"]},
                        }
                    },
                    {
                        "$set": {
                            "losses": {"$size": or_empty("$lost_on")},
                            "alone": {
                                "$cond": [
                                    {"$gte": [{"$size": or_empty("$lost_on")}, config.losses_before_alone]},
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
                {"$set": {"progress": {"fraction": fraction, "text": storable(text[:200])}}},
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
            "processors.processor_list": ended_attempt(token, "processed"),
            "output": literal(output),
            "output_place": literal(place),
            "error": "$$REMOVE",
            "not_before": "$$REMOVE",
            "losses": 0,
            "lost_on": "$$REMOVE",
            "alone": "$$REMOVE",
            **NOTHING_HELD,
        }
        return self._end_attempt("complete a case", case_id, token, update, "processed")

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
        last = {"$gte": [count("$failures"), attempts]}
        update = {
            "status": {"$cond": [last, literal(f"error: {reason}"), cases.TO_PROCESS]},
            "ended": {"$cond": [last, "$$NOW", "$$REMOVE"]},
            "failures": count("$failures"),
            "losses": 0,
            "lost_on": "$$REMOVE",
            "alone": "$$REMOVE",
            "not_before": after(pause),
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
            "processors.processor_list": ended_attempt(token, "failed"),
            **NOTHING_HELD,
        }
        return self._end_attempt("report a failed case", case_id, token, update, "failed")

    @staticmethod
    def _avoiding(machine: str, seconds: float) -> Document:
        """The unlapsed entries of `avoid`, the last few of them, and `machine` for `seconds`."""
        unlapsed = {"$filter": {"input": or_empty("$avoid"), "cond": {"$gt": ["$$this.until", "$$NOW"]}}}
        added = [{"machine": literal(machine), "until": after(seconds)}] if seconds > 0 else []
        return {"$slice": [{"$concatArrays": [unlapsed, added]}, -config.avoid_limit]}

    def hand_back(self, case_id: Any, token: str, *, pause: float = 0.0, machine: str = "", avoid: float = 0.0) -> bool:
        """T6. Give a case back, nothing counted; the end of its processes is confirmed before. False: not mine.

        With `avoid`, `machine` leaves the case to others for so many seconds (its share or disk is away).
        """
        update = {
            "status": cases.TO_PROCESS,
            "not_before": after(pause),
            "avoid": self._avoiding(machine, avoid),
            "processors.time.end": "$$NOW",
            "processors.processor_list": ended_attempt(token, "handed back"),
            **NOTHING_HELD,
        }
        return self._end_attempt("hand a case back", case_id, token, update, "handed back")

    def _end_attempt(self, what: str, case_id: Any, token: str, update: Document, outcome: str) -> bool:
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
            return [Case.of(found) for found in self._cases.find(query, LIST_FIELDS, hint="holder")]

    def expired(self) -> list[Observed]:
        """Candidates of T7: cases whose lease ran out by the server's clock, or reaches further than any lease can,
        since that clock was set back. The lease proposes, it does not decide.
        """
        query = {
            **self._scope,
            "status": cases.PROCESSING,
            "lease_until": {"$type": "date"},
            "format": {"$lte": config.case_format},
            "$expr": past("$lease_until"),
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
        lost = {"$setUnion": [or_empty("$lost_on"), [machine]]}
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
            "processors.processor_list": ended_attempt("$token", "lost"),
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
