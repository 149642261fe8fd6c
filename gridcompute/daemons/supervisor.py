"""A daemon's process as the program sees it that started it: events, commands, its end, a new start."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from typing import Any

from gridcompute import clock, config, events
from gridcompute.daemons.loop import Orders

log = logging.getLogger(__name__)


@contextlib.contextmanager
def _without_interrupt() -> Iterator[None]:
    """What is started meanwhile hears no Ctrl+C, which would end it with a traceback while it still imports.

    This process hears it at the end: the start of a child is not to be cut off in the middle.
    """
    heard: list[tuple[Any, ...]] = []
    handler = signal.getsignal(signal.SIGINT)
    deferred = callable(handler) and threading.current_thread() is threading.main_thread()
    if deferred:
        signal.signal(signal.SIGINT, lambda *arguments: heard.append(arguments))
    before: set[Any] = set()
    if hasattr(signal, "pthread_sigmask"):
        resource_tracker.ensure_running()  # its start, which spawn would do, lets the signal through again
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if deferred:
            signal.signal(signal.SIGINT, handler)
    if heard and callable(handler):
        handler(*heard[0])


class DaemonProcess:
    """One daemon's process and the pipe to it; started again by itself if it ends unasked."""

    def __init__(
        self,
        name: str,
        target: Callable[[Orders, Connection], None],
        *,
        orders: Callable[[], Orders],
        hear: Callable[[events.Event], None],
        stopping: threading.Event,
    ):
        """`orders` tells what a process that starts now is told, `hear` takes its events, in another thread.

        Nothing is started again once `stopping` is set.
        """
        self.name, self._target, self._orders, self._hear = name, target, orders, hear
        self._exit = stopping
        self._lock = threading.Lock()
        self._stopping = False
        self._pauses = clock.Backoff(0.5, 30.0)
        self._process: Any = None
        self._gone = threading.Event()  # one thread alone waits for a process: of two, one would miss its end
        self._connection: Connection | None = None

    def start(self) -> None:
        """Start the process, unless it was asked to stop already. Raises OSError where the system starts none."""
        context = multiprocessing.get_context("spawn")
        with self._lock:
            if self._stopping:
                return
            ours, theirs = context.Pipe()
            process = context.Process(
                target=self._target, args=(self._orders(), theirs), name=f"{config.program_name} {self.name}"
            )
            with _without_interrupt():
                process.start()
            theirs.close()
            self._process, self._connection = process, ours
            self._gone.clear()
        threading.Thread(target=self._listen, args=(process, ours), name=f"{self.name}-events", daemon=True).start()

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    @property
    def alive(self) -> bool:
        return self._process is not None and not self._gone.is_set()

    def send(self, *command: Any) -> None:
        """Tell the daemon; one that is gone is started again with the present orders."""
        with self._lock, contextlib.suppress(OSError, ValueError):
            if self._connection is not None:
                self._connection.send(command)

    def _listen(self, process: Any, connection: Connection) -> None:
        """Thread: the daemon's events go to the queue of the face."""
        while True:
            try:
                event = connection.recv()
            except (EOFError, OSError):
                break
            self._hear(event)
        process.join()
        self._gone.set()
        self._hear(events.daemon_ended(self.name, self._stopping))
        if self._stopping:
            return
        log.error("The %s daemon ended unasked (exit code %s); it is started again.", self.name, process.exitcode)
        self._start_again()

    def _start_again(self) -> None:
        """Start it after a pause; a computer that can start no process now may do so later."""
        while True:
            self._exit.wait(self._pauses.next())
            try:
                self.start()
                return
            except OSError as exc:
                self._hear(
                    events.warning(
                        f"Cannot start the {self.name} daemon: {exc}. It is tried again; end some programs if this "
                        "computer is short of memory."
                    )
                )

    def ask_to_stop(self) -> None:
        self._stopping = True
        self.send("stop")

    def wait(self, seconds: float) -> None:
        """Wait for the end that was asked for; force it after `seconds`."""
        process = self._process
        if process is None:
            return
        if not self._gone.wait(seconds):  # a hanging database or share holds it; its cases end with it
            log.error("The %s daemon did not end in time; it is ended by force.", self.name)
            process.kill()
            self._gone.wait(5.0)
