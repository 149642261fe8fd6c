"""Functions that wait for their turn: the smaller priority first, equals by arrival."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable


class Executions:
    """A queue served by one thread, and threads of their own for what must start at once."""

    def __init__(self) -> None:
        self._waiting: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._ready = threading.Semaphore(0)
        self._lock = threading.Lock()
        self._stopped = False
        self.running = 0
        self.beside = 0  # those of them that did not queue

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, priority: float | None, work: Callable[[], None]) -> None:
        """None starts at once, beside the queue."""
        if priority is None:
            with self._lock:
                self.beside += 1
            threading.Thread(target=self._run_beside, args=(work,), name="softgrid execution", daemon=True).start()
            return
        with self._lock:
            heapq.heappush(self._waiting, (priority, next(self._numbers), work))
        self._ready.release()

    def serve(self) -> None:
        """Runs what waits, in this thread, until `stop`."""
        while True:
            self._ready.acquire()
            if self._stopped:
                return
            with self._lock:
                work = heapq.heappop(self._waiting)[2]
            self._run(work)

    def stop(self) -> None:
        self._stopped = True
        self._ready.release()

    def _run_beside(self, work: Callable[[], None]) -> None:
        try:
            self._run(work)
        finally:
            with self._lock:
                self.beside -= 1

    def _run(self, work: Callable[[], None]) -> None:
        with self._lock:
            self.running += 1
        try:
            work()
        finally:
            with self._lock:
                self.running -= 1
