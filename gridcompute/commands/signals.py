"""Ending in order: signals set an event, the command looks at it and ends what it started."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")


@contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """An event that Ctrl+C, SIGTERM and the end of the terminal set; only the main thread may use it.

    Whoever started the program with nohup wants it to outlive the terminal.
    """
    stop = threading.Event()
    numbers = [getattr(signal, name) for name in _names if hasattr(signal, name)]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        numbers.remove(signal.SIGHUP)

    def on_signal(*_: object) -> None:
        # A handler runs between two steps of the main thread, which may be waiting for the event and hold its lock.
        threading.Thread(target=stop.set, name="stop", daemon=True).start()

    before = {number: signal.signal(number, on_signal) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
