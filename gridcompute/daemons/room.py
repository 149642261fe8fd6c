"""When a machine stops taking cases, so that one finds room that needs several of its processes, or all of it."""

from __future__ import annotations

from collections.abc import Callable, Collection

patience = 5.0
"""Seconds for which such a case waits before room is made for it."""

first_span = 60.0
"""Seconds for which room is made at first, and for which others are taken again where that was not enough."""

_look_interval = 2.0


class _Wait:
    """How long something has waited, by a look every other second."""

    def __init__(self) -> None:
        self._next_look = 0.0
        self._since: float | None = None

    def forget(self) -> None:
        self._since = None

    def seconds(self, waits: Callable[[], bool], now: float) -> float | None:
        """Seconds since `waits` was first true without a break; None where it is not."""
        if now >= self._next_look:
            self._next_look = now + _look_interval
            if not waits():
                self._since = None
            elif self._since is None:
                self._since = now
        return None if self._since is None else now - self._since


class Room:
    """Makes room in spans, each twice as long as the one before, and lets others run for as long in between.

    So a case that needs several processes gets them however long the small ones run, and the small ones of other
    applications are never shut out. Room is made only for the head of the queue: priority and age decide, as ever.
    """

    def __init__(self) -> None:
        self._wait = _Wait()

    def is_made(self, too_large: Collection[str], head: Callable[[], str | None], now: float) -> bool:
        """Whether nothing is to be claimed now.

        `too_large` are the applications whose cases do not fit beside what runs; `head` asks for the application of
        the first case in the queue. It is asked only where there are some, every other second.
        """
        if not too_large:
            self._wait.forget()
            return False
        waited = self._wait.seconds(lambda: head() in too_large, now)
        return waited is not None and _in_its_span(waited - patience)


class Solitude:
    """Empties the machine for a case that must run alone, once such a case has waited for `patience` seconds."""

    def __init__(self) -> None:
        self._wait = _Wait()

    def is_made(self, occupied: bool, waits: Callable[[], bool], now: float) -> bool:
        """Whether nothing is to be claimed now: the machine is `occupied`, and `waits` says that such a case waits.

        It is asked only where cases run, every other second.
        """
        if not occupied:
            self._wait.forget()
            return False
        waited = self._wait.seconds(waits, now)
        return waited is not None and waited > patience


def _in_its_span(waited: float) -> bool:
    """Whether `waited` seconds, counted from the begin of the first span, fall into a span and not between two."""
    span = first_span
    while waited >= 2 * span:
        waited -= 2 * span
        span *= 2
    return 0 <= waited < span
