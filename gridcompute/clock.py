"""Passing time, in one place so that a test can replace it.

Only differences of `monotonic` are ever used for leases and pauses; `utcnow` serves the log and file names alone, since
a PC's clock is never compared with another's.
"""

from __future__ import annotations

import random
import time
from datetime import datetime, timezone

monotonic = time.monotonic


def utcnow() -> datetime:
    """The PC's own idea of the moment, aware, in UTC: for logs, never for decisions about cases."""
    return datetime.now(timezone.utc)


class Backoff:
    """Pauses that grow by half from `first` to `limit` seconds with jitter, and start again after `reset`."""

    def __init__(self, first: float, limit: float, *, factor: float = 1.5, jitter: float = 0.2):
        self.first, self.limit, self.factor, self.jitter = first, limit, factor, jitter
        self._pause = first

    def next(self) -> float:
        """The next pause in seconds."""
        pause, self._pause = self._pause, min(self._pause * self.factor, self.limit)
        return pause * random.uniform(1 - self.jitter, 1 + self.jitter)

    def reset(self) -> None:
        """Start again with the first pause: what was waited for came."""
        self._pause = self.first


def rest(seconds: float) -> None:
    """Wait in a place where nothing can wake the caller: between two tries of one short call."""
    time.sleep(seconds)
