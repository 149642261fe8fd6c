"""Ending in order: signals set an event, the command looks at it and ends what it started."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")


@contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """An event that Ctrl+C, SIGTERM and the end of the terminal set; only the main thread may use it."""
    stop = threading.Event()
    before = {
        number: signal.signal(number, lambda *_: stop.set())
        for number in (getattr(signal, name) for name in _names if hasattr(signal, name))
    }
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
