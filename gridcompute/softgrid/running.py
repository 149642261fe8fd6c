"""Which executor this code runs on: the one that executes it, else the one that was made in this process."""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING

from .errors import SoftgridError

if TYPE_CHECKING:
    from .Core.executor_base import ExecutorBase

_executing = threading.local()
_made: list[weakref.ref[ExecutorBase]] = []


def note_made(executor: ExecutorBase) -> None:
    _made[:] = [known for known in _made if known() is not None]
    _made.append(weakref.ref(executor))


class executing:
    """While this context lasts, code of this thread runs on `executor`."""

    def __init__(self, executor: ExecutorBase):
        self._executor = executor

    def __enter__(self) -> None:
        self._before = getattr(_executing, "executor", None)
        _executing.executor = self._executor

    def __exit__(self, *args: object) -> None:
        _executing.executor = self._before


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
