"""What is remembered of one result on the disk of its receiver: that receive.py has begun, that it is done.

One small file a case, in the journal, locked by the process that works on the case; that lock ends with the process,
however it ends. Each line is on the disk before the next step is taken. It is the protocol's answer to hard case 6:
begun and not done is run again, done is only reported again.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

_DONE = b"done\n"


class Busy(Exception):
    """Another process works on this case."""


class Marks:
    """The marks of one case in the file `path`; with `with` it is held by this process. Raises `Busy` at once there."""

    def __init__(self, path: Path):
        self.path = path
        self._stack = contextlib.ExitStack()
        self._held: BinaryIO | None = None

    @property
    def done(self) -> bool:
        """Whether receive.py ran to its end."""
        if self._held is not None:  # what was locked, though it be forgotten meanwhile by another process
            self._held.seek(0)
            return self._held.read().endswith(_DONE)
        try:
            return self.path.read_bytes().endswith(_DONE)
        except FileNotFoundError:
            return False

    def __enter__(self) -> Marks:
        self._held = self._stack.enter_context(locked(self.path, wait=False))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held = None
        self._stack.close()

    def begin(self) -> None:
        """Remember that receive.py is about to begin."""
        self._write(b"begun\n")
        self._flush_folder()  # the file may be new

    def finish(self) -> None:
        """Remember that receive.py is done."""
        self._write(_DONE)

    def forget(self) -> None:
        """The database knows: nothing of this case needs to be remembered."""
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)

    def _write(self, line: bytes) -> None:
        assert self._held is not None
        self._held.write(line)
        os.fsync(self._held.fileno())

    def _flush_folder(self) -> None:
        if os.name == "posix":
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


@contextlib.contextmanager
def locked(path: Path, *, wait: bool) -> Iterator[BinaryIO]:
    """Hold the system's lock on the file `path`, made if need be, which ends with this process; the file, to append.

    Raises `Busy` where another process holds it, unless told to wait. filelock is not used: it imports asyncio.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b", buffering=0) as file:
        while not _try_lock(file.fileno(), wait=wait):
            if not wait:
                raise Busy
            time.sleep(0.1)
        yield file


if sys.platform == "win32":
    import msvcrt

    _BEYOND = 1 << 30
    """The byte that is locked: Windows keeps others from reading what is locked, and the marks are to be read."""

    def _try_lock(descriptor: int, *, wait: bool) -> bool:
        os.lseek(descriptor, _BEYOND, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_lock(descriptor: int, *, wait: bool) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        return True
