"""Case, its statuses, and who works on it: plain values, no outside world.

The state machine T1 to T14 is written out in ``docs/protocol.md``; `grid.database` is its only writer.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from gridcompute import config

TO_PROCESS = "to process"
PROCESSING = "processing"
PROCESSED = "processed"
RECEIVED = "received"
CANCELLED = "cancelled"
ERROR = "error"
"""An error's status is ``error: <reason>``; this is its beginning and its kind."""

FOLLOWERS: dict[str, frozenset[str]] = {
    TO_PROCESS: frozenset({PROCESSING, PROCESSED, CANCELLED, ERROR}),  # processed and error by the token of a sleeper
    PROCESSING: frozenset({TO_PROCESS, PROCESSED, CANCELLED, ERROR}),
    PROCESSED: frozenset({RECEIVED, TO_PROCESS, CANCELLED, ERROR}),
    RECEIVED: frozenset(),
    CANCELLED: frozenset({TO_PROCESS, PROCESSED}),
    ERROR: frozenset({TO_PROCESS, PROCESSED, CANCELLED}),
}
"""Which kind of status may follow which: the transitions of the protocol's table and no others."""


def kind(status: str) -> str:
    """The status without an error's reason; an unknown status is its own kind."""
    return ERROR if status.startswith(ERROR + ":") else status


def can_follow(before: str, after: str) -> bool:
    """Whether one write may change status `before` into `after`; staying is always allowed."""
    return kind(before) == kind(after) or kind(after) in FOLLOWERS.get(kind(before), frozenset())


def new_token() -> str:
    """A fresh random token; made before a claim is sent, so that a lost reply can be asked about."""
    return uuid.uuid4().hex


@dataclass(frozen=True)
class Party:
    """Somebody who submits, processes or receives: a person at a machine."""

    machine: str
    user: str
    installation: str  # random, made once for each per-user folder: tells a cloned machine name apart
    agent: str = ""  # random, made at each start of a daemon

    def holder(self) -> dict[str, str]:
        """The fields of a case's `holder`."""
        return {
            "machine": self.machine,
            "user": self.user,
            "installation": self.installation,
            "agent": self.agent,
        }


@dataclass(frozen=True)
class Archive:
    """An archive as the database names it: `path` relative to the shared folder, with ``/``; `size` in bytes."""

    path: str
    size: int
    sha256: str

    def document(self) -> dict[str, Any]:
        return {"path": self.path, "size": self.size, "sha256": self.sha256}

    @classmethod
    def of(cls, document: dict[str, Any] | None) -> Archive | None:
        return cls(document["path"], document["size"], document["sha256"]) if document else None


@dataclass(frozen=True)
class Observed:
    """A lease that ran out, as one observer saw it: T7 and T9 act only if token and beat are still these."""

    id: Any
    token: str
    beat: int


@dataclass(frozen=True)
class Case:
    """One document of the collection *cases*, as far as the program shows or uses it.

    Fields that a query did not read are empty. Moments are aware, in UTC, by the database server's clock.
    """

    id: Any
    application: str
    status: str
    user_group: str = ""
    instance: str = ""
    priority: int = config.default_priority
    format: int = config.case_format
    path: str = ""
    origin_machine: str = ""
    origin_user: str = ""
    origin_installation: str = ""
    submitted: datetime | None = None
    received: datetime | None = None
    processors: tuple[dict[str, Any], ...] = ()  # each attempt: machine, user, start, end, outcome
    started: datetime | None = None
    returned: datetime | None = None
    last_heartbeat: datetime | None = None
    token: str | None = None
    beat: int = 0
    attempt: int = 0
    failures: int = 0
    losses: int = 0
    receive_failures: int = 0
    alone: bool = False
    input: Archive | None = None
    result: Archive | None = None
    result_token: str | None = None
    receiver: dict[str, Any] | None = None
    files: str = "kept"
    names: tuple[str, ...] = ()  # names of the input files, the first ones
    count: int = 0  # number of input files
    progress: dict[str, Any] | None = None  # fraction, text
    error: dict[str, Any] | None = None  # message, traceback, machine, user, time
    output: str = ""  # the end of what the application printed
    output_place: dict[str, Any] | None = None  # machine and size of the whole output
    submission: str = ""
    document: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def kind(self) -> str:
        return kind(self.status)

    @property
    def processor_machine(self) -> str:
        """The machine that processes the case or did so last; empty before the first claim."""
        return self.processors[-1].get("machine", "") if self.processors else ""

    @classmethod
    def of(cls, document: dict[str, Any]) -> Case:
        """A case from its document; what an older or newer program did not write stays at its default."""
        origin = document.get("origin") or {}
        moments = origin.get("time") or {}
        processors = document.get("processors") or {}
        attempt_times = processors.get("time") or {}
        result = document.get("result")
        shown = document.get("input_names") or {}
        return cls(
            id=document["_id"],
            application=document.get("application", ""),
            status=document.get("status", ""),
            user_group=document.get("user_group", ""),
            instance=document.get("instance", ""),
            priority=document.get("priority", config.default_priority),
            format=document.get("format", 0),
            path=document.get("path", ""),
            origin_machine=origin.get("machine", ""),
            origin_user=origin.get("user", ""),
            origin_installation=origin.get("installation", ""),
            submitted=moments.get("start"),
            received=moments.get("end"),
            processors=tuple(processors.get("processor_list") or ()),
            started=attempt_times.get("start"),
            returned=attempt_times.get("end"),
            last_heartbeat=document.get("last_heartbeat"),
            token=document.get("token"),
            beat=document.get("beat", 0),
            attempt=document.get("attempt", 0),
            failures=document.get("failures", 0),
            losses=document.get("losses", 0),
            receive_failures=document.get("receive_failures", 0),
            alone=bool(document.get("alone")),
            input=Archive.of(document.get("input")),
            result=Archive.of(result),
            result_token=(result or {}).get("token"),
            receiver=document.get("receiver"),
            files=document.get("files", "kept"),
            names=tuple(shown.get("first") or ()),
            count=shown.get("count", 0),
            progress=document.get("progress"),
            error=document.get("error"),
            output=document.get("output", ""),
            output_place=document.get("output_place"),
            submission=document.get("submission", ""),
            document=document,
        )
