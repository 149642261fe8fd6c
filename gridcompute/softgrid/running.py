"""Which executor this code runs on: the one that executes it, else the one that was made in this process.

A process that user code forks off shares all of an executor but its threads: it must neither speak for the executor nor
end it, so there every executor is taken out of its grid at once.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
import weakref
from typing import TYPE_CHECKING, NoReturn

from .errors import SoftgridError

if TYPE_CHECKING:
    from .Core.executor_base import ExecutorBase

_executing = threading.local()
_made: list[weakref.ref[ExecutorBase]] = []


def note_made(executor: ExecutorBase) -> None:
    _made[:] = [known for known in _made if known() is not None]
    _made.append(weakref.ref(executor))


def _before_fork() -> None:
    """What ends the new process at once would be lost on an executor's handler, which Python drops there."""
    _executing.mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def _after_fork() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _executing.mask)


def _in_fork() -> None:
    try:
        for known in _made:
            executor = known()
            if executor is not None:
                executor._abandon()
    finally:
        _after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_fork)


class executing:
    """While this context lasts, code of this thread runs on `executor`; a process forked meanwhile ends with it."""

    def __init__(self, executor: ExecutorBase):
        self._executor = executor
        self._process = os.getpid()

    def __enter__(self) -> None:
        self._before = getattr(_executing, "executor", None)
        _executing.executor = self._executor

    def __exit__(self, kind: object, raised: BaseException | None, trace: object) -> None:
        _executing.executor = self._before
        if os.getpid() != self._process:
            _end_fork(raised)


def _end_fork(raised: BaseException | None) -> NoReturn:
    """Ends a forked process as Python ends one: the answer is given by the process it was forked from."""
    code = 0
    try:
        if isinstance(raised, SystemExit):
            code = raised.code if isinstance(raised.code, int) else int(raised.code is not None)
        elif raised is not None:
            code = 1
            traceback.print_exception(raised)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    finally:
        os._exit(code & 0xFF)


def current() -> ExecutorBase:
    """Raises SoftgridError where no executor runs in this process."""
    found: ExecutorBase | None = getattr(_executing, "executor", None)
    if found is not None:
        return found
    for known in reversed(_made):
        executor = known()
        if executor is not None and not executor.isDisconnected:
            return executor
    raise SoftgridError("No executor runs in this process; make an Orchestrator first, or run this on a worker.")
