"""Functions that wait for their turn: the smaller priority first, equals by arrival; promises hold the queue."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

ENDING_PAUSE = 0.05


class _Waiting(NamedTuple):
    priority: float
    number: int
    work: Callable[[], None]
    give_up: Callable[[str], None]


@dataclass
class Promise:
    """Keeps the queue for its owner: while it stands first, only what was sent to it runs."""

    password: str
    creator: str
    timeout: float  # seconds it may stand idle
    utctime: float = field(default_factory=time.time)
    waiting: list[_Waiting] = field(default_factory=list)
    is_running: bool = False
    idle_since: float = field(default_factory=time.monotonic)

    @property
    def expires(self) -> float | None:
        """When it ends, on the clock of this process; None while something of it waits or runs."""
        return None if self.waiting or self.is_running else self.idle_since + self.timeout


class Executions:
    """A queue served by one thread, and threads of their own for what must start at once."""

    def __init__(self) -> None:
        self._waiting: list[_Waiting] = []
        self._promises: dict[str, Promise] = {}  # in the order of their placing
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._stopped = False
        self._server: threading.Thread | None = None
        self.running = 0
        self.beside = 0  # those of them that did not queue

    def __len__(self) -> int:
        """Functions that wait, for a promise or not."""
        with self._changed:
            return len(self._waiting) + sum(len(promise.waiting) for promise in self._promises.values())

    @property
    def is_in_turn(self) -> bool:
        """Whether whoever asks is a function that holds the queue."""
        return threading.current_thread() is self._server

    @property
    def running_in_turn(self) -> int:
        return self.running - self.beside

    @property
    def load(self) -> int:
        """How much there is before another function could run."""
        return len(self) + self.running + self.number_of_promises

    def holds(self, promise: str) -> bool:
        """Whether a promise of that password stands."""
        return promise in self._promises

    @property
    def number_of_promises(self) -> int:
        return len(self._promises)

    def put(
        self,
        priority: float | None,
        work: Callable[[], None],
        promise: str | None = None,
        give_up: Callable[[str], None] = lambda reason: None,
    ) -> bool:
        """Whether it was taken: not where no promise of that password stands. None starts at once, beside the queue.

        `give_up` is called with the reason where the work waits for a promise that is taken away. Raises RuntimeError
        where this process can start no more threads.
        """
        with self._changed:
            kept = self._promises.get(promise) if promise is not None else None
            if promise is not None and kept is None:
                return False
            if priority is not None:
                queue = self._waiting if kept is None else kept.waiting
                heapq.heappush(queue, _Waiting(priority, next(self._numbers), work, give_up))
                self._changed.notify_all()
                return True
            self.beside += 1
        try:
            threading.Thread(target=self._run_beside, args=(work,), name="softgrid execution", daemon=True).start()
        except RuntimeError:
            with self._changed:
                self.beside -= 1
            raise
        return True

    def serve(self) -> None:
        """Runs what waits, in this thread, until `stop`."""
        self._server = threading.current_thread()
        while True:
            with self._changed:
                found = self._next()
                while found is None and not self._stopped:
                    self._changed.wait()
                    found = self._next()
                if self._stopped or found is None:
                    return
                work, promise = found
                if promise is not None:
                    promise.is_running = True
            try:
                self._run(work)
            finally:
                if promise is not None:
                    with self._changed:
                        promise.is_running = False
                        promise.idle_since = time.monotonic()
            del work, found

    def _next(self) -> tuple[Callable[[], None], Promise | None] | None:
        first = next(iter(self._promises.values()), None)
        queue = self._waiting if first is None else first.waiting
        return (heapq.heappop(queue).work, first) if queue else None

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    # --- promises ----------------------------------------------------------------------------------------

    def add_promise(self, promise: Promise, force: bool) -> bool:
        """Whether it was placed: not where its password is taken, nor without `force` where the queue is busy."""
        with self._changed:
            if not force and not self._waiting and not self._promises:
                # Whoever has just got an answer asks sooner than the function that gave it has returned.
                self._changed.wait_for(lambda: self.running_in_turn == 0, ENDING_PAUSE)
            busy = self._waiting or self._promises or self.running_in_turn > 0
            if promise.password in self._promises or (busy and not force):
                return False
            promise.idle_since = time.monotonic()
            self._promises[promise.password] = promise
            return True

    def remove_promise(self, password: str, force: bool, reason: str) -> tuple[bool, int]:
        """(whether it is gone, how many functions wait for it); without `force` only one nothing waits for goes."""
        with self._changed:
            promise = self._promises.get(password)
            if promise is None:
                return False, 0
            if promise.waiting and not force:
                return False, len(promise.waiting)
            del self._promises[password]
            given_up = list(promise.waiting)
            self._changed.notify_all()
        for item in given_up:
            item.give_up(reason)
        return True, 0

    def expire(self, now: float) -> list[Promise]:
        """Takes out the promises whose time is over."""
        with self._changed:
            over = [
                promise for promise in self._promises.values() if promise.expires is not None and promise.expires <= now
            ]
            for promise in over:
                del self._promises[promise.password]
            if over:
                self._changed.notify_all()
            return over

    # --- running -----------------------------------------------------------------------------------------

    def _run_beside(self, work: Callable[[], None]) -> None:
        try:
            self._run(work)
        finally:
            with self._changed:
                self.beside -= 1

    def _run(self, work: Callable[[], None]) -> None:
        with self._changed:
            self.running += 1
        try:
            work()
        finally:
            with self._changed:
                self.running -= 1
                self._changed.notify_all()
