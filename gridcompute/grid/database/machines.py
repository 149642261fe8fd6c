"""The machines of the grid: who is there, and what each has done."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from gridcompute import config
from gridcompute.grid import cases
from gridcompute.grid.cases import Party
from gridcompute.grid.database.connection import Connection
from gridcompute.grid.database.expressions import Document, literal


class Machines(Connection):
    """What the machines tell of themselves, and what is counted for each."""

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
