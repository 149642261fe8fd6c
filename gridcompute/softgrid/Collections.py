"""Small things that others are made of: the status of an operation, the files of a package, a grid as a graph."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from .graph import GridGraph

__all__ = ["GridGraph", "SoftgridStatus", "read_files"]

REJECT_FILES = (r"^.*?.(so|pyd|pyc)$", r"^(?![a-zA-Z_]).*$")
ACCEPT_FILES = (r"^[a-zA-Z_]{1,}[a-zA-Z0-9_]{0,}.(py|pyx|h|c|cc|cxx|c\+\+|hh|H|hxx|hpp|h\+\+)$",)
REJECT_FOLDERS = (r"^\..*?$", r"^__pycache__$", r"^docs$", r"^Examples$")
ACCEPT_FOLDERS = (r"^[a-zA-Z_]{1,}[a-zA-Z0-9_]{0,}$",)


class SoftgridStatus:
    """Whether an operation succeeded, and if not why. Its truth is `successful`.

    `data` is what the operation left for the caller: its result, or what is needed to try again. `exception` is the
    far side's own exception where it could be sent. Iterating yields the status itself, so one serves as a list.
    """

    def __init__(
        self,
        successful: bool = True,
        error: str | None = None,
        data: Any = None,
        name: str | None = None,
        exception: BaseException | None = None,
    ):
        self.successful = bool(successful)
        self.error = error
        self.data = data
        self.name = name
        self.exception = exception

    def __bool__(self) -> bool:
        return self.successful

    def __iter__(self) -> Iterator[SoftgridStatus]:
        yield self

    def __str__(self) -> str:
        what = f"{self.name}: " if self.name else ""
        if self.successful:
            return f"{what}successful" if self.error is None else f"{what}successful ({self.error})"
        return f"{what}failed: {self.error}"

    def __repr__(self) -> str:
        return f"<SoftgridStatus {self}>"

    def __reduce__(self) -> Any:
        return SoftgridStatus, (self.successful, self.error, self.data, self.name, self.exception)


def read_files(
    path: str,
    rejectFiles: Iterable[str] = REJECT_FILES,
    acceptFiles: Iterable[str] = ACCEPT_FILES,
    rejectFolders: Iterable[str] = REJECT_FOLDERS,
    acceptFolders: Iterable[str] = ACCEPT_FOLDERS,
    dataFiles: Iterable[str] | None = None,
) -> dict[str, bytes]:
    """The files of a package or module: relative path with '/' -> content, in the order of their names.

    A folder's files are named below the folder's own name, so that its content is importable where it is written. A
    pattern is matched against a file's or folder's name alone; `dataFiles` are relative paths taken in any case.
    Raises FileNotFoundError, and ValueError for a data file outside of the folder.
    """
    root = Path(path)
    if root.is_file():
        return {root.name: root.read_bytes()}
    if not root.is_dir():
        raise FileNotFoundError(f"There is no package or module at {path}.")
    reject_file, accept_file = list(map(re.compile, rejectFiles)), list(map(re.compile, acceptFiles))
    reject_folder, accept_folder = list(map(re.compile, rejectFolders)), list(map(re.compile, acceptFolders))

    def is_taken(name: str, reject: list[re.Pattern[str]], accept: list[re.Pattern[str]]) -> bool:
        if any(pattern.match(name) for pattern in reject):
            return False
        return not accept or any(pattern.match(name) for pattern in accept)

    found: dict[str, bytes] = {}

    def walk(folder: Path, relative: str) -> None:
        for entry in sorted(folder.iterdir(), key=lambda item: item.name):
            if entry.is_dir():
                if is_taken(entry.name, reject_folder, accept_folder):
                    walk(entry, f"{relative}/{entry.name}")
            elif entry.is_file() and is_taken(entry.name, reject_file, accept_file):
                found[f"{relative}/{entry.name}"] = entry.read_bytes()

    name = root.resolve().name
    walk(root, name)
    for data_file in dataFiles or ():
        place = (root / data_file).resolve()
        if not place.is_relative_to(root.resolve()):
            raise ValueError(f"The data file {data_file!r} lies outside of {path}.")
        found[f"{name}/{place.relative_to(root.resolve()).as_posix()}"] = place.read_bytes()
    return found
