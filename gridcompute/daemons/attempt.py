"""One attempt to process a case, as its machine knows it."""

from __future__ import annotations

import logging
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from gridcompute import config
from gridcompute.daemons.holding import Held
from gridcompute.daemons.journal import Leftover

log = logging.getLogger(__name__)


@dataclass
class Attempt(Held):
    """A case that is processed here, from its claim to the acknowledged end of the attempt."""

    time_limit: float | None = None  # seconds of running, paused time left out
    attempts: int = config.attempts
    processes: int = 1  # of those that the machine lends
    squeezed: float | None = None  # monotonic moment since which the machine lends fewer than that
    avoid: float = 0.0  # seconds for which this machine leaves the case to others after a failure
    stage: str = "fetch"
    ran: float = 0.0  # seconds it ran before the last pause
    paused: bool = False
    held: bool = False  # paused by a person, so that a raised number does not resume it
    told: float = 0.0  # monotonic moment at which progress was last written to the database
    shown: float = 0.0  # monotonic moment at which its status was last shown
    unshown: bool = False  # it has changed since
    progress: dict[str, Any] = field(default_factory=dict)
    telling: Future[None] | None = None  # the write of progress that is under way
    part_left: bool = False  # a result that was cut off may lie on the share, which is away

    @property
    def stem(self) -> str:
        """The beginning of the result's file name: case and attempt."""
        return f"{self.case.id}-{self.case.attempt}"

    def run_time(self, now: float) -> float:
        """Seconds for which process_case has run, pauses left out."""
        return self.ran + (now - self.running_since if self.running_since is not None else 0.0)

    def over_time(self, now: float) -> bool:
        return self.time_limit is not None and not self.ending and self.run_time(now) > self.time_limit

    @property
    def being_delivered(self) -> bool:
        """Whether no process of it is left, and its finished result is on its way at the first try."""
        done = self.outcome is not None and self.outcome.get("outcome") == "done"
        return done and self.ended is not None and not self.ending and not self.settle_after

    def pause(self, now: float) -> None:
        if not self.paused and self.child is not None:
            self.child.pause()
            self.paused, self.ran, self.running_since = True, self.run_time(now), None

    def resume(self, now: float) -> None:
        if self.paused and self.child is not None:
            self.child.resume()
            self.paused = False
            self.running_since = now if self.stage == "run" else None

    def enter_stage(self, stage: str, now: float) -> None:
        self.ran, self.running_since = self.run_time(now), (now if stage == "run" else None)
        self.stage = stage

    def leftover(self) -> Leftover:
        """What is still to be cleared up after this attempt has ended."""
        case = self.case
        return Leftover(
            self.work, str(case.id), self.token, case.attempt, case.origin_user, case.origin_machine, None, None
        )
