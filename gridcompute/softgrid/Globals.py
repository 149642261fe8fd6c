"""What holds for a whole process: the rules that a grid starts with, the logger, and whether somebody types here."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any, ClassVar

maxint = 9223372036854775807


def _is_interactive() -> bool:
    """A Python prompt (ruling 4), not a script in a terminal."""
    if hasattr(sys, "ps1") or bool(sys.flags.interactive):
        return True
    return "IPython" in sys.modules and getattr(sys.modules["IPython"], "get_ipython", lambda: None)() is not None


INTERACTIVE_MODE: bool = _is_interactive()
"""Whether this process is a prompt; a user may set it."""

DEFAULT_RULES: dict[str, Any] = {
    "overload_machine_rules": {},
    "machine_maximum_number_of_managers": 1,
    "machine_maximum_number_of_routers": None,
    "machine_maximum_number_of_workers": -1,
    "execution_allow_negative_priority": True,
    "execution_allow_none_priority": True,
    "task_maximum_number_of_reruns": 0,
    "router_allow_executing_udf": False,
    "manager_allow_executing_udf": False,
    "log_manager_kwargs": {"logToFile": False, "logToStdout": True, "stdoutMaxLevel": None},
    "log_orchestrator_kwargs": {"logToFile": False, "logToStdout": True, "stdoutMaxLevel": None},
    "log_router_kwargs": {"logToFile": False, "logToStdout": True, "stdoutMaxLevel": None},
    "log_worker_kwargs": {"logToFile": False, "logToStdout": True, "stdoutMaxLevel": None},
    "orchestrator_allow_managers": True,
    "orchestrator_allow_workers": True,
    "timeout_long": 20,
    "timeout_long_multiplier": 3,
    "timeout_short": 5,
    "timeout_short_multiplier": 3,
    "transfer_collect_sleep_time": 0.001,
    "transport_implementation": "multiprocessing",
}

RULES: dict[str, Any] = {key: dict(value) if isinstance(value, dict) else value for key, value in DEFAULT_RULES.items()}
"""The rules that an Orchestrator starts with; change them before you make it."""

LOG_LEVELS: dict[str, int] = {
    "debug": 0,
    "execution_started": 5,
    "execution_finished": 5,
    "info": 10,
    "result": 10,
    "warn": 20,
    "error": 30,
    "critical": 100,
}
"""The log types that are always there, the more pressing the higher."""


class Logger:
    """Writes log lines to the console and to a file: one instance in a process, the same on all machines.

    `logTypes` gives for a type any of `stdoutFlag`, `fileFlag` and `level`; other types may be added by it.
    `stdoutMinLevel`, `stdoutMaxLevel`, `fileMinLevel` and `fileMaxLevel` of None do not limit. The file is called
    `logFileBasename` with `logFileExtension` and stands in the current folder unless the name says otherwise.
    May be called from every thread.
    """

    _instance: ClassVar[Logger | None] = None

    def __new__(cls, *args: Any, **kwargs: Any) -> Logger:
        if Logger._instance is None:
            Logger._instance = super().__new__(cls)
        return Logger._instance

    def __init__(self, *args: Any, **kwargs: Any):
        """With arguments sets the logger up anew; without, it stays as it is once it was set up."""
        if args or kwargs or not hasattr(self, "_lock"):
            self._set_up(*args, **kwargs)

    def _set_up(
        self,
        name: str = "softgrid",
        logToStdout: bool = True,
        logToFile: bool = False,
        logFileBasename: str = "softgrid",
        logFileExtension: str = "log",
        stdoutMinLevel: float | None = None,
        stdoutMaxLevel: float | None = None,
        fileMinLevel: float | None = None,
        fileMaxLevel: float | None = None,
        logTypes: dict[str, dict[str, Any]] | None = None,
        flush: bool = True,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        if not hasattr(self, "_lock"):
            self._lock = threading.RLock()
            self._types: dict[str, dict[str, Any]] = {
                kind: {"stdoutFlag": True, "fileFlag": True, "level": level} for kind, level in LOG_LEVELS.items()
            }
            # They come with every call; whoever wants them on the console says so by `logTypes`.
            for quiet in ("execution_started", "execution_finished"):
                self._types[quiet]["stdoutFlag"] = False
        self.name = name
        self.logToStdout = logToStdout
        self.logToFile = logToFile
        self.logFileName = f"{logFileBasename}.{logFileExtension}"
        self.stdoutLimits = (stdoutMinLevel, stdoutMaxLevel)
        self.fileLimits = (fileMinLevel, fileMaxLevel)
        self.flush = flush
        self.console: Any = None  # None is sys.stdout of the moment
        for log_type, settings in (logTypes or {}).items():
            known = self._types.setdefault(log_type, {"stdoutFlag": True, "fileFlag": True, "level": 10})
            known.update(settings)
        self.custom_init(*args, **kwargs)

    def custom_init(self, *args: Any, **kwargs: Any) -> None:
        """Called at the end of the initialization with the arguments it does not know; overload it."""

    def is_wanted(self, logType: str) -> bool:
        """Whether a line of this type would be written anywhere."""
        return self._to_stdout(logType) or self._to_file(logType)

    def softgrid_log(
        self,
        logType: str,
        message: str,
        gridUniqueName: str = "role:name@address",
        utcTime: float | None = None,
        data: Any = None,
        tback: Any = None,
    ) -> None:
        """Writes one line, with `data` and the traceback, if any, below it. Never raises for a full or closed file."""
        if not self.is_wanted(logType):
            return
        moment = time.time() if utcTime is None else utcTime
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))
        lines = [f"{stamp} - {gridUniqueName} - {logType} - {message}"]
        if data is not None:
            lines.append(f"    {data}")
        if tback is not None:
            lines.extend(f"    {line}" for line in traceback_text(tback).rstrip().splitlines())
        text = "\n".join(lines) + "\n"
        with self._lock, contextlib.suppress(OSError, ValueError):
            if self._to_stdout(logType):
                console = sys.stdout if self.console is None else self.console
                if console is not None:
                    console.write(text)
                    if self.flush:
                        console.flush()
            if self._to_file(logType):
                with Path(self.logFileName).open("a", encoding="utf-8") as file:
                    file.write(text)

    def _to_stdout(self, log_type: str) -> bool:
        known = self._types.get(log_type, {})
        return bool(self.logToStdout and known.get("stdoutFlag", True) and self._within(known, self.stdoutLimits))

    def _to_file(self, log_type: str) -> bool:
        known = self._types.get(log_type, {})
        return bool(self.logToFile and known.get("fileFlag", True) and self._within(known, self.fileLimits))

    @staticmethod
    def _within(known: dict[str, Any], limits: tuple[float | None, float | None]) -> bool:
        level = known.get("level", 10)
        return (limits[0] is None or level >= limits[0]) and (limits[1] is None or level <= limits[1])


def traceback_text(tback: Any) -> str:
    """Text of a traceback: of `traceback.extract_stack()`, of lines, or text already."""
    if isinstance(tback, str):
        return tback
    if isinstance(tback, traceback.StackSummary):
        return "".join(tback.format())
    return "".join(map(str, tback)) if isinstance(tback, (list, tuple)) else str(tback)


def default_rules() -> dict[str, Any]:
    """A copy of RULES with what a user may have removed."""
    rules = {**DEFAULT_RULES, **RULES}
    return {key: dict(value) if isinstance(value, dict) else value for key, value in rules.items()}
