"""Ends trees of processes whose owner died, where the system can't be told to: POSIX without the helper of Linux.

A case that is stopped can't end itself, so a process of its own does it. It hears from the owner which trees there are
(``+ PID MARK``, ``- PID``), and when the owner's end of the pipe closes, it kills them.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
from typing import BinaryIO

from gridcompute.machine import trees


def main() -> None:
    """The life of the watch: listen on standard input to its end, then clear up."""
    os.chdir("/")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for root, mark in listen(sys.stdin.buffer).items():
        trees.kill_until_none(functools.partial(trees.members, root, mark), 30.0)


def listen(lines: BinaryIO) -> dict[int, str]:
    """The trees that were there when `lines` ended, each with its mark."""
    there: dict[int, str] = {}
    for line in lines:
        sign, pid, *mark = line.decode("ascii").split()
        if sign == "+":
            there[int(pid)] = mark[0]
        else:
            there.pop(int(pid), None)
    return there
