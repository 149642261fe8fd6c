"""What parents and their forks ask of Linux: orphans, signals at a death, news of those that ended, an end to each."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import select
import signal
import socket
import traceback
from collections.abc import Callable, Iterable
from typing import NoReturn

from gridcompute.machine import child
from gridcompute.machine.packets import packets, socket_limit

round_pause = 0.003
"""Seconds between two looks at processes that were killed and are not gone yet."""

round_limit = 0.1
"""What that pause grows to."""

set_death_signal, set_child_subreaper = 1, 36  # PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER


@functools.cache  # a fork finds it made: making it touches, and so copies, a hundred pages
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def prctl(option: int, value: int) -> None:
    """Set something of this process; raises OSError."""
    if _libc().prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl failed")


def reap() -> tuple[list[tuple[int, int]], bool]:
    """The children that ended, each with its status, and whether any child is left."""
    ended: list[tuple[int, int]] = []
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended, False
        if pid == 0:
            return ended, True
        ended.append((pid, status))


class Wake:
    """A descriptor that is readable after a child ended."""

    def __init__(self) -> None:
        self.fd, self._write = os.pipe()
        os.set_blocking(self.fd, False)
        os.set_blocking(self._write, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)

    def clear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self.fd, 4096)

    def close(self) -> None:
        signal.set_wakeup_fd(-1)
        os.close(self.fd)
        os.close(self._write)


def wait(descriptors: Iterable[int], seconds: float | None) -> dict[int, int]:
    """The descriptors that can be read, each with its events; empty if none can within `seconds`."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return dict(poll.poll(None if seconds is None else max(1, round(seconds * 1000))))


def guarded(serve: Callable[[], None], owner: socket.socket) -> NoReturn:
    """Run a forked process to its end; nothing of it may return into the code of its parent."""
    code = 0
    try:
        serve()
    except BaseException:  # noqa: BLE001 - the last frame of the process
        code = child.internal_error
        with contextlib.suppress(OSError):
            for packet in packets({"kind": "trouble", "traceback": traceback.format_exc()}, socket_limit):
                owner.send(packet)
    finally:
        os._exit(code)
