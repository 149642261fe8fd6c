"""GridCompute: the PCs of an office as a compute grid, with a shared folder and one MongoDB."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gridcompute.config import version as __version__

__all__ = ["__version__", "progress"]

if TYPE_CHECKING:
    from collections.abc import Callable

_report_progress: Callable[[float, str], None] | None = None  # set by the runner inside the child process of a case


def progress(fraction: float, text: str = "") -> None:
    """Tell the grid how far a case is: `fraction` from 0 to 1 and a short text. Does nothing outside a case."""
    if _report_progress is not None:
        _report_progress(fraction, text)
