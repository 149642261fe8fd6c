"""How this program starts itself again: from source and as an executable. Alone knows "frozen"."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

helper_command = "--case-helper"
"""Hidden command: the helper that forks processes of cases; takes a descriptor and an entry."""

child_command = "--case-child"
"""Hidden command: a fresh interpreter for one case; takes an entry."""

watch_command = "--case-watch"
"""Hidden command: ends the trees of an owner that died, where the system does not."""

executor_line = "import sys;exec(sys.stdin.buffer.read(int(sys.stdin.buffer.readline())))"
"""With ``-c`` before it a hidden command: a fresh interpreter for an executor of a softgrid (`softgrid.launch.STUB`).

It is what starts one by any Python, so whoever launches an executor need not know whether it gets this program.
"""

archive_variable = "GRIDCOMPUTE_ARCHIVE"
"""Variable by which an executable in a single file names that file, which unpacked it elsewhere."""


def is_frozen() -> bool:
    """Whether this is an executable made by cx_Freeze."""
    return bool(getattr(sys, "frozen", False))


def folder() -> Path:
    """The folder with all that belongs to the executable; from source the top of the clone.

    It is the executable's own, or ``Contents/Resources`` in an app bundle of macOS, where files are not kept beside it.
    """
    if is_frozen():
        beside = Path(sys.executable).resolve().parent
        return beside.parent / "Resources" if _is_in_bundle(beside) else beside
    return Path(__file__).resolve().parents[2]


def _is_in_bundle(beside: Path) -> bool:
    return beside.parts[-2:] == ("Contents", "MacOS")


def place() -> Path:
    """Where a server.txt or a mongod of one's own goes: `folder`, or that of the single file it was unpacked from."""
    archive = os.environ.get(archive_variable, "") if is_frozen() else ""
    return Path(archive).parent if archive else folder()


def environment_for_others(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for a Python that is not ours: without what leads it to our own libraries."""
    ours = None
    if is_frozen():
        beside = Path(sys.executable).resolve().parent
        ours = str(beside.parent if _is_in_bundle(beside) else beside)
    drop = {"PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP", "__PYVENV_LAUNCHER__", "VIRTUAL_ENV"}
    return {
        name: value for name, value in environ.items() if name not in drop and not (ours and value.startswith(ours))
    }


def command(*arguments: str) -> list[str]:
    """The command line that starts this program with the hidden `arguments`.

    From source it names the file, not ``-m``, which would look for modules in the current folder first.
    """
    if is_frozen():
        return [sys.executable, *arguments]
    return [sys.executable, str(Path(__file__).parent.parent / "__main__.py"), *arguments]
