"""GridCompute: the PCs of an office as a compute grid, with a shared folder and one MongoDB.

What is listed in `__all__` may be used by scripts. `Server` and the errors come on demand, since the child process of a
case passes here too and needs neither.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from gridcompute.config import version as __version__

if TYPE_CHECKING:
    from collections.abc import Callable

    from gridcompute.errors import (
        AlreadyRunning,
        ApplicationError,
        ApplicationRefused,
        ArchiveError,
        ArchiveMissing,
        DatabaseAway,
        DatabaseError,
        DatabaseRefused,
        DiskFull,
        EnvironmentMissing,
        FolderMissing,
        GridComputeError,
        InputError,
        MongodError,
        NoGridError,
        SettingsError,
        ShareAway,
        ShareError,
        UsageError,
        VersionRefused,
    )
    from gridcompute.server import Server

__all__ = [
    "AlreadyRunning",
    "ApplicationError",
    "ApplicationRefused",
    "ArchiveError",
    "ArchiveMissing",
    "DatabaseAway",
    "DatabaseError",
    "DatabaseRefused",
    "DiskFull",
    "EnvironmentMissing",
    "FolderMissing",
    "GridComputeError",
    "InputError",
    "MongodError",
    "NoGridError",
    "Server",
    "SettingsError",
    "ShareAway",
    "ShareError",
    "UsageError",
    "VersionRefused",
    "__version__",
    "progress",
]

_report_progress: Callable[[float, str], None] | None = None  # set by the runner inside the child process of a case


def progress(fraction: float, text: str = "") -> None:
    """Tell the grid how far a case is: `fraction` from 0 to 1 and a short text. Does nothing outside a case."""
    if _report_progress is not None:
        _report_progress(fraction, text)


def __getattr__(name: str) -> Any:
    """Import `Server` or an error when somebody first asks for it."""
    if name not in __all__:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    home = "gridcompute.server" if name == "Server" else "gridcompute.errors"
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
