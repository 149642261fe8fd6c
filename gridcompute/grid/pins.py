"""Pins: which code the administrator allows, as the SHA-256 of every file in an application's folder.

They stand in the database, written by ``admin/database_management.py``. A grid without pins runs what lies in
``Settings/Applications``; in one with pins a machine runs what they name and refuses all else. The files that are
checked are copied while they are read, and the copy is run: what lies on the share may change in between.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from gridcompute.errors import ApplicationRefused

Digests = Mapping[str, str]
"""Path of a file in the application's folder, with ``/`` -> SHA-256 in hexadecimal."""

Pins = Mapping[str, Digests]
"""Application -> what it must consist of. Empty: the grid has no pins."""


def digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file that belongs to the application in `folder`. Raises `OSError`."""
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in _files(folder)}


def refusal(application: str, folder: Path, pins: Pins) -> str:
    """Why the code in `folder` is refused; empty where it is as pinned, or nothing is pinned. Raises `OSError`."""
    if not pins:
        return ""
    if application not in pins:
        return _sentence(application, "it is not among the pinned ones")
    return _difference(application, digests(folder), pins[application])


def copy_checked(application: str, folder: Path, pinned: Digests | None, target: Path) -> Path:
    """Copy an application, checked while it is read, to a folder of its name in `target`; the copy's path.

    `pinned` None is an application that is not pinned where others are. Raises `ApplicationRefused` where a file
    differs, is missing or too many; nothing of it may be run then. Raises `OSError` where it can't be read or written.
    """
    if pinned is None:
        raise ApplicationRefused(_sentence(application, "it is not among the pinned ones"))
    found: dict[str, str] = {}
    for name, path in _files(folder):
        data = path.read_bytes()
        found[name] = hashlib.sha256(data).hexdigest()
        if found[name] == pinned.get(name):
            copy = target / application / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(data)
    difference = _difference(application, found, pinned)
    if difference:
        raise ApplicationRefused(difference)
    return target / application


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Every file but compiled ones, which are never loaded from the copy."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path.relative_to(folder).as_posix(), path


def _difference(application: str, found: Digests, pinned: Digests) -> str:
    words = [f"{name} differs" for name in sorted(found.keys() & pinned.keys()) if found[name] != pinned[name]]
    words += [f"{name} is new" for name in sorted(found.keys() - pinned.keys())]
    words += [f"{name} is missing" for name in sorted(pinned.keys() - found.keys())]
    if not words:
        return ""
    more = f" and {len(words) - 3} more" if len(words) > 3 else ""
    return _sentence(application, ", ".join(words[:3]) + more)


def _sentence(application: str, why: str) -> str:
    return (
        f"The application '{application}' is refused, since it is not what the administrator pinned: {why}. If the "
        "change is wanted, the administrator pins it anew: admin/database_management.py --pin FOLDER."
    )
