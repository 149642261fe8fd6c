"""``gridcompute agent``: processes lent and results received without a window."""

from __future__ import annotations

import argparse
import logging
import os
import queue
import threading
from typing import TYPE_CHECKING

from gridcompute import clock, events
from gridcompute.commands.connecting import new_server, say_news
from gridcompute.commands.signals import stop_on_signals
from gridcompute.commands.terminal import DONE, complain, say_problem, tell
from gridcompute.commands.words import number_of
from gridcompute.errors import DatabaseAway, FolderMissing, GridComputeError, ShareAway

if TYPE_CHECKING:
    from gridcompute.server import Server

log = logging.getLogger(__name__)


def default_processes() -> int:
    """The cores this process may use, less one for the person at the PC; at least one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores - 1)


def run(options: argparse.Namespace) -> int:
    """Run the daemons until a signal comes or, if told to, nothing waits or runs; returns the exit code."""
    number = default_processes() if options.processes is None else options.processes
    server = new_server(options, dedicated_process=number, patience=8.0)  # s; it asks again, and says so early
    with stop_on_signals() as stop, options.home.lock("agent", server.machine), server:
        if not _connect_patiently(server, stop):
            return DONE
        server.create_daemons()
        lent = number_of(number, "process", "es")
        tell(f"Agent of {server.party.user} on {server.machine}: {lent} for {server.server_path}")
        _run_agent(server, stop, until_idle=options.until_idle)
    return DONE


def _connect_patiently(server: Server, stop: threading.Event) -> bool:
    """Connect; a share or database that is away is said once and waited for. False: stopped meanwhile."""
    pauses = clock.Backoff(0.5, 10.0)
    said = ""
    while not stop.is_set():
        try:
            server.connect()
            say_news(server)
            return True
        except (DatabaseAway, ShareAway, FolderMissing) as exc:
            problem = str(exc)
        if problem != said:
            complain(f"{problem} Waiting for it.")
            said = problem
        stop.wait(pauses.next())
    return False


def _run_agent(server: Server, stop: threading.Event, *, until_idle: bool) -> None:
    next_look = 0.0
    while not stop.is_set():
        try:
            _say(server.event_queue.get(timeout=0.2))
        except queue.Empty:
            pass
        if until_idle and clock.monotonic() >= next_look:
            next_look = clock.monotonic() + 0.5
            try:
                if server.idle():
                    return
            except GridComputeError as exc:
                log.debug("Cannot ask whether anything waits: %s", exc)


def _say(event: events.Event) -> None:
    """One line for what a person at a server's console wants to see."""
    kind = event["type"]
    say_problem(event)
    if kind == "info" or (kind == "state" and event["name"] == "ok"):
        tell(event["message"])
    elif kind == "add my process":
        row = event["process"]
        tell(f"case {row['id']} ({row['application']} of {row['origin']}) starts")
    elif kind == "remove my process":
        tell(f"case {event['id']} ends here: {event['outcome']}")
    elif kind == "case received":
        tell(f"case {event['id']} ({event['application']}) is received")
    elif kind == "case failed":
        complain(f"case {event['id']} ({event['application']}) could not be received: {event['message']}")
