"""Trees of processes as another process sees them: who belongs to one, what it uses, and ending all of it.

A process belongs to a tree when it descends from its root, stands in the root's session, or carries the tree's mark in
its environment. Any one of these survives most ways in which a program detaches itself; the mark survives all of them
but a changed environment.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

import psutil

mark_variable = "GRIDCOMPUTE_TREE"
"""The variable of the environment that says to which tree a process belongs."""

_round = 0.02
"""Seconds between two looks for processes that were killed."""

_gone = (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess, OSError)


class Usage(NamedTuple):
    """What a tree of processes uses."""

    cpu: float  # seconds, of the processes that are there and of those their parents waited for
    memory: int  # bytes, resident
    processes: int


def usage(processes: Iterable[psutil.Process]) -> Usage:
    """What `processes` use together; those that are gone count nothing."""
    cpu, memory, count = 0.0, 0, 0
    for process in processes:
        with contextlib.suppress(*_gone), process.oneshot():
            times = process.cpu_times()
            cpu += times.user + times.system + getattr(times, "children_user", 0.0)
            cpu += getattr(times, "children_system", 0.0)
            memory += process.memory_info().rss
            count += 1
    return Usage(cpu, memory, count)


def under(root: int) -> list[psutil.Process]:
    """The processes that descend from `root`, itself left out."""
    return _with_descendants(root)[1:]


def members(root: int, mark: str = "", *, root_ended: bool = False) -> list[psutil.Process]:
    """The processes of the tree of `root` that are no zombies, `root` itself first if it is there.

    Once it is known that the root ended, its number may soon be another's: then mark and session find the rest.
    """
    found = {} if root_ended else {process.pid: process for process in _with_descendants(root)}
    for process in psutil.process_iter():
        if process.pid not in found and (_in_session(process.pid, root) or _has_mark(process, mark)):
            found[process.pid] = process
    return [process for process in found.values() if _lives(process)]


def marked(mark: str) -> list[psutil.Process]:
    """The processes that carry `mark`, zombies apart."""
    return [process for process in psutil.process_iter() if _has_mark(process, mark) and _lives(process)]


def signal_all(processes: Iterable[psutil.Process], number: int) -> None:
    """Send a signal to each of `processes` that is still there; POSIX only."""
    for process in processes:
        with contextlib.suppress(*_gone):
            process.send_signal(number)


def kill_marked(mark: str, seconds: float) -> bool:
    """Kill every process that carries `mark`, again until none is left; False if some are after `seconds`."""
    return kill_until_none(lambda: marked(mark), seconds)


def kill_until_none(look: Callable[[], list[psutil.Process]], seconds: float) -> bool:
    """Kill what `look` finds, again until it finds nothing; False if it still does after `seconds`."""
    end = time.monotonic() + seconds
    while left := look():
        if time.monotonic() > end:
            return False
        for process in left:
            with contextlib.suppress(*_gone):
                process.kill()
        time.sleep(_round)  # psutil's own waiting would reap children of ours, and take their exit codes
    return True


def _with_descendants(root: int) -> list[psutil.Process]:
    with contextlib.suppress(*_gone):
        process = psutil.Process(root)
        return [process, *process.children(recursive=True)]
    return []


def _lives(process: psutil.Process) -> bool:
    with contextlib.suppress(*_gone):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def _in_session(pid: int, root: int) -> bool:
    if not hasattr(os, "getsid"):
        return False
    with contextlib.suppress(OSError):
        return os.getsid(pid) == root
    return False


def _has_mark(process: psutil.Process, mark: str) -> bool:
    if not mark:
        return False
    with contextlib.suppress(*_gone):
        return process.environ().get(mark_variable) == mark
    return False
