"""What the front end shows of the attempts that run here."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from gridcompute import clock, events
from gridcompute.daemons.attempt import Attempt
from gridcompute.daemons.holding import Holdings

show_interval = 0.15
"""Seconds between two of the stages of a case that are shown; nobody could read faster ones."""


class Display:
    """Tells the front end of each attempt: that it is there, its stage, what it uses."""

    def __init__(
        self,
        attempts: Holdings[Attempt],
        tell: Callable[[events.Event], None],
        work: Callable[..., Future[None]],
        *,
        watched: bool,
    ):
        self._attempts, self._tell, self._work, self._watched = attempts, tell, work, watched
        self._next_usage = 0.0
        self._measuring: Future[None] | None = None
        self._used: dict[str, tuple[float, float]] = {}  # token -> moment, CPU seconds

    def add(self, attempt: Attempt) -> None:
        """A case begins here."""
        attempt.shown = clock.monotonic()
        self._tell(events.add_my_process(self._row(attempt)))

    def _row(self, attempt: Attempt) -> dict[str, Any]:
        case = attempt.case
        return {
            "id": str(case.id),
            "pid": attempt.child.pid if attempt.child else None,
            "application": case.application,
            "origin": f"{case.origin_user} on {case.origin_machine}",
            "attempt": case.attempt,
            "status": self._status(attempt),
        }

    @staticmethod
    def _status(attempt: Attempt) -> str:
        if attempt.ending:
            return "ending"
        return "paused" if attempt.paused else attempt.stage

    def show_stages(self, now: float) -> None:
        """Tell of stages that last long enough to be seen."""
        for attempt in self._attempts.values():
            if attempt.unshown and attempt.ended is None and now - attempt.shown >= show_interval:
                self.show(attempt)

    def show(self, attempt: Attempt) -> None:
        attempt.shown, attempt.unshown = clock.monotonic(), False
        self._tell(events.change_my_process(str(attempt.case.id), status=self._status(attempt)))

    def measure(self, now: float) -> None:
        """For a window: what each case uses of processor and memory, every two seconds."""
        if not self._watched or not self._attempts or now < self._next_usage:
            return
        if self._measuring is not None and not self._measuring.done():
            return
        self._next_usage = now + 2.0
        self._measuring = self._work(self._tell_usage, now)

    def _tell_usage(self, now: float) -> None:
        seen: dict[str, tuple[float, float]] = {}
        for token, attempt in list(self._attempts.items()):
            if attempt.child is None or attempt.ended is not None:
                continue
            usage = attempt.child.usage()
            seen[token] = (now, usage.cpu)
            before, cpu = self._used.get(token, (now, usage.cpu))
            share = max(0.0, usage.cpu - cpu) / (now - before) if now > before else 0.0
            self._tell(events.change_my_process(str(attempt.case.id), cpu=share, memory=usage.memory))
        self._used = seen
