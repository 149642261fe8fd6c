"""What an application prints, in a file that stays readable and bounded however much it prints."""

from __future__ import annotations

import os
from pathlib import Path


class BoundedOutput:
    """A file that keeps the beginning and the end of what is written, and says in its middle how much it left out.

    The file is whole at every moment and never above `limit_bytes`, but for one line that says what is missing. It
    is made at the first write: something that prints nothing leaves no file. A full disk loses output, never the case:
    nothing here raises `OSError`.
    """

    def __init__(self, path: str | Path, limit_bytes: int):
        self.path = Path(path)
        self._limit = limit_bytes
        self._head = limit_bytes // 4
        self._tail = (limit_bytes - self._head) // 2  # half of the rest, so that a byte is moved twice at most
        self._fd: int | None = None
        self._size = 0
        self._tail_start = self._head
        self._left_out = 0
        self._given_up = False

    def write(self, data: bytes) -> None:
        """Append `data`; what is too much for the file is taken from its middle."""
        if self._given_up or not data:
            return
        try:
            self._append(data)
            if self._size > self._limit:
                self._shorten()
        except OSError:
            self._lose()

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._given_up = True
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _append(self, data: bytes) -> None:
        if self._fd is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
            self._fd = os.open(self.path, flags, 0o600)
        view = memoryview(data)
        while view:
            written = os.write(self._fd, view)
            self._size += written
            view = view[written:]

    def _shorten(self) -> None:
        assert self._fd is not None
        os.lseek(self._fd, self._size - self._tail, os.SEEK_SET)
        end = os.read(self._fd, self._tail)
        self._left_out += self._size - len(end) - self._tail_start
        note = f"\n[... {self._left_out} bytes of output are left out here ...]\n".encode()
        os.lseek(self._fd, self._head, os.SEEK_SET)
        self._size = self._head
        self._append(note)
        self._tail_start = self._size
        self._append(end)
        os.ftruncate(self._fd, self._size)

    def _lose(self) -> None:
        # A disk that is full now may have room a second later, but a gap nobody is told of would be worse.
        self.close()


def tail(path: str | Path, limit_bytes: int) -> str:
    """The last `limit_bytes` bytes of a file as text; empty where there is no such file. Never raises `OSError`."""
    try:
        with Path(path).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - limit_bytes))
            return file.read(limit_bytes).decode("utf-8", "replace")
    except OSError:
        return ""
