"""Tasks and jobs on workers."""

from __future__ import annotations


class TaskScheduler:
    """Stands where tasks and jobs belong in the order of the classes."""
