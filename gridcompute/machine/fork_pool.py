"""The owner's side of `forking`: one helper, its keepers, and a thread that hears all of them.

A pool is one life of a helper. If the helper dies, its keepers end their trees and say so; the pool is then over
(`alive` is False), and `Children` makes a new one for the next child.
"""

from __future__ import annotations

import array
import contextlib
import json
import logging
import os
import secrets
import selectors
import socket
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any

from gridcompute.machine import program, trees
from gridcompute.machine.packets import Assembler, packets, socket_limit

if TYPE_CHECKING:
    from gridcompute.machine.processes import Child

log = logging.getLogger(__name__)

spare = 2
"""Keepers beyond those wanted ready that may wait, so that cases ending together don't end and start keepers."""

leave_patience = 3.0
"""Seconds in which a helper that is told to leave has left, unless a process of a case can't be killed."""

_from_runner = ("stage", "progress", "waits", "outcome")

Message = dict[str, Any]
Emit = Callable[["Child", Message], None]


class _Keeper:
    """One keeper as its owner sees it: idle (`child` is None and it has a runner), working, or gone."""

    def __init__(self, pid: int, connection: socket.socket):
        self.pid, self.connection = pid, connection
        self.runner: int | None = None
        self.child: Child | None = None
        self.assembler = Assembler()

    def send(self, order: Message) -> bool:
        """Give an order; False if it is gone."""
        try:
            for packet in packets(order, socket_limit):
                self.connection.send(packet)
        except OSError:
            return False
        return True


class ForkPool:
    """Hands children to keepers that wait ready, and keeps enough of these."""

    def __init__(self, entry: str, ready: int, output_limit_bytes: int, emit: Emit):
        self.alive = True
        self._emit, self._ready, self._output_limit = emit, ready, output_limit_bytes
        self._lock = threading.RLock()
        self._keepers: dict[int, _Keeper] = {}
        self._idle: deque[_Keeper] = deque()
        self._asked_for = 0  # keepers asked for that have no runner ready yet
        self._waiting: deque[Child] = deque()
        self._unconfirmed: dict[int, Child] = {}  # by the pid of their keeper, which was killed
        self._mark = secrets.token_hex(8)
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._complaints, self._helper = _start_helper(theirs, entry, self._mark)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._control, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._listen, name="children", daemon=True)
        self._thread.start()
        with self._lock:
            self._ask_for_keepers()

    # what the owner's threads call

    def start(self, child: Child) -> None:
        """Give `child` to a keeper that waits, or to the next that is ready."""
        with self._lock:
            self._waiting.append(child)
            if self.alive:
                self._hand_out()
                return
        self._lose_waiting()

    def tell(self, child: Child, order: Message) -> None:
        """Send an order to the keeper of `child`; one that still waits for a keeper is ended without having begun."""
        with self._lock:
            if child in self._waiting:
                if order["order"] != "end":
                    return  # a pause is looked up when it is handed out
                self._waiting.remove(child)
            else:
                for keeper in self._keepers.values():
                    if keeper.child is child:
                        keeper.send(order)
                return
        self._emit(child, {"kind": "ended", "exit": None, "signal": None})

    def set_ready(self, count: int) -> None:
        """Keep `count` keepers waiting; those too many leave."""
        with self._lock:
            self._ready = count
            while len(self._idle) > count:
                self._dismiss(self._idle.popleft())
            self._ask_for_keepers()

    def usage(self, child: Child) -> trees.Usage:
        """What the tree of `child` uses."""
        with self._lock:
            keeper = next((pid for pid, keeper in self._keepers.items() if keeper.child is child), None)
        return trees.usage(trees.under(keeper) if keeper is not None else ())

    def close(self) -> None:
        """Let the helper and all keepers leave; what can't be asked any more is killed."""
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)
        with self._lock:
            for keeper in self._keepers.values():
                with contextlib.suppress(OSError):
                    keeper.connection.shutdown(socket.SHUT_RDWR)
        try:
            self._helper.wait(leave_patience)
        except subprocess.TimeoutExpired:
            self._helper.kill()
            self._helper.wait()
        self._thread.join(leave_patience)

    # with the lock held

    def _hand_out(self) -> None:
        while self._waiting and self._idle:
            keeper, child = self._idle.pop(), self._waiting.popleft()
            keeper.child, child.pid = child, keeper.runner
            job = {"output": child.job["output"], "output_limit": self._output_limit, "job": child.job}
            if not keeper.send({"order": "job", **job}):
                log.debug("keeper %d was gone before it had its case", keeper.pid)  # its end is heard by the thread
            elif child.paused:
                keeper.send({"order": "pause"})
        self._ask_for_keepers()

    def _ask_for_keepers(self) -> None:
        missing = self._ready + len(self._waiting) - len(self._idle) - self._asked_for
        if missing > 0 and self.alive:
            self._asked_for += missing
            with contextlib.suppress(OSError):  # a dead helper is noticed by the thread
                for _ in range(missing):
                    self._control.send(b"k")

    def _dismiss(self, keeper: _Keeper) -> None:
        with contextlib.suppress(OSError):
            keeper.connection.shutdown(socket.SHUT_RDWR)

    # the thread

    def _listen(self) -> None:
        try:
            while self.alive or self._keepers:
                for key, _ in self._selector.select():
                    if key.data is None:
                        self._hear_helper()
                    else:
                        self._hear_keeper(key.data)
        except Exception:
            log.exception("The thread that hears the processes of cases met a mistake of GridCompute; they are ended.")
        finally:
            self._conclude()

    def _hear_helper(self) -> None:
        message, descriptor = _receive(self._control)
        if message is None:
            self._helper_left()
        elif "keeper" in message and descriptor is not None:
            keeper = _Keeper(message["keeper"], socket.socket(fileno=descriptor))
            with self._lock:
                self._keepers[keeper.pid] = keeper
            self._selector.register(keeper.connection, selectors.EVENT_READ, keeper)
        elif "gone" in message:
            with self._lock:
                child = self._unconfirmed.pop(message["gone"], None)
            if child is not None:
                self._lose(child)
            else:  # heard before the end of the keeper's own socket
                self._drain_and_drop(message["gone"])

    def _helper_left(self) -> None:
        with self._lock:
            self.alive = False
        self._selector.unregister(self._control)
        self._control.close()
        self._lose_waiting()

    def _hear_keeper(self, keeper: _Keeper) -> bool:
        try:
            packet = keeper.connection.recv(socket_limit + 1)
        except OSError:
            packet = b""
        if not packet:
            self._keeper_left(keeper)
            return False
        message = keeper.assembler.feed(packet)
        if message is not None:
            self._take(keeper, message)
        return True

    def _take(self, keeper: _Keeper, message: Message) -> None:
        kind, child = message.get("kind"), keeper.child
        if kind == "ready":
            self._keeper_ready(keeper, message["pid"])
        elif kind == "trouble":
            log.error("A process that keeps cases failed by a mistake of GridCompute:\n%s", message["traceback"])
        elif child is not None and kind == "ended":
            with self._lock:
                keeper.child = None
            self._emit(child, message)
        elif child is not None and kind in _from_runner:
            self._emit(child, message)

    def _keeper_ready(self, keeper: _Keeper, runner: int) -> None:
        with self._lock:
            if keeper.runner is None:
                self._asked_for -= 1
            keeper.runner = runner
            if keeper.child is not None:  # given to a runner that had ended just before: this one takes the case
                keeper.child.pid = runner
            elif keeper not in self._idle:
                self._idle.append(keeper)
            self._hand_out()
            if len(self._idle) > self._ready + spare:
                self._dismiss(self._idle.popleft())

    def _keeper_left(self, keeper: _Keeper) -> None:
        self._selector.unregister(keeper.connection)
        keeper.connection.close()
        with self._lock:
            self._keepers.pop(keeper.pid, None)
            if keeper in self._idle:
                self._idle.remove(keeper)
            if keeper.runner is None:
                self._asked_for -= 1
            if keeper.child is not None:
                self._unconfirmed[keeper.pid] = keeper.child
            self._ask_for_keepers()

    def _drain_and_drop(self, pid: int) -> None:
        with self._lock:
            keeper = self._keepers.get(pid)
        while keeper is not None and self._hear_keeper(keeper):
            pass
        with self._lock:
            child = self._unconfirmed.pop(pid, None)
        if child is not None:
            self._lose(child)

    def _conclude(self) -> None:
        """The pool is over: what nobody confirmed is looked for by its mark, and told as lost then."""
        with self._lock:
            self.alive = False
            orphaned = [*self._unconfirmed.values(), *(k.child for k in self._keepers.values() if k.child is not None)]
            self._unconfirmed.clear()
        self._helper.wait()
        self._report_complaints()
        if self._helper.returncode != 0 or orphaned:
            while not trees.kill_marked(self._mark, leave_patience):
                log.warning("Processes of cases can't be ended, not even by force; still trying.")
        for child in orphaned:
            self._lose(child)
        self._lose_waiting()
        self._selector.close()

    def _lose_waiting(self) -> None:
        with self._lock:
            waiting, self._waiting = list(self._waiting), deque()
        for child in waiting:
            self._lose(child)

    def _lose(self, child: Child) -> None:
        self._emit(child, {"kind": "ended", "exit": None, "signal": None, "lost": True})

    def _report_complaints(self) -> None:
        with self._complaints as file:
            file.seek(0)
            text = file.read().decode("utf-8", "replace").strip()
        if text:
            log.error("The helper that starts the processes of cases ended with complaints:\n%s", text[-4000:])


def _start_helper(theirs: socket.socket, entry: str, mark: str) -> tuple[IO[bytes], subprocess.Popen[bytes]]:
    complaints = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the helper has left
    helper = subprocess.Popen(
        program.command(program.helper_command, str(theirs.fileno()), entry),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=complaints,
        pass_fds=(theirs.fileno(),),
        env={**os.environ, trees.mark_variable: mark},
        start_new_session=True,  # Ctrl-C in a terminal is the owner's to act on
    )
    return complaints, helper


def _receive(control: socket.socket) -> tuple[Message | None, int | None]:
    """The next message of the helper and the descriptor that came with it; no message when the helper has gone."""
    descriptors = array.array("i")
    try:
        data, ancillary, _, _ = control.recvmsg(
            4096, socket.CMSG_SPACE(descriptors.itemsize), getattr(socket, "MSG_CMSG_CLOEXEC", 0)
        )
    except OSError:
        return None, None
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
    if not data:
        return None, None
    return json.loads(data), descriptors[0] if descriptors else None
