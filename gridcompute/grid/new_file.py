"""Large files written once, front to back, with their SHA-256 made on the way."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import BinaryIO

from gridcompute.grid.trouble import is_not_supported

CHUNK_BYTES = 1 << 20
"""Bytes that are read and written at a time."""

BACKGROUND_BYTES = 4 * CHUNK_BYTES
"""From this size on the hash is made in a thread of its own, while the next bytes are read and written."""

_CHUNKS_AHEAD = 2  # that wait for the hash; `chunks` has one buffer more, which is read into
_GATHERED_BYTES = CHUNK_BYTES // 4


def chunks(file: BinaryIO, size: int) -> Iterator[memoryview]:
    """The rest of `file`, unbuffered, which should have `size` bytes, in pieces for `NewFile.write`.

    Reads one byte more than `size` if there is one, so that a file that grew is noticed. A piece is good until three
    more were asked for.
    """
    left = size + 1
    number = 1 if left <= CHUNK_BYTES else _CHUNKS_AHEAD + 1
    buffers = [memoryview(bytearray(min(left, CHUNK_BYTES))) for _ in range(number)]
    turn = 0
    while left:
        buffer = buffers[turn % number]
        turn += 1
        count = file.readinto(buffer[: min(left, len(buffer))])  # type: ignore[attr-defined]
        if not count:
            return
        left -= count
        yield buffer[:count]


class NewFile:
    """A file that is made new, or anew, at `path`. Use it with `with`: after an error no file is left.

    After the `with` block its `size` in bytes and `sha256` in hexadecimal are known, and it is on the disk if `flush`
    is true. Raises the OSError of any step, opening and closing included.
    """

    def __init__(self, path: str | Path, *, flush: bool):
        self.path = path
        self.size = 0
        self.sha256 = ""
        self._flush = flush
        self._hash = hashlib.sha256()
        self._background: _BackgroundHash | None = None
        self._gathered = bytearray()

    def __enter__(self) -> NewFile:
        self._file = open(self.path, "wb", buffering=0)  # noqa: PTH123
        return self

    def expect(self, size: int) -> None:
        """Prepare for `size` bytes more."""
        if size >= BACKGROUND_BYTES and self._background is None:
            self._pass_on()
            self._background = _BackgroundHash(self._hash)

    def write(self, data: bytes | memoryview) -> None:
        """Append `data`; the buffer behind a memoryview must stay as it is until two more large ones are written."""
        self.size += len(data)
        if len(data) < _GATHERED_BYTES:
            self._gathered += data
            if len(self._gathered) >= _GATHERED_BYTES:
                self._pass_on()
            return
        self._pass_on()
        self._put(data)

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if exc is None:
                self._pass_on()
        except OSError:
            self._abandon()
            raise
        if exc is not None:
            self._abandon()
            return
        self._finish_hash()
        try:
            if self._flush:
                flush_file(self._file.fileno())
            self._file.close()
        except OSError:
            self._abandon()
            raise

    def _pass_on(self) -> None:
        if self._gathered:
            gathered, self._gathered = self._gathered, bytearray()
            self._put(memoryview(gathered))

    def _put(self, data: bytes | memoryview) -> None:
        (self._background or self._hash).update(data)
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]

    def _finish_hash(self) -> None:
        if self._background is not None:
            self._background.finish()
        self.sha256 = self._hash.hexdigest()

    def _abandon(self) -> None:
        self._finish_hash()
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(OSError):
            os.unlink(self.path)  # noqa: PTH108


def flush_file(descriptor: int) -> None:
    """Have the file on the disk; a file system that can't say so is trusted."""
    try:
        os.fsync(descriptor)
    except OSError as exc:
        if not is_not_supported(exc):
            raise


class _BackgroundHash:
    """Feeds a hash in a thread: hashing, like reading and writing, leaves Python's lock to others."""

    def __init__(self, sha256) -> None:
        self._hash = sha256
        self._waiting: SimpleQueue[bytes | memoryview | None] = SimpleQueue()
        self._free = threading.Semaphore(_CHUNKS_AHEAD)
        self._thread = threading.Thread(target=self._run, name="hash", daemon=True)
        self._thread.start()

    def update(self, data: bytes | memoryview) -> None:
        self._free.acquire()
        self._waiting.put(data)

    def finish(self) -> None:
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (data := self._waiting.get()) is not None:
            self._hash.update(data)
            self._free.release()
