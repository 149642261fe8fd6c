"""When a lease that ran out is really lost: the observer of T7 and T9."""

from __future__ import annotations

from collections.abc import Iterable

from gridcompute.grid.cases import Observed


class ObservedLeases:
    """Decides when a lease that ran out is really lost: T7's observer.

    A lease is lost when one observer saw the same token and beat for `patience` seconds of its own monotonic clock,
    through an unbroken run of good reads. A failed read, or a pause between two reads longer than `gap` (this process
    was stopped, the computer slept), starts everybody's time anew.
    """

    def __init__(self, period: float):
        self.patience, self.gap = 2 * period, 2 * period
        self._since: dict[Observed, float] = {}
        self._last_read: float | None = None

    def broken(self) -> None:
        """A read failed: what was seen before counts no more."""
        self._since.clear()
        self._last_read = None

    def look(self, candidates: Iterable[Observed], now: float) -> list[Observed]:
        """Those of `candidates`, read just before the moment `now`, that are lost."""
        if self._last_read is not None and now - self._last_read > self.gap:
            self._since.clear()
        self._last_read = now
        self._since = {seen: self._since.get(seen, now) for seen in candidates}
        return [seen for seen, since in self._since.items() if now - since >= self.patience]
