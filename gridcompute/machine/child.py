"""What the process of a case does around its work: it makes itself a sane Python, reports, and ends.

Both ways of having such a process come here, the forked one (`forking`) and the fresh interpreter (`main`, the end of
a hidden command). Nothing heavy is imported: this stands between a case and its first byte.
"""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import importlib
import os
import random
import signal
import sys
import threading
import time
import traceback
import types
from collections.abc import Callable
from typing import Any

import gridcompute
from gridcompute.machine.packets import SWEEP, Assembler, packets, pipe_limit

progress_interval = 0.2
"""Seconds between two reports of progress; of those that come faster the last one is sent."""

sweep_grace = 0.3
"""Seconds between asking and forcing the processes that an application left behind."""

nice = 10
"""What is added to the priority number of a case, so that a busy machine still sends its heartbeats."""

internal_error = 70
"""Exit code of a process of ours that met a mistake of ours (EX_SOFTWARE)."""

_text_limit = 100

Message = dict[str, Any]
Entry = Callable[[Message, "Report"], None]


class Report:
    """Carries messages from the process of a case to its owner.

    `send` takes one packet. Only the process that made the object tells an outcome: a child that the application
    forked and that comes back through our code must not speak for the case. Progress may come from any of them.
    """

    def __init__(self, send: Callable[[bytes], object], sweep: Callable[[], None], limit: int):
        self._send, self._sweep, self._limit = send, sweep, limit
        self._pid = os.getpid()
        self._progress = _LatestOnly(self._tell_progress, progress_interval)

    def __call__(self, message: Message) -> None:
        """Send `message`, after the progress that waits."""
        if os.getpid() != self._pid:
            os._exit(0)
        self._progress.flush()
        for packet in packets(message, self._limit):
            self._send(packet)

    def progress(self, fraction: float, text: str = "") -> None:
        """What `gridcompute.progress` does inside a case."""
        fraction = min(max(float(fraction), 0.0), 1.0)
        self._progress.put({"kind": "progress", "fraction": fraction, "text": str(text)[:_text_limit]})

    def sweep(self) -> None:
        """End the application, whose function has returned: the processes it left behind, then its exit handlers.

        Returns when they are gone; from then on nothing changes its files.
        """
        self._sweep()
        run_exit_handlers()

    def _tell_progress(self, message: Message) -> None:
        (packet, *more) = packets(message, self._limit)
        if not more:
            with contextlib.suppress(OSError):
                self._send(packet)


class _LatestOnly:
    """Hands values on at most once an interval; of several within one it hands on the last, when it is over."""

    def __init__(self, hand_on: Callable[[Message], None], interval: float):
        self._hand_on, self._interval = hand_on, interval
        self._forget()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        # Also after a fork: the lock may have been held, and the timer's thread is not there.
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._waiting: Message | None = None
        self._last = float("-inf")

    def put(self, value: Message) -> None:
        with self._lock:
            self._waiting = value
            pause = self._last + self._interval - time.monotonic()
            if pause <= 0:
                self._pass_on()
            elif self._timer is None:
                self._timer = threading.Timer(pause, self.flush)
                self._timer.daemon = True
                self._timer.start()

    def flush(self) -> None:
        with self._lock:
            self._pass_on()

    def _pass_on(self) -> None:
        self._timer = None
        if self._waiting is not None:
            value, self._waiting = self._waiting, None
            self._last = time.monotonic()
            self._hand_on(value)


def find_entry(entry: str) -> Entry:
    """The function that ``module:function`` names."""
    module, _, function = entry.partition(":")
    return getattr(importlib.import_module(module), function)


def run_job(entry: Entry, job: Message, report: Report) -> int:
    """Do `job` and return the exit code; a mistake of ours becomes an outcome, not a silent end."""
    if job.get("case"):
        os.environ["GRIDCOMPUTE_CASE"] = str(job["case"])
        os.environ["GRIDCOMPUTE_PROCESSES"] = str(job.get("processes", 1))
    gridcompute._report_progress = report.progress
    try:
        entry(job, report)
    except BaseException as error:  # noqa: BLE001 - the last frame of the process: nobody above would tell anyone
        message = f"The process of the case failed by a mistake of GridCompute: {type(error).__name__}: {error}"
        report({"kind": "outcome", "outcome": "internal", "message": message, "traceback": traceback.format_exc()})
        return internal_error
    return 0


def run_exit_handlers() -> None:
    """Run what the application left to `atexit`, as at the end of a script; a failure is printed, not raised."""
    with contextlib.suppress(Exception):
        atexit._run_exitfuncs()


def leave(code: int) -> None:
    """End this process at once, after the handlers and what is still to be written.

    The interpreter's own end is spared: it takes longer than the start, and threads left behind could hold it up.
    """
    run_exit_handlers()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(code)


def become_ordinary() -> None:
    """Make this process what a script would find: default signals, fresh random numbers, no trace of our own start."""
    forget_the_start()
    begin_afresh()


def begin_afresh() -> None:
    """The half of `become_ordinary` that a fork would undo: the signals that a process hears, its random numbers."""
    _default_signals()
    random.seed()


def forget_the_start() -> None:
    """The other half, which forked processes keep; it costs each of them half a millisecond less."""
    main = types.ModuleType("__main__")  # multiprocessing would import ours again in each process of a pool
    sys.modules["__main__"] = main
    sys.argv = [""]
    sys.dont_write_bytecode = True  # plugins lie on the share, which may be read-only
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    _fresh_streams()
    with contextlib.suppress(Exception):
        faulthandler.enable()


def lower_priority() -> None:
    """Below normal priority, and the first to go when memory runs out: the case, not its daemon."""
    if hasattr(os, "nice"):  # on Windows the starter says so
        with contextlib.suppress(OSError):
            os.nice(nice)
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            descriptor = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
            os.write(descriptor, b"500")
            os.close(descriptor)


def _default_signals() -> None:
    signal.set_wakeup_fd(-1)
    for name in ("SIGTERM", "SIGHUP", "SIGCHLD", "SIGUSR1", "SIGUSR2"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _fresh_streams() -> None:
    # Made anew from the descriptors: a windowed executable has none, others may have another encoding.
    sys.stdin = sys.__stdin__ = _stream(0, "r", "replace")  # type: ignore[misc]
    sys.stdout = sys.__stdout__ = _stream(1, "w", "replace")  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = _stream(2, "w", "backslashreplace")  # type: ignore[misc]


def _stream(descriptor: int, mode: str, errors: str) -> Any:
    return open(descriptor, mode, buffering=1, encoding="utf-8", errors=errors, closefd=False)


def main(entry: str) -> None:
    """The life of a fresh interpreter: import, say that it is ready, take one job from standard input, do it, end.

    Messages go out by what was standard output; what the application prints, to either stream, goes to what was
    standard error. Where the owner's end closes before a job came, there is nothing to do.
    """
    jobs, messages = os.dup(0), os.dup(1)
    _redirect_streams()
    if hasattr(os, "setsid"):
        with contextlib.suppress(OSError):
            os.setsid()
    lower_priority()
    function = find_entry(entry)
    lines = os.fdopen(jobs, "rb")

    def send(packet: bytes) -> None:
        os.write(messages, packet + b"\n")

    def sweep() -> None:
        send(SWEEP)
        lines.readline()

    report = Report(send, sweep, pipe_limit)
    report({"kind": "ready"})
    job = _first_message(lines)
    if job is None:
        os._exit(0)
    become_ordinary()
    leave(run_job(function, job, report))


def _redirect_streams() -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    if sys.platform == "win32":
        from gridcompute.machine import windows

        windows.set_standard_handles()


def _first_message(lines: Any) -> Message | None:
    assembler = Assembler()
    while line := lines.readline():
        message = assembler.feed(line.rstrip(b"\r\n"))
        if message is not None:
            return message
    return None
