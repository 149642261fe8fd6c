"""Rule 4: when a machine takes no more cases of an application for a while."""

from __future__ import annotations

from gridcompute import config


class Bench:
    """Rule 4: a machine on which cases of several people fail in a row is benched for that application."""

    def __init__(self) -> None:
        self._failed: dict[str, list[str]] = {}
        self._until: dict[str, float] = {}
        self._times: dict[str, int] = {}

    def succeeded(self, application: str) -> None:
        self._failed.pop(application, None)
        self._times.pop(application, None)

    def failed(self, application: str, user: str, now: float) -> float | None:
        """Count one failure; the seconds of the bench if it begins now."""
        users = self._failed.setdefault(application, [])
        users.append(user)
        if len(users) < config.bench_failures or len(set(users)) < 2:
            return None
        self._failed.pop(application)
        times = self._times[application] = self._times.get(application, 0) + 1
        seconds = min(config.bench_time * 2 ** (times - 1), 3600.0)
        self._until[application] = now + seconds
        return seconds

    def benched(self, application: str, now: float) -> bool:
        return now < self._until.get(application, 0.0)
