"""Processes of cases on Linux: a helper that forks, keepers that watch, runners that work.

Why three. A fresh interpreter costs 20 to 50 ms of a core before it has imported anything, a fork of a small process
one or two; but only a process without threads and without a MongoClient forks safely, hence the *helper*. An
application may start processes that detach themselves from it, hence the *keeper*: as a "child subreaper" (prctl 2) it
inherits every orphan of its case, so that it finds them all, and knows by `waitpid` when none is left. The *runner*
under it runs the application's code and waits ready, forked, before a case comes. A keeper outlives its cases and forks
a new runner after each; nothing of the application ever ran in it.

    owner (daemon) ─── helper ─┬─ keeper ── runner ── whatever the application starts
                               └─ keeper ── runner (ready)

Who notices what:

- owner gone:   helper and keepers read the end of their sockets; keepers kill their trees, the helper what is left.
- helper gone:  keepers read the end of a pipe that only the helper holds, kill their trees and say that they are lost.
- keeper gone:  its runner dies with it (PR_SET_PDEATHSIG); what the runner had started falls to the helper, itself a
  subreaper, which kills it and then tells the owner.

Stopped processes (SIGSTOP) are killed like others. Each keeper has a socket of its own to the owner, which the helper
passes on, so that a case is handed out and reports without the helper.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import fcntl
import functools
import gc
import json
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from gridcompute.machine import child
from gridcompute.machine.output import BoundedOutput
from gridcompute.machine.packets import BEGUN, SWEEP, Assembler, packets, socket_limit

_round = 0.003
"""Seconds between two looks at processes that were killed and are not gone yet."""

_round_limit = 0.1
_fork_pause = 1.0
_pipe_size = 1 << 18
_read_size = 1 << 16
_reads_at_once = 16  # an application that prints without end must not keep a keeper from hearing its owner

_set_death_signal, _set_child_subreaper = 1, 36  # PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER
_progress_packet = b'm{"kind":"progress"'


# --- what /proc knows -------------------------------------------------------------------------------------------------


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


def send_signal(pids: Iterable[int], number: int) -> None:
    """Send signal `number` to each of `pids` that is still there and ours."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


@functools.cache  # a fork finds it made: making it touches, and so copies, a hundred pages
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, value: int) -> None:
    if _libc().prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl failed")


def _reap() -> tuple[list[tuple[int, int]], bool]:
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


class _Wake:
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


def _wait(descriptors: Iterable[int], seconds: float | None) -> dict[int, int]:
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return dict(poll.poll(None if seconds is None else max(1, round(seconds * 1000))))


# --- the helper -------------------------------------------------------------------------------------------------------


def main(control: int, entry: str) -> None:
    """The life of the helper; `control` is its end of the socket to the owner, `entry` names what runners call."""
    os.chdir("/")
    _prctl(_set_child_subreaper, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    run = child.find_entry(entry)
    child.forget_the_start()
    gc.collect()
    gc.freeze()  # a collection in a child would else touch, and so copy, every page
    Helper(socket.socket(fileno=control), run).serve()


class Helper:
    """Forks keepers as its owner asks, and clears up after those that were killed."""

    def __init__(self, control: socket.socket, run: child.Entry):
        self._control, self._run = control, run
        self._wake = _Wake()
        self._life, self._life_write = os.pipe()
        self._keepers: set[int] = set()
        self._uncleared: list[int] = []  # keepers that died by force, whose orphans may still be there
        self._pause = _round
        self._owed, self._pay_at = 0, 0.0  # keepers that could not be forked, and when to try again

    def serve(self) -> None:
        """Work until the owner's end of the socket is closed and no child is left."""
        while True:
            ready = _wait((self._control.fileno(), self._wake.fd), self._timeout())
            if self._control.fileno() in ready and not self._obey():
                break
            self._wake.clear()
            self._clear_up()
            self._pay_debts()
        self._leave()

    def _timeout(self) -> float | None:
        if self._uncleared:
            self._pause = min(self._pause * 1.5, _round_limit)
            return self._pause
        self._pause = _round
        return _fork_pause if self._owed else None

    def _pay_debts(self) -> None:
        if self._owed and time.monotonic() >= self._pay_at:
            owed, self._owed = self._owed, 0
            for _ in range(owed):
                self._make_keeper()

    def _obey(self) -> bool:
        request = self._control.recv(64)
        for _ in request:  # one byte for each keeper that is wanted
            self._make_keeper()
        return bool(request)

    def _make_keeper(self) -> None:
        owners, keepers = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            pid = os.fork()
        except OSError:  # no more processes for this user, or no memory: the cases that run go on, others wait
            owners.close()
            keepers.close()
            self._owed, self._pay_at = self._owed + 1, time.monotonic() + _fork_pause
            return
        if pid == 0:
            owners.close()
            self._control.close()
            self._wake.close()
            os.close(self._life_write)
            _guarded(Keeper(keepers, self._life, self._run).serve, keepers)
        keepers.close()
        self._keepers.add(pid)
        with owners, contextlib.suppress(BrokenPipeError, ConnectionResetError):
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [owners.fileno()]))]
            self._control.sendmsg([json.dumps({"keeper": pid}).encode()], rights)

    def _clear_up(self) -> None:
        for pid, status in _reap()[0]:
            if pid in self._keepers:
                self._keepers.remove(pid)
                if status != 0:
                    self._uncleared.append(pid)
        if self._uncleared:
            strays = descendants(os.getpid(), without=self._keepers)
            send_signal(strays, signal.SIGKILL)
            if not strays:
                self._tell_cleared()

    def _tell_cleared(self) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for pid in self._uncleared:
                self._control.send(json.dumps({"gone": pid}).encode())
        self._uncleared.clear()

    def _leave(self) -> None:
        os.close(self._life_write)  # keepers hear of it, should their owner's socket be held open somewhere
        while _reap()[1]:
            send_signal(descendants(os.getpid(), without=self._keepers), signal.SIGKILL)
            _wait((self._wake.fd,), _round_limit)
            self._wake.clear()


def _guarded(serve: Callable[[], None], owner: socket.socket) -> NoReturn:
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


# --- a keeper ---------------------------------------------------------------------------------------------------------


class Keeper:
    """Watches one runner at a time and all that comes of it; ends only with its owner or the helper.

    From its owner come the job and the orders ``pause``, ``resume`` and ``end``; to it go the runner's messages and its
    own: ``ready`` with the pid of a runner, and ``ended``, always last, when no process of the case is left.
    """

    def __init__(self, owner: socket.socket, life: int, run: child.Entry):
        self._owner, self._life, self._run = owner, life, run
        self._wake = _Wake()
        self._orders = Assembler()
        self._outbox: deque[bytes] = deque()
        self._leaving = self._lost = False
        _prctl(_set_child_subreaper, 1)
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
        self._pause = _round

    def serve(self) -> None:
        """Keep runner after runner."""
        self._start_runner()
        while True:
            ready = _wait(self._listened(), self._timeout())
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
            self._pause = min(self._pause * 1.5, _round_limit)
            return self._pause
        if self._outbox:
            return _round_limit
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
            _guarded(lambda: _run(runners, output, keeper, self._run), runners)
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
            self._sweep_at, self._pause = time.monotonic() + child.sweep_grace, _round
        else:
            self._tell_swept()

    def _leftovers(self) -> list[int]:
        if has_one_child(os.getpid()) and not _has_children(self._runner_pid):
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
        ended, any_left = _reap()
        self._status = dict(ended).get(self._runner_pid, self._status)
        if self._sweep_at is not None and self._status is None:
            self._advance_sweep()
        forced = self._force_at is not None and time.monotonic() >= self._force_at
        if any_left and (forced or (self._status is not None and self._force_at is None)):
            send_signal(descendants(os.getpid()), signal.SIGKILL)
            ended, any_left = _reap()
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
            time.sleep(_round_limit)  # a runner that ends before its case: whatever ended it may end the next one too
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


def _has_children(pid: int) -> bool:
    """Whether any thread of `pid` has a child; True where it can't be said."""
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:  # noqa: PTH123
                if file.read().strip():
                    return True
    except OSError:
        return True
    return False


def _words_of(status: int | None) -> dict[str, int | None]:
    if status is None:
        return {"exit": None, "signal": None}
    if os.WIFSIGNALED(status):
        return {"exit": None, "signal": os.WTERMSIG(status)}
    return {"exit": os.WEXITSTATUS(status), "signal": None}


# --- a runner ---------------------------------------------------------------------------------------------------------


def _run(owner: socket.socket, output: int, keeper: int, run: child.Entry) -> None:
    """The life of a runner: wait for one job, do it, end."""
    _prctl(_set_death_signal, signal.SIGKILL)
    if os.getppid() != keeper:
        return
    os.setsid()
    child.lower_priority()
    _connect_streams(output)
    child.begin_afresh()
    assembler = Assembler()
    while packet := owner.recv(socket_limit + 1):
        job = assembler.feed(packet)
        if job is not None:
            owner.send(BEGUN)
            child.leave(child.run_job(run, job, child.Report(owner.send, lambda: _sweep(owner), socket_limit)))


def _sweep(owner: socket.socket) -> None:
    owner.send(SWEEP)
    owner.recv(16)


def _connect_streams(output: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
