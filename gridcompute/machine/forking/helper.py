"""The helper: a small process that forks keepers for its owner."""

from __future__ import annotations

import array
import contextlib
import gc
import json
import os
import signal
import socket
import time

from gridcompute.machine import child
from gridcompute.machine.forking.keeper import Keeper
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
from gridcompute.machine.forking.process_table import descendants, send_signal

_fork_pause = 1.0


def main(control: int, entry: str) -> None:
    """The life of the helper; `control` is its end of the socket to the owner, `entry` names what runners call."""
    os.chdir("/")
    prctl(set_child_subreaper, 1)
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
        self._wake = Wake()
        self._life, self._life_write = os.pipe()
        self._keepers: set[int] = set()
        self._uncleared: list[int] = []  # keepers that died by force, whose orphans may still be there
        self._pause = round_pause
        self._owed, self._pay_at = 0, 0.0  # keepers that could not be forked, and when to try again

    def serve(self) -> None:
        """Work until the owner's end of the socket is closed and no child is left."""
        while True:
            ready = wait((self._control.fileno(), self._wake.fd), self._timeout())
            if self._control.fileno() in ready and not self._obey():
                break
            self._wake.clear()
            self._clear_up()
            self._pay_debts()
        self._leave()

    def _timeout(self) -> float | None:
        if self._uncleared:
            self._pause = min(self._pause * 1.5, round_limit)
            return self._pause
        self._pause = round_pause
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
            guarded(Keeper(keepers, self._life, self._run).serve, keepers)
        keepers.close()
        self._keepers.add(pid)
        with owners, contextlib.suppress(BrokenPipeError, ConnectionResetError):
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [owners.fileno()]))]
            self._control.sendmsg([json.dumps({"keeper": pid}).encode()], rights)

    def _clear_up(self) -> None:
        for pid, status in reap()[0]:
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
        while reap()[1]:
            send_signal(descendants(os.getpid(), without=self._keepers), signal.SIGKILL)
            wait((self._wake.fd,), round_limit)
            self._wake.clear()
