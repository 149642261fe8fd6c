"""The thread that reads and writes all connections of an executor, and what it calls beside."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import selectors
import socket
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from .memory import memory

ACK_PAUSE = 0.05
"""Seconds that an acknowledgement may wait for something to go along with."""


class Debtor(Protocol):
    """What owes an acknowledgement; called on the loop's thread until it takes itself from `Loop.owing`."""

    def pay(self, now: float) -> None: ...


class Loop:
    """The one thread that waits for all sockets of an executor."""

    def __init__(self, name: str):
        self.owing: set[Debtor] = set()
        self.interval = 0.5
        self._selector = selectors.DefaultSelector()
        self._calls: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._bell_in, self._bell_out = socket.socketpair()
        self._bell_in.setblocking(False)
        self._bell_out.setblocking(False)
        self._selector.register(self._bell_in, selectors.EVENT_READ, None)
        self._later: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._later_lock = threading.Lock()
        self._numbers = itertools.count()
        self._stopping = False
        self._ticks: list[Callable[[float], None]] = []
        self._asleep = False
        self.complain: Callable[[str], Any] = sys.stderr.write
        self.failed: Callable[[str], Any] = sys.stderr.write  # told once that this loop can serve no more
        self._thread = threading.Thread(target=self._run, name=f"softgrid {name}", daemon=True)
        self._thread.start()

    def is_current(self) -> bool:
        return threading.current_thread() is self._thread

    def on_tick(self, tick: Callable[[float], None]) -> None:
        self._ticks.append(tick)

    def call_soon(self, function: Callable[..., None], *args: Any) -> None:
        """Runs a function on the loop's thread, in order."""
        self._calls.append((function, args))
        if self._asleep and not self.is_current():
            with contextlib.suppress(OSError):
                self._bell_out.send(b"!")

    def call_later(self, pause: float, function: Callable[..., None], *args: Any) -> None:
        """Runs a function on the loop's thread after `pause` seconds or soon after."""
        with self._later_lock:
            heapq.heappush(self._later, (time.monotonic() + pause, next(self._numbers), function, args))
        self.call_soon(_nothing)

    def watch(self, sock: socket.socket, events: int, target: Any) -> None:
        """On the loop's thread."""
        with contextlib.suppress(ValueError, OSError):
            known = sock in self._selector.get_map()
            if not events:
                if known:
                    self._selector.unregister(sock)
            elif known:
                self._selector.modify(sock, events, target)
            else:
                self._selector.register(sock, events, target)

    def forget(self, sock: socket.socket) -> None:
        """Closes a socket, on the loop's thread or not."""
        if self.is_current():
            self._close(sock)
        else:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            self.call_soon(self._close, sock)

    def _close(self, sock: socket.socket) -> None:
        with contextlib.suppress(KeyError, ValueError, OSError):
            self._selector.unregister(sock)
        with contextlib.suppress(OSError):
            sock.close()

    def stop(self) -> None:
        """Ends the thread and closes every socket that it watched; may be called twice."""
        self._stopping = True
        with contextlib.suppress(OSError):
            self._bell_out.send(b"!")
        if not self.is_current():
            self._thread.join(5.0)

    def abandon(self) -> None:
        """In a forked process, which lacks the thread. What the selector watches is shared, so that stays as it is."""
        self._stopping = True
        self._calls.clear()
        self._selector.close()
        self._bell_in.close()
        self._bell_out.close()

    def _run(self) -> None:
        failure = None
        next_tick = 0.0
        try:
            while not self._stopping:
                now = time.monotonic()
                if now >= next_tick:
                    next_tick = now + self.interval
                    memory.expire(now)
                    for tick in self._ticks:
                        self.guarded(tick, now)
                self._asleep = True
                due = self._later[0][0] if self._later else next_tick
                wait = 0.0 if self._calls else max(0.0, min(next_tick, due) - now)
                ready = self._selector.select(min(wait, ACK_PAUSE / 2) if self.owing else wait)
                self._asleep = False
                for key, events in ready:
                    if key.data is None:
                        with contextlib.suppress(OSError):
                            self._bell_in.recv(4096)
                        continue
                    if events & selectors.EVENT_READ:
                        self.guarded(key.data.readable)
                    if events & selectors.EVENT_WRITE:
                        self.guarded(key.data.writable)
                for _ in range(len(self._calls)):
                    function, args = self._calls.popleft()
                    self.guarded(function, *args)
                while self._later and self._later[0][0] <= time.monotonic():
                    with self._later_lock:
                        _, _, function, args = heapq.heappop(self._later)
                    self.guarded(function, *args)
                if self.owing:
                    now = time.monotonic()
                    for debtor in list(self.owing):
                        self.guarded(debtor.pay, now)
        except OSError as exc:  # somebody closed descriptors of the process that were not his
            failure = f"{type(exc).__name__}: {exc}"
        finally:
            for key in list(self._selector.get_map().values()):
                self._close(key.fileobj)  # type: ignore[arg-type]
            with contextlib.suppress(OSError):
                self._selector.close()
                self._bell_in.close()
                self._bell_out.close()
        if failure is not None and not self._stopping:
            self.failed(failure)

    def guarded(self, function: Callable[..., None], *args: Any) -> None:
        """A mistake in one message's handling must not end the thread that serves all, nor cost the next message."""
        try:
            function(*args)
        except Exception:  # noqa: BLE001
            with contextlib.suppress(Exception):
                self.complain(traceback.format_exc())


def _nothing() -> None:
    """Wakes the loop."""
