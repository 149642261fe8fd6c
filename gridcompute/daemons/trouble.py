"""Expected trouble of a daemon: each has a name, a pause that grows, and an end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from gridcompute import clock, events
from gridcompute.errors import DatabaseAway, DatabaseError, DiskFull, ShareAway, VersionRefused

log = logging.getLogger(__name__)

OK = "ok"
DATABASE_AWAY = "database away"
DATABASE_REFUSES = "database refuses"
SHARE_AWAY = "share away"
DISK_FULL = "disk full"
REFUSED = "refused"


@dataclass
class _Pause:
    backoff: clock.Backoff
    until: float  # monotonic


class Trouble:
    """The named states of a daemon: said once when entered, said once when left, retried with growing pauses.

    Methods may be called from any thread.
    """

    def __init__(self, daemon: str, tell: Callable[[events.Event], None]):
        self._daemon, self._tell = daemon, tell
        self._pauses: dict[str, _Pause] = {}
        self._before: dict[str, tuple[float, clock.Backoff]] = {}  # when it was last entered, and its pauses
        self._lock = threading.Lock()

    def enter(
        self, name: str, message: str, now: float, *, first: float = 0.5, limit: float = 15.0, together: float = 0.0
    ) -> None:
        """Expected trouble: nothing that needs the thing is tried for a while.

        One that was left, and comes again within `together` seconds after it was last entered, goes on with its pauses.
        """
        with self._lock:
            if name not in self._pauses:
                at, before = self._before.get(name, (float("-inf"), None))
                again = before is not None and now - at < together
                self._pauses[name] = _Pause(before if before and again else clock.Backoff(first, limit), now)
                log.warning("%s: %s", name, message)
                self._tell(events.state(self._daemon, name, message))
            pause = self._pauses[name]
            self._before[name] = (now, pause.backoff)
            pause.until = now + pause.backoff.next()

    def leave(self, name: str, message: str = "") -> None:
        """The thing works again."""
        with self._lock:
            if self._pauses.pop(name, None) is not None:
                log.info("%s is over. %s", name, message)
                left = next(iter(self._pauses), OK)
                self._tell(events.state(self._daemon, left, message or f"{name} is over.", over=name))

    def blocks(self, name: str, now: float) -> bool:
        """Whether the thing is in trouble and its pause is not over."""
        pause = self._pauses.get(name)
        return pause is not None and now < pause.until

    def __contains__(self, name: str) -> bool:
        return name in self._pauses

    def next_try(self, now: float) -> float:
        """Seconds until the first pause is over; a large number where there is no trouble."""
        with self._lock:
            return min((pause.until - now for pause in self._pauses.values()), default=3600.0)


def trouble_name(exc: BaseException) -> str | None:
    """The named state for an expected error, None for any other."""
    if isinstance(exc, VersionRefused):
        return REFUSED
    if isinstance(exc, DatabaseAway):
        return DATABASE_AWAY
    if isinstance(exc, DatabaseError):
        return DATABASE_REFUSES
    if isinstance(exc, ShareAway):
        return SHARE_AWAY
    if isinstance(exc, DiskFull):
        return DISK_FULL
    return None
