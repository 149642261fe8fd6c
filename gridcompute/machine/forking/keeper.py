"""A keeper: the process that watches one runner after the other, and all that comes of each."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import time
from collections import deque
from typing import Any

from gridcompute.machine import child
from gridcompute.machine.forking.parent import (
    Wake,
    guarded,
    prctl,
    reap,
    round_limit,
    round_pause,
    set_child_subreaper,
    wait,
)
from gridcompute.machine.forking.process_table import descendants, has_children, has_one_child, send_signal
from gridcompute.machine.forking.runner import run_forked
from gridcompute.machine.output import BoundedOutput
from gridcompute.machine.packets import BEGUN, SWEEP, Assembler, packets, socket_limit

_pipe_size = 1 << 18
_read_size = 1 << 16
_reads_at_once = 16  # an application that prints without end must not keep a keeper from hearing its owner
_progress_packet = b'm{"kind":"progress"'


class Keeper:
    """Watches one runner at a time and all that comes of it; ends only with its owner or the helper.

    From its owner come the job and the orders ``pause``, ``resume`` and ``end``; to it go the runner's messages and its
    own: ``ready`` with the pid of a runner, and ``ended``, always last, when no process of the case is left.
    """

    def __init__(self, owner: socket.socket, life: int, run: child.Entry):
        self._owner, self._life, self._run = owner, life, run
        self._wake = Wake()
        self._orders = Assembler()
        self._outbox: deque[bytes] = deque()
        self._leaving = self._lost = False
        prctl(set_child_subreaper, 1)
        self._forget_case()

    def _forget_case(self) -> None:
        self._runner_pid = 0
        self._runner: socket.socket | None = None
        self._printed = -1
        self._status: int | None = None
        self._order: dict[str, Any] | None = None  # the job, from its coming to its end
        self._begun = False  # the runner has read it
        self._output: BoundedOutput | None = None
        self._force_at: float | None = None  # moment after which the whole tree is killed
        self._sweep_at: float | None = None  # the same for what the application left, while the runner waits
        self._pause = round_pause

    def serve(self) -> None:
        """Keep runner after runner."""
        self._start_runner()
        while True:
            ready = wait(self._listened(), self._timeout())
            self._wake.clear()
            if self._life in ready:
                self._begin_to_leave(lost=True)
            if self._owner.fileno() in ready:
                self._obey()
            if self._runner is not None and self._runner.fileno() in ready:
                self._forward()
            if self._printed in ready:
                self._pump()
            self._flush()
            if self._advance():
                return

    def _listened(self) -> list[int]:
        listened = [self._wake.fd]
        if not self._leaving:
            listened += [self._life, self._owner.fileno()]
        if self._runner is not None:
            listened.append(self._runner.fileno())
        if self._printed >= 0:
            listened.append(self._printed)
        return listened

    def _timeout(self) -> float | None:
        forced = self._force_at is not None and time.monotonic() >= self._force_at
        if forced or self._status is not None or self._sweep_at is not None:
            self._pause = min(self._pause * 1.5, round_limit)
            return self._pause
        if self._outbox:
            return round_limit
        if self._force_at is not None:
            return self._force_at - time.monotonic()
        return None

    # the runner

    def _start_runner(self) -> None:
        mine, runners = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        printed, output = os.pipe()
        keeper = os.getpid()
        pid = os.fork()
        if pid == 0:
            for end in (mine, self._owner):
                end.close()
            for descriptor in (printed, self._life):
                os.close(descriptor)
            self._wake.close()
            guarded(lambda: run_forked(runners, output, keeper, self._run), runners)
        runners.close()
        os.close(output)
        with contextlib.suppress(OSError, AttributeError):
            fcntl.fcntl(printed, getattr(fcntl, "F_SETPIPE_SZ", 1031), _pipe_size)
        os.set_blocking(printed, False)
        self._runner_pid, self._runner, self._printed = pid, mine, printed
        self._tell({"kind": "ready", "pid": pid})

    def _forward(self) -> None:
        assert self._runner is not None
        while True:
            try:
                packet = self._runner.recv(socket_limit + 1, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError:
                packet = b""
            if not packet:
                self._runner.close()
                self._runner = None
                return
            if packet == SWEEP:
                self._begin_sweep()
            elif packet == BEGUN:
                self._begun = True
            elif not (self._outbox and packet.startswith(_progress_packet)):  # an owner that sleeps misses progress
                self._send(packet)

    def _pump(self) -> None:
        for _ in range(_reads_at_once):
            try:
                data = os.read(self._printed, _read_size)
            except BlockingIOError:
                return
            if not data:
                self._close_printed()
                return
            if self._output is not None:
                self._output.write(data)

    def _close_printed(self) -> None:
        if self._printed >= 0:
            os.close(self._printed)
            self._printed = -1

    # the owner

    def _obey(self) -> None:
        try:
            packet = self._owner.recv(socket_limit + 1, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            packet = b""
        if not packet:
            self._begin_to_leave()
            return
        order = self._orders.feed(packet)
        if order is None:
            return
        match order.get("order"):
            case "job":
                self._hand_over(order)
            case "pause":
                self._stop_tree()
            case "resume":
                send_signal(descendants(os.getpid()), signal.SIGCONT)
            case "end":
                self._begin_end(float(order["grace"]))

    def _hand_over(self, order: dict[str, Any]) -> None:
        self._order = order
        self._output = BoundedOutput(order["output"], order["output_limit"])
        if self._runner is not None:
            with contextlib.suppress(OSError):  # it was killed while it waited: its end is told as any other
                for packet in packets(order["job"], socket_limit):
                    self._runner.send(packet)

    def _tell(self, message: dict[str, Any]) -> None:
        for packet in packets(message, socket_limit):
            self._send(packet)

    def _send(self, packet: bytes) -> None:
        self._outbox.append(packet)
        self._flush()

    def _flush(self) -> None:
        try:
            while self._outbox:
                self._owner.send(self._outbox[0], socket.MSG_DONTWAIT)
                self._outbox.popleft()
        except BlockingIOError:
            pass
        except OSError:
            self._outbox.clear()
            self._begin_to_leave()

    # pausing and ending

    def _stop_tree(self) -> None:
        """Stop every process; one that was just forking has its child found in the next round."""
        stopped: set[int] = set()
        while new := set(descendants(os.getpid())) - stopped:
            send_signal(new, signal.SIGSTOP)
            stopped |= new

    def _begin_end(self, grace: float) -> None:
        moment = time.monotonic() + grace
        self._force_at = moment if self._force_at is None else min(moment, self._force_at)
        if grace > 0:
            tree = descendants(os.getpid())
            send_signal(tree, signal.SIGTERM)
            send_signal(tree, signal.SIGCONT)

    def _begin_to_leave(self, *, lost: bool = False) -> None:
        self._leaving, self._force_at = True, 0.0
        self._lost = self._lost or lost

    def _begin_sweep(self) -> None:
        leftovers = self._leftovers()
        if leftovers:
            send_signal(leftovers, signal.SIGTERM)
            self._sweep_at, self._pause = time.monotonic() + child.sweep_grace, round_pause
        else:
            self._tell_swept()

    def _leftovers(self) -> list[int]:
        if has_one_child(os.getpid()) and not has_children(self._runner_pid):
            return []
        return [pid for pid in descendants(os.getpid()) if pid != self._runner_pid]

    def _advance_sweep(self) -> None:
        assert self._sweep_at is not None
        leftovers = [pid for pid in descendants(os.getpid()) if pid != self._runner_pid]
        if not leftovers:
            self._sweep_at = None
            self._tell_swept()
        elif time.monotonic() >= self._sweep_at:
            send_signal(leftovers, signal.SIGKILL)

    def _tell_swept(self) -> None:
        if self._runner is not None:
            with contextlib.suppress(OSError):
                self._runner.send(SWEEP)

    def _advance(self) -> bool:
        """Go on with an end that is under way; True when this keeper's own has come."""
        ended, any_left = reap()
        self._status = dict(ended).get(self._runner_pid, self._status)
        if self._sweep_at is not None and self._status is None:
            self._advance_sweep()
        forced = self._force_at is not None and time.monotonic() >= self._force_at
        if any_left and (forced or (self._status is not None and self._force_at is None)):
            send_signal(descendants(os.getpid()), signal.SIGKILL)
            ended, any_left = reap()
            self._status = dict(ended).get(self._runner_pid, self._status)
        if not any_left:
            return self._finish()
        return False

    def _finish(self) -> bool:
        if self._runner is not None:
            self._forward()
        self._drain()
        if self._can_try_again():
            return False
        if self._order is not None:
            self._tell({"kind": "ended", **_words_of(self._status), **({"lost": True} if self._lost else {})})
        if self._leaving:
            return True
        if self._order is None:
            time.sleep(round_limit)  # a runner that ends before its case: whatever ended it may end the next one too
        self._close_case()
        self._start_runner()
        return False

    def _can_try_again(self) -> bool:
        """Give the job to another runner if the first was killed before it had read it: nobody's fault but ours."""
        order = self._order
        if order is None or self._begun or self._leaving or self._force_at is not None or order.get("again"):
            return False
        self._close_case()
        self._start_runner()
        self._hand_over({**order, "again": True})
        return True

    def _drain(self) -> None:
        # Everyone who could write is dead, so that the pipe holds at most its size.
        for _ in range(_pipe_size // _read_size):
            if self._printed >= 0:
                self._pump()
        if self._output is not None:
            self._output.close()

    def _close_case(self) -> None:
        self._close_printed()
        if self._runner is not None:
            self._runner.close()
        self._forget_case()


def _words_of(status: int | None) -> dict[str, int | None]:
    if status is None:
        return {"exit": None, "signal": None}
    if os.WIFSIGNALED(status):
        return {"exit": None, "signal": os.WTERMSIG(status)}
    return {"exit": os.WEXITSTATUS(status), "signal": None}
