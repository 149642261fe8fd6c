"""What a daemon holds: each case or result under a token, from its claim to the acknowledged write that ends it."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from gridcompute.grid import cases
from gridcompute.grid.cases import Case
from gridcompute.machine.processes import Child


@dataclass
class Held:
    """A case that a daemon holds under `token`, and the child process that works on it in the folder `work`."""

    case: Case
    token: str
    work: Path
    started: float  # monotonic
    child: Child | None = None
    running_since: float | None = None  # monotonic moment at which the application's function began, or was resumed
    ending: str = ""  # why we end it: "time limit", "quit", "terminated", "lost"; empty while it may run
    outcome: dict[str, Any] | None = None  # what the child said of its work
    ended: dict[str, Any] | None = None  # how its processes ended, once that is confirmed
    settling: Future[str] | None = None
    settle_after: float = 0.0  # monotonic moment before which settling is not tried again

    def end(self, why: str, grace: float = 1.0) -> None:
        """End its processes; what that means is decided when their end is confirmed.

        The first reason counts, unless it is lost: then it ends at once.
        """
        if self.ending and why != "lost":
            return
        self.ending = why
        if self.child is not None and self.ended is None:
            self.child.end(0.0 if why == "lost" else grace)


OneHeld = TypeVar("OneHeld", bound=Held)


class Holdings(dict[str, OneHeld], Generic[OneHeld]):
    """All that a daemon holds, by token.

    `settle` makes the write that ends one; `work` runs it in another thread. It may be called again after any error:
    `put_off` takes the error and gives the monotonic moment at which it is tried again.
    """

    def __init__(
        self,
        settle: Callable[[OneHeld], str],
        work: Callable[..., Future[str]],
        put_off: Callable[[BaseException, float, str], float],
    ):
        super().__init__()
        self._settle, self._work, self._put_off = settle, work, put_off
        self._lost: queue.SimpleQueue[str] = queue.SimpleQueue()

    def add(self, one: OneHeld) -> None:
        self[one.token] = one

    def of(self, child: Child) -> OneHeld | None:
        """What `child` works on."""
        return next((one for one in self.values() if one.child is child), None)

    def lose(self, tokens: Iterable[str]) -> None:
        """Note that these tokens are no longer ours; may be called from any thread."""
        for token in tokens:
            self._lost.put(token)

    def drop_lost(self) -> list[OneHeld]:
        """End the work of what is no longer ours, and return it; nothing is written for it.

        What has ended by itself is left to its guarded write, which may have been what took the token away.
        """
        dropped = []
        while not self._lost.empty():
            one = self.get(self._lost.get())
            if one is not None and one.ended is None and one.ending != "lost":
                one.end("lost")
                dropped.append(one)
        return dropped

    def settle_ended(self, now: float) -> list[tuple[OneHeld, str]]:
        """Begin to settle what has ended; what is settled is held no more, and returned with what became of it."""
        settled = []
        for one in list(self.values()):
            if one.settling is not None and one.settling.done():
                outcome = self._hear_settled(one, now)
                if outcome is not None:
                    del self[one.token]
                    settled.append((one, outcome))
            elif one.ended is not None and one.settling is None and now >= one.settle_after:
                one.settling = self._work(self._settle, one)
        return settled

    def _hear_settled(self, one: OneHeld, now: float) -> str | None:
        """What became of it; None where that is not known yet: nothing finished is lost, it is tried again."""
        assert one.settling is not None
        future, one.settling = one.settling, None
        exc = future.exception()
        if exc is None:
            return future.result()
        one.settle_after = self._put_off(exc, now, f"Case {one.case.id} could not be settled")
        return None


class Claims:
    """Claims for one daemon: a claim whose reply was lost is asked about before the next one is sent (hard case 4)."""

    def __init__(self, find: Callable[[str], Case | None]):
        """`find` gives the case that a token holds."""
        self._find = find
        self._unanswered: str | None = None

    def send(self, claim: Callable[[str], Case | None]) -> tuple[Case, str] | None:
        """What `claim` gives under a fresh token, or what an earlier claim was given, with its token; None if nothing.

        After an error the claim may have been granted; the next call finds out.
        """
        if self._unanswered is not None:
            token, case = self._unanswered, self._find(self._unanswered)
            self._unanswered = None
            if case is not None:
                return case, token
        token = self._unanswered = cases.new_token()
        case = claim(token)
        self._unanswered = None
        return None if case is None else (case, token)
