"""The lending rules as the process daemon keeps them."""

from __future__ import annotations

from gridcompute import config
from gridcompute.machine.lending import Rules, why_not_take_now, why_rest_now


class Lending:
    """The lending rules as the daemon keeps them: looked at every other second."""

    def __init__(self, rules: Rules):
        self.rules = rules
        self.next_look = 0.0
        self.resting = ""
        """Why what runs is paused."""
        self.told = ""
        """Why nothing is taken; what runs may go on."""
        self._since: float | None = None

    def look(self, now: float) -> None:
        if now < self.next_look:
            return
        self.next_look = now + 2.0
        self.resting = why_rest_now(self.rules)
        self.told = self.resting or why_not_take_now(self.rules)
        if not self.resting:
            self._since = None
        elif self._since is None:
            self._since = now

    def too_long(self, now: float) -> bool:
        """Whether cases have rested so long that another machine should have them."""
        return self._since is not None and now - self._since > config.rest_limit
