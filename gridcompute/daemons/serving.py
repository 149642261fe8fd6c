"""A daemon in a process of its own: its log, its lock, its end."""

from __future__ import annotations

import logging
import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from gridcompute.daemons.loop import Daemon, Orders
from gridcompute.machine.home import Home, set_up_logging

log = logging.getLogger(__name__)


def serve(kind: type[Daemon], orders: Orders, connection: Connection) -> None:
    """Run a daemon in its own process until it is told to stop or its front end is gone, then end the process.

    One process daemon runs for one per-user folder, one receive daemon for each machine's name in it: a second one
    waits until the first, whose front end may just have been killed, has given back what it held.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl+C in the terminal is the front end's to answer
    if hasattr(signal, "pthread_sigmask"):  # it was blocked while this process began, which a case shall not inherit
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    home = Home(Path(orders.home))
    set_up_logging(home, kind.name)
    code = 0
    lock = FileLock(home.path / f"{kind.lock_name(orders.party)}.lock")
    try:
        commands: list[tuple[Any, ...]] = []
        if _wait_for_turn(lock, connection, commands):
            daemon = kind(orders, connection)
            daemon.hear_commands(commands)
            signal.signal(signal.SIGTERM, daemon.ask_to_stop)
            daemon.run()
            lock.release()
    except Exception:
        log.exception("The %s daemon failed", kind.name)
        code = 1
    connection.close()
    logging.shutdown()
    # A worker thread that hangs on a share that went away must not keep the process.
    os._exit(code)


def _wait_for_turn(lock: FileLock, connection: Connection, commands: list[tuple[Any, ...]]) -> bool:
    """Take the lock; False if the front end wants no daemon any more. Other commands are kept in `commands`."""
    while True:
        try:
            lock.acquire(timeout=0.5)
            return True
        except Timeout:
            try:
                while connection.poll():
                    commands.append(connection.recv())
            except (EOFError, OSError):
                return False
            if any(command[0] == "stop" for command in commands):
                return False
