"""In which folders an application writes files: heard from Python itself, by its audit events.

receive_case returns nothing, so this is how a window can open the folder where the results lie. What a program writes
that the application starts is not heard.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

_writing = os.O_WRONLY | os.O_RDWR | os.O_APPEND | os.O_CREAT


class Written:
    """Hears which files this process writes from `begin` to `end`; those below the folder `apart` do not count."""

    def __init__(self, apart: str):
        self._apart = os.path.join(os.path.realpath(apart), "")  # noqa: PTH118 - the separator at the end
        self._files: dict[str, set[str]] = {}
        self._hears = False

    def begin(self) -> None:
        self._hears = True
        sys.addaudithook(self._hear)

    def end(self) -> None:
        """Hear no more; the hook itself can't be taken away."""
        self._hears = False

    @property
    def folder(self) -> str:
        """The folder in which most files were written, the first of several alike; empty for none."""
        return max(self._files, key=lambda folder: len(self._files[folder]), default="")

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._hears:
            return
        find = _targets.get(event)
        try:
            target = find(*arguments) if find else None
            if target is not None and not isinstance(target, int):
                self._add(os.path.abspath(os.fsdecode(target)))  # noqa: PTH100 - of what the application named
        except Exception:  # noqa: BLE001 - an error here would be one of the application's open()
            self._hears = False

    def _add(self, path: str) -> None:
        folder, name = os.path.split(path)
        if folder.startswith(("/dev", "/proc")) or os.path.join(os.path.realpath(folder), "").startswith(self._apart):  # noqa: PTH118
            return
        self._files.setdefault(folder, set()).add(name)


def _opened(path: Any, mode: Any, flags: int) -> Any:
    writes = any(letter in mode for letter in "wax+") if isinstance(mode, str) else bool(flags & _writing)
    return path if writes else None


_targets: dict[str, Callable[..., Any]] = {
    "open": _opened,
    "os.rename": lambda source, target, *_: target,  # os.replace too, and what shutil moves
    "os.link": lambda source, target, *_: target,
    "sqlite3.connect": lambda path: path,
}
