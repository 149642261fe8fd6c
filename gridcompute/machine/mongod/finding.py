"""Where the MongoDB server's program is on this computer."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from pathlib import Path

from gridcompute.errors import MongodError
from gridcompute.machine import program


def find_mongod() -> Path:
    """The server's program: a ``mongod`` on PATH comes first, then the one in the wheel of the extra ``local``.

    An executable carries none (its licence and size, see docs/decisions.md); it finds one that somebody put beside it.
    The wheel's program gets its run bit, which pip does not set. Raises `MongodError` that says how to get one.
    """
    on_path = shutil.which("mongod")
    if on_path:
        return Path(on_path)
    name = "mongod.exe" if os.name == "nt" else "mongod"
    packages = [Path(folder or ".") / "fiftyone" / "db" / "bin" / name for folder in sys.path]
    beside = [program.place() / name, program.place() / "mongodb" / "bin" / name] if program.is_frozen() else []
    for found in (*beside, *packages):
        if found.is_file():
            _set_run_bit(found)
            return found
    if program.is_frozen():
        raise MongodError(
            f"No MongoDB server was found on this computer: there is no '{name}' on PATH, in {beside[0].parent} or in "
            f"{beside[1].parent}. Install MongoDB 4.4 or newer, or unpack its archive there as the folder 'mongodb'."
        )
    raise MongodError(
        "No MongoDB server was found on this computer: there is no 'mongod' on PATH, nor one among Python's packages. "
        "Install it by 'pip install gridcompute[local]', or install MongoDB 4.4 or newer."
    )


def _set_run_bit(program: Path) -> None:
    if os.access(program, os.X_OK):
        return
    try:
        program.chmod(program.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    except OSError as exc:
        raise MongodError(
            f"The MongoDB server {program} may not be run, and its permissions can't be changed ({exc.strerror}). "
            f"Ask its owner to run: chmod +x '{program}'"
        ) from exc
