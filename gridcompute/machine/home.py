"""What belongs to this user on this computer: the folder, the lock, the preferences, the log.

Several processes of one user share the folder: the window or an agent, its daemons, and any number of commands.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import filelock
import platformdirs

from gridcompute.config import environment_home, log_path, pid_file, program_name
from gridcompute.errors import AlreadyRunning, UsageError

__all__ = ["Home", "HomeLock", "Preferences", "set_up_logging"]

log_limit_bytes = 2_000_000
log_files_kept = 5
lock_patience = 0.3
"""Seconds for which taking the lock is tried: somebody may just be looking whether it is held."""

owner_patience = 1.0
"""Seconds in which whoever has just taken the lock must have said who it is."""

log = logging.getLogger(__name__)


class Home:
    """The folder of one user's state; the constructor makes it, for this user alone.

    `path` comes before the variable GRIDCOMPUTE_HOME, which comes before the place that the system has for such data.
    Raises `UsageError` where the folder can't be made.
    """

    def __init__(self, path: str | Path | None = None):
        chosen = path or os.environ.get(environment_home)
        folder = Path(chosen) if chosen else platformdirs.user_data_path(program_name, appauthor=False)
        self.path = folder.expanduser().absolute()
        self.log_path = log_path(self.path)
        self.journal = self.path / "journal"
        """Folder in which a submission and a delivery are remembered until they are finished."""
        self.work = self.path / "work"
        """Folder of the cases that are being sent, processed or received."""
        self.output = self.path / "output"
        """Folder of what the applications printed."""
        self.softgrid = self.path / "softgrid"
        """Folder of the numbers of processes that work for a softgrid (`gridcompute.machine.lent`)."""
        self.preferences = Preferences(self.path / "preferences.json")
        self._make()

    def __repr__(self) -> str:
        return f"Home({str(self.path)!r})"

    def _make(self) -> None:
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (self.journal, self.work, self.output):
                folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as exc:
            raise UsageError(
                f"Cannot make {program_name}'s folder {self.path}: {exc.strerror or exc}. "
                f"Name another place by the variable {environment_home}."
            ) from exc

    @property
    def installation(self) -> str:
        """A random id of this folder, made once: it tells apart two computers that carry one machine name."""
        path = self.path / "installation"
        with contextlib.suppress(FileNotFoundError):
            return path.read_text("ascii").strip()
        with _file_lock(path.with_suffix(".lock")):
            if not path.exists():
                _write_whole(path, secrets.token_hex(16))
            return path.read_text("ascii").strip()

    def lock(self, role: str, machine: str) -> HomeLock:
        """The lock that the window or one agent holds; not taken yet: use it in `with`, or call its `acquire`."""
        return HomeLock(self.path, role, machine)

    def lock_owner(self) -> dict[str, Any] | None:
        """Who holds the lock now: ``{"pid", "role", "machine"}``, or None. Right also when the owner was killed."""
        deadline = time.monotonic() + owner_patience
        while True:
            with contextlib.suppress(filelock.Timeout), _file_lock(self.path / "lock", timeout=0):
                return None
            owner = _read_owner(self.path)
            if owner is not None:
                return owner
            if time.monotonic() > deadline:
                return {"pid": 0, "role": "program", "machine": ""}
            time.sleep(0.02)


class HomeLock:
    """The right to be this user's window or agent on this computer; it ends with the process, however that ends.

    As a context, or by `acquire` and `release`, which may be called by different threads.
    """

    def __init__(self, folder: Path, role: str, machine: str):
        self._folder = folder
        self._lock = _file_lock(folder / "lock", timeout=lock_patience)
        self.role = role
        self.machine = machine

    def acquire(self) -> HomeLock:
        """Take the lock; raises `AlreadyRunning` that says who holds it."""
        try:
            self._lock.acquire()
        except filelock.Timeout as exc:
            raise AlreadyRunning(self._who_runs()) from exc
        owner = {"pid": os.getpid(), "began": _began(os.getpid()), "role": self.role, "machine": self.machine}
        _write_whole(pid_file(self._folder), json.dumps(owner))
        return self

    def release(self) -> None:
        """Give the lock back; may be called twice."""
        if self._lock.is_locked:
            pid_file(self._folder).unlink(missing_ok=True)
            self._lock.release()

    def __enter__(self) -> HomeLock:
        return self.acquire()

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.release()

    def _who_runs(self) -> str:
        owner = _read_owner(self._folder) or {"pid": 0, "role": "program", "machine": ""}
        article = "an" if owner["role"][:1] in "aeiou" else "a"
        machine = f" for the machine {owner['machine']}" if owner["machine"] else ""
        process = f" (process {owner['pid']})" if owner["pid"] else ""
        return (
            f"{program_name} runs already for this user: {article} {owner['role']}{machine}{process}. Use or end that "
            f"one; to run a second one, give it a folder of its own by the variable {environment_home}."
        )


class Preferences:
    """What the user chose, a dictionary of JSON values in one file."""

    def __init__(self, path: Path):
        self.path = path

    def load(self) -> dict[str, Any]:
        """The preferences; empty where there are none or the file is damaged, which the log tells."""
        try:
            values = json.loads(self.path.read_text("utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as exc:
            log.warning("The preferences in %s can't be read and count as empty: %s", self.path, exc)
            return {}
        return values if isinstance(values, dict) else {}

    def save(self, values: dict[str, Any]) -> None:
        """Replace all preferences, whole or not at all."""
        with _file_lock(self.path.with_suffix(".lock")):
            self._write(values)

    def update(self, **changes: Any) -> dict[str, Any]:
        """Set some preferences, leave the others as another process may have set them, and return all."""
        with _file_lock(self.path.with_suffix(".lock")):
            values = {**self.load(), **changes}
            self._write(values)
        return values

    def _write(self, values: dict[str, Any]) -> None:
        _write_whole(self.path, json.dumps(values, indent=2, ensure_ascii=False))


def set_up_logging(home: Home, role: str, console: TextIO | None = None) -> None:
    """Write what this process logs to the user's one log file, and from INFO on, without ceremony, to `console`.

    `role` stands in each line: window, agent, process, receive, submit. Called again, it replaces its earlier work.
    """
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if getattr(handler, "is_gridcompute", False)]:
        root.removeHandler(handler)
        handler.close()
    to_file = SharedLogFile(home.log_path)
    to_file.setFormatter(_Lines(role))
    handlers: list[logging.Handler] = [to_file]
    if console is not None:
        handlers.append(logging.StreamHandler(console))
    for handler in handlers:
        handler.is_gridcompute = True  # type: ignore[attr-defined]
        handler.setLevel(logging.INFO)
        root.addHandler(handler)
    logging.getLogger("gridcompute").setLevel(logging.INFO)


class _Lines(logging.Formatter):
    """Local time with its zone, level, role and process, then the message: one file tells of all processes."""

    def __init__(self, role: str):
        super().__init__(f"%(asctime)s %(levelname)-7s {role}[%(process)d] %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return datetime.fromtimestamp(record.created).astimezone().isoformat(" ", "milliseconds")


class SharedLogFile(logging.Handler):
    """A log file that several processes write and any of them rotates; earlier ones are kept as .1, .2 and so on.

    Each record opens the file anew, appends one piece and closes it, so that nobody holds a file that another one
    wants to rename, which Windows forbids. A log that can't be written never disturbs the work; lost lines are counted.
    """

    def __init__(self, path: Path, limit_bytes: int = log_limit_bytes, kept: int = log_files_kept):
        super().__init__()
        self.path, self.limit_bytes, self.kept = path, limit_bytes, kept
        self._lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record) + "\n"
        except (TypeError, ValueError):
            self.handleError(record)
            return
        if self._lost:
            text = f"({self._lost} lines could not be written here)\n{text}"
        try:
            self._append(text.encode("utf-8", "backslashreplace"))
            self._lost = 0
        except OSError:
            self._lost += 1

    def _append(self, data: bytes) -> None:
        with self.path.open("ab", buffering=0) as file:
            file.write(data)  # one write in append mode: lines of several processes do not mix
            size = file.tell()
        if size > self.limit_bytes:
            self._rotate()

    def _rotate(self) -> None:
        with contextlib.suppress(OSError, filelock.Timeout), _file_lock(self.path.with_suffix(".lock"), timeout=1):
            if self.path.stat().st_size <= self.limit_bytes:
                return  # another process was first
            for number in range(self.kept - 1, 0, -1):
                with contextlib.suppress(FileNotFoundError):
                    self._earlier(number).replace(self._earlier(number + 1))
            self.path.replace(self._earlier(1))

    def _earlier(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")


def _file_lock(path: Path, timeout: float = 10.0) -> filelock.BaseFileLock:
    return filelock.FileLock(path, timeout=timeout, thread_local=False)


def _read_owner(folder: Path) -> dict[str, Any] | None:
    """What the lock's owner wrote about itself; None if that is missing or of a process that has ended."""
    try:
        owner = json.loads(pid_file(folder).read_text("utf-8"))
        if _began(owner["pid"]) != owner["began"]:
            return None
        return {"pid": owner["pid"], "role": owner["role"], "machine": owner["machine"]}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _began(pid: int) -> float | None:
    """The moment a process began, which tells it from a later one with its number; None if it runs no more."""
    import psutil

    try:
        return psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return None


def _write_whole(path: Path, text: str) -> None:
    """Write a text file whole or not at all; readers see the old one or the new one."""
    aside = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with aside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        _replace(aside, path)
    except OSError:
        with contextlib.suppress(OSError):
            aside.unlink()
        raise


def _replace(source: Path, target: Path) -> None:
    """Rename over `target`; Windows refuses while somebody reads it, which lasts a moment."""
    for _ in _attempts(50 if sys.platform == "win32" else 0):
        with contextlib.suppress(PermissionError):
            source.replace(target)
            return
    source.replace(target)


def _attempts(number: int) -> Iterator[int]:
    for attempt in range(number):
        yield attempt
        time.sleep(0.02)
