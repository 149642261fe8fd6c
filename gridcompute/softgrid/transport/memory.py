"""The memory that large messages arrive in, kept for the next one."""

from __future__ import annotations

import mmap
import sys
import threading
import time

_MAP_FROM = 1024 * 1024


class Memory:
    """Writable memory for what arrives. Large pieces are mapped, and taken again once nobody holds them.

    The first touch of fresh memory costs as much as decrypting what goes there; a grid that passes arrays to and fro
    pays it once. What nobody took for some seconds goes back to the system.
    """

    KEPT = 512 * 1024 * 1024
    SECONDS = 5.0

    def __init__(self) -> None:
        self._maps: list[tuple[mmap.mmap, float]] = []
        self._lock = threading.Lock()

    def take(self, length: int) -> memoryview:
        if length < _MAP_FROM:
            return memoryview(bytearray(length))
        with self._lock:
            for index, (known, _) in enumerate(self._maps):
                # Every view of a map holds a reference to it; one more than when idle is somebody who still reads.
                if length <= len(known) <= 2 * length and sys.getrefcount(known) <= _IDLE_REFERENCES:
                    self._maps[index] = (known, time.monotonic())
                    return memoryview(known)[:length]
            fresh = mmap.mmap(-1, length)
            if sum(len(known) for known, _ in self._maps) + length <= self.KEPT:
                self._maps.append((fresh, time.monotonic()))
        return memoryview(fresh)[:length]

    def expire(self, now: float) -> None:
        """Forgets what has not been taken for a while; whoever still reads it keeps it alive."""
        if self._maps:
            with self._lock:
                self._maps = [item for item in self._maps if now - item[1] < self.SECONDS]


def _references_when_idle() -> int:
    """What `sys.getrefcount` says in `take` of a map that only its list holds; it differs between Pythons."""
    maps = [(mmap.mmap(-1, mmap.PAGESIZE), 0.0)]
    for _, (known, _) in enumerate(maps):
        return sys.getrefcount(known)
    raise AssertionError


_IDLE_REFERENCES = _references_when_idle()
memory = Memory()
