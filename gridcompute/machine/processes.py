"""Children: the processes of cases, started, paused, resumed and ended as trees.

A daemon has one `Children`. It never waits for a process: a child is started at once, and everything it has to say
comes by `Children.poll`, at the end always ``ended``, once, when no process of its tree is left. On Linux a small
helper forks them (`forking`); elsewhere, or when asked, fresh interpreters wait ready (`spawn_pool`).

Nothing outlives its owner: when the process that has the `Children` ends, however it ends, all trees end within a
second or two, stopped ones too.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal as signals
import stat
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Protocol

from gridcompute import config
from gridcompute.machine.trees import Usage, members

__all__ = ["Child", "Children", "Usage", "describe_end", "remove_tree", "wait_until_gone"]

Message = dict[str, Any]
Method = Literal["fork", "spawn"]

_close_patience = 5.0
"""Seconds beyond its grace after which `Children.close` gives up waiting for a tree that can't be killed."""


def default_method() -> Method:
    """How children are made here: forked on Linux, fresh interpreters elsewhere."""
    return "fork" if sys.platform == "linux" else "spawn"


class Pool(Protocol):
    """One way of making children. `emit` of its maker is called from any thread, `alive` turns False when it broke."""

    alive: bool

    def start(self, child: Child) -> None: ...
    def tell(self, child: Child, order: Message) -> None: ...
    def set_ready(self, count: int) -> None: ...
    def usage(self, child: Child) -> Usage: ...
    def close(self) -> None: ...


class Child:
    """One job in a process of its own, with whatever that process starts."""

    def __init__(self, children: Children, pool: Pool, child_id: str, job: Message):
        self._children, self._pool = children, pool
        self.id = child_id
        self.job = job
        self.output_path = Path(job["output"])  # what it printed; there is no file if it printed nothing
        self.pid: int | None = None  # None for the moments until a process is ready for it
        self.paused = False
        self.alive = True  # until `ended` is there to be polled
        self.has_outcome = False

    def __repr__(self) -> str:
        return f"<Child {self.id} pid {self.pid}{' paused' if self.paused else ''}{'' if self.alive else ' ended'}>"

    def pause(self) -> None:
        """Stop every process of the tree; nothing happens if it is paused or has ended."""
        if self.alive and not self.paused:
            self.paused = True
            self._pool.tell(self, {"order": "pause"})

    def resume(self) -> None:
        """Let a paused tree go on."""
        if self.alive and self.paused:
            self.paused = False
            self._pool.tell(self, {"order": "resume"})

    def end(self, grace: float = 0.0) -> None:
        """Ask the tree to end (SIGTERM; a paused one goes on for it) and force it after `grace` seconds.

        Returns at once; the message ``ended`` confirms. A later call may shorten the grace, none lengthens it.
        """
        if self.alive:
            self.paused = False
            self._pool.tell(self, {"order": "end", "grace": grace})

    def usage(self) -> Usage:
        """What the tree uses now; takes some milliseconds."""
        return self._pool.usage(self)


class Children:
    """Starts children and hears from them.

    `work` is the folder for the children's files. `on_message` is called from another thread whenever `poll` has
    something to return. `ready` processes wait for jobs in advance. `entry` names, as ``module:function``, what a child
    calls with its job and a `gridcompute.machine.child.Report`.
    """

    def __init__(
        self,
        *,
        work: Path,
        on_message: Callable[[], None] | None = None,
        ready: int = 1,
        entry: str = "gridcompute.daemons.runner:run",
        method: Method | None = None,
        output_limit_bytes: int | None = None,
    ):
        self.work = Path(work)
        self._on_message = on_message or (lambda: None)
        self._ready, self._entry, self._method = ready, entry, method or default_method()
        self._output_limit = output_limit_bytes or config.output_limit_bytes
        self._changed = threading.Condition()
        self._messages: deque[tuple[Child, Message]] = deque()
        self._alive: dict[str, Child] = {}
        self._closed = False
        self.work.mkdir(parents=True, exist_ok=True)
        self._pools: list[Pool] = [self._make_pool()]

    def __enter__(self) -> Children:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def alive(self) -> list[Child]:
        """The children that have not ended, the oldest first."""
        with self._changed:
            return list(self._alive.values())

    def start(self, job: Message) -> Child:
        """Start a child for `job`, a dictionary that JSON can hold, and return it at once.

        `job` may say ``case`` (for the variable GRIDCOMPUTE_CASE), ``work`` (a folder of its own, else one under
        `work`; the owner removes it after ``ended``: `remove_tree`) and ``output`` (the file for what it prints, else
        output.txt in that folder).
        """
        if self._closed:
            raise RuntimeError("these children are closed")
        child_id = secrets.token_hex(6)
        job = {"work": str(self.work / child_id), **job}
        job.setdefault("output", str(Path(job["work"], "output.txt")))
        child = Child(self, self._pool(), child_id, job)
        with self._changed:
            self._alive[child.id] = child
        child._pool.start(child)
        return child

    def poll(self) -> list[tuple[Child, Message]]:
        """What was heard since the last call, in order; never waits.

        Kinds: ``stage``, ``progress``, ``waits`` and ``outcome`` (at most one a child) from the job; at last ``ended``
        with ``exit`` or ``signal`` (see `describe_end`), and ``lost`` if not the child but what held it broke.
        """
        with self._changed:
            messages = list(self._messages)
            self._messages.clear()
        return messages

    def set_ready(self, count: int) -> None:
        """Keep `count` processes waiting for jobs."""
        self._ready = count
        self._pools[-1].set_ready(count)

    def close(self, grace: float = 0.0) -> None:
        """End all trees as by `Child.end`, wait for it, and end the processes that wait. May be called twice.

        Takes at most `grace` and 5 seconds; what was not polled yet still can be.
        """
        if self._closed:
            return
        self._closed = True
        for child in self.alive:
            child.end(grace)
        with self._changed:
            self._changed.wait_for(lambda: not self._alive, grace + _close_patience)
        for pool in self._pools:
            pool.close()

    def _pool(self) -> Pool:
        if not self._pools[-1].alive:
            self._pools.append(self._make_pool())
        return self._pools[-1]

    def _make_pool(self) -> Pool:
        if self._method == "fork":
            from gridcompute.machine.fork_pool import ForkPool

            return ForkPool(self._entry, self._ready, self._output_limit, self._hear)
        from gridcompute.machine.spawn_pool import SpawnPool

        return SpawnPool(self._entry, self._ready, self._output_limit, self._hear)

    def _hear(self, child: Child, message: Message) -> None:
        """Take a message of a child, from any thread; nothing follows ``ended``, and only one outcome counts."""
        kind = message.get("kind")
        with self._changed:
            if not child.alive or (kind == "outcome" and child.has_outcome):
                return
            if kind == "outcome":
                child.has_outcome = True
            if kind == "ended":
                child.alive = child.paused = False
                self._alive.pop(child.id, None)
            self._messages.append((child, message))
            self._changed.notify_all()
        self._on_message()


def describe_end(exit: int | None, signal: int | None) -> str:
    """The end of a process in words: ``killed by signal 9 (SIGKILL)``, ``ended with exit code 3``."""
    if signal is not None:
        try:
            return f"killed by signal {signal} ({signals.Signals(signal).name})"
        except ValueError:
            return f"killed by signal {signal}"
    if exit is None:
        return "ended in an unknown way"
    if exit > 255 or exit < 0:  # Windows: the code of an exception, known by its hexadecimal form
        return f"ended with exit code 0x{exit & 0xFFFFFFFF:08X}"
    return f"ended with exit code {exit}"


def wait_until_gone(pid: int, seconds: float) -> bool:
    """Wait until process `pid` and its session have ended, at most `seconds`; whether they have.

    For children of an owner that died before: they are ending already, nothing here ends them.
    """
    end = time.monotonic() + seconds
    while members(pid):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def remove_tree(path: Path, *, patience: float = 2.0) -> bool:
    """Remove a folder with all that is in it, write-protected or in use for a moment; True when it is gone.

    Something that stays in use for `patience` seconds stays; the caller may try again later.
    """
    end = time.monotonic() + (patience if sys.platform == "win32" else 0.0)
    pause = 0.02
    for attempt in range(100):
        shutil.rmtree(path, ignore_errors=True)
        if not os.path.lexists(path):
            return True
        _allow_removal(path)
        if attempt and time.monotonic() >= end:
            return False
        if attempt:
            time.sleep(pause)
            pause = min(pause * 2, 0.5)
    return False


def _allow_removal(path: Path) -> None:
    """Give the owner the rights on a tree that removing needs; links are not followed."""
    with contextlib.suppress(OSError):
        path.chmod(stat.S_IRWXU)
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files):
            item = Path(folder, name)
            with contextlib.suppress(OSError):
                if not item.is_symlink():
                    item.chmod(stat.S_IRWXU)
