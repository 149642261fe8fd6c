"""A runner: the forked process that waits for one job and does it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys

from gridcompute.machine import child
from gridcompute.machine.forking.parent import prctl, set_death_signal
from gridcompute.machine.packets import BEGUN, SWEEP, Assembler, socket_limit


def run_forked(owner: socket.socket, output: int, keeper: int, run: child.Entry) -> None:
    """The life of a runner: wait for one job, do it, end."""
    prctl(set_death_signal, signal.SIGKILL)
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
