"""The sign of life of a machine, for everybody's windows."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout

from gridcompute.daemons.loop import Daemon
from gridcompute.errors import GridComputeError

log = logging.getLogger(__name__)


class Presence:
    """Tells the database that this machine is there, and what it offers."""

    def __init__(self, daemon: Daemon):
        self._daemon = daemon
        self._said: tuple[int, int, tuple[str, ...]] = (0, 0, ())
        self._next = 0.0
        self._telling: Future[None] | None = None

    def say(self, now: float, offered: int, busy: int, applications: Iterable[str]) -> None:
        """This machine is there and offers so many processes. Written each period, and soon after a change."""
        if self._daemon.database_blocked(now) or (self._telling is not None and not self._telling.done()):
            return
        presence = (offered, busy, tuple(sorted(applications)))
        if now < self._next and (
            presence == self._said or now < self._next - self._daemon.settings.heartbeat_frequency + 2.0
        ):
            return
        self._said, self._next = presence, now + self._daemon.settings.heartbeat_frequency
        self._telling = self._daemon.work(self._write, *presence)

    def _write(self, offered: int, busy: int, applications: tuple[str, ...]) -> None:
        try:
            self._daemon.database.say_present(self._daemon.party, offered=offered, busy=busy, applications=applications)
        except GridComputeError as exc:  # a courtesy to the others; the next beat meets the trouble by name
            log.debug("The presence of this machine was not written: %s", exc)

    def leave(self) -> None:
        """This machine offers nothing any more; takes half a second at most."""
        with contextlib.suppress(FutureTimeout):
            self._daemon.work(self._write, 0, 0, self._said[2]).result(0.5)
