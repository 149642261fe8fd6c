"""A command's way to the grid."""

from __future__ import annotations

import argparse
import contextlib
import queue
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gridcompute import events
from gridcompute.commands.terminal import say_problem

if TYPE_CHECKING:
    from gridcompute.server import Server


def new_server(options: argparse.Namespace, **arguments: Any) -> Server:
    """The server that the options name, with no connection yet."""
    from gridcompute.server import Server

    return Server(queue.Queue(), folder=options.server, machine=options.machine, home=options.home, **arguments)


@contextmanager
def connected(options: argparse.Namespace) -> Iterator[Server]:
    """A server that is connected; warnings of the way go to standard error."""
    with new_server(options) as server:
        server.open()
        drain(server)  # what is odd about some application is no news for whoever looks at cases; the log has it
        server.connect()
        say_news(server)
        yield server


def drain(server: Server) -> list[events.Event]:
    """The events that wait in the queue; none is left there."""
    found = []
    with contextlib.suppress(queue.Empty):
        while True:
            found.append(server.event_queue.get_nowait())
    return found


def say_news(server: Server) -> None:
    """Print the warnings and errors that wait in the queue, leave nothing in it."""
    for event in drain(server):
        say_problem(event)
