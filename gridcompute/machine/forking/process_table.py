"""What /proc knows of the processes of this computer, and signals to them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable


def parents() -> dict[int, int]:
    """The parent of each process of this computer that is no zombie."""
    table = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 - no pathlib at this price
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                    state, parent = file.read().rpartition(b")")[2].split(None, 2)[:2]
            except OSError:
                continue
            if state not in (b"Z", b"X"):
                table[int(name)] = int(parent)
    return table


def descendants(root: int, *, without: Iterable[int] = ()) -> list[int]:
    """The processes under `root`, zombies apart; those of `without` and what is under them are left out."""
    below: dict[int, list[int]] = {}
    for pid, parent in parents().items():
        below.setdefault(parent, []).append(pid)
    left_out, found, waiting = set(without), [], [root]
    while waiting:
        for pid in below.get(waiting.pop(), ()):
            if pid not in left_out:
                found.append(pid)
                waiting.append(pid)
    return found


def has_one_child(pid: int) -> bool:
    """A quick look whether the single-threaded process `pid` has one child alone; False where it can't be said."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", "rb") as file:  # noqa: PTH123
            return len(file.read().split()) == 1
    except OSError:
        return False


def has_children(pid: int) -> bool:
    """Whether any thread of `pid` has a child; True where it can't be said."""
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:  # noqa: PTH123
                if file.read().strip():
                    return True
    except OSError:
        return True
    return False


def send_signal(pids: Iterable[int], number: int) -> None:
    """Send signal `number` to each of `pids` that is still there and ours."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
