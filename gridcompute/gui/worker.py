"""Work beside the event loop: each lane is one thread that makes one call on the Server after another.

A result comes back as an event of type ``call done`` in the queue that everything else comes by.
"""

from __future__ import annotations

import itertools
import logging
import queue
import threading
from collections.abc import Callable
from typing import Any

log = logging.getLogger(__name__)

_numbers = itertools.count(1)


class Lane:
    """One thread that does what it is given, in order; a face has one for long work and one for short."""

    def __init__(self, name: str, events: queue.Queue[dict[str, Any]]):
        self.name = name
        self._events = events
        self._calls: queue.SimpleQueue[tuple[int, Callable[[], Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=f"window-{name}", daemon=True)
        self._thread.start()

    def do(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> int:
        """Call it in the lane's thread; returns the number that its ``call done`` will name."""
        number = next(_numbers)
        self._calls.put((number, lambda: function(*arguments, **options)))
        return number

    def end(self) -> None:
        """Take no more; what is being done is not waited for."""
        self._calls.put(None)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            number, function = call
            value, error = None, None
            try:
                value = function()
            except Exception as exc:  # noqa: BLE001 - told to whoever asked for the call
                error = exc
            self._events.put({"type": "call done", "call": number, "value": value, "error": error})
