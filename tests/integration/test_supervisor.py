"""A daemon's process that ends unasked is started again, on a computer that cannot start one at once too."""

from __future__ import annotations

import errno
import threading
from typing import Any

from gridcompute.daemons.supervisor import DaemonProcess
from tests.support.waiting import wait_for


def end_at_once(orders: Any, connection: Any) -> None:
    connection.send({"type": "info", "message": orders})


def test_a_daemon_is_started_again_until_the_system_can(monkeypatch):
    heard: list[dict[str, Any]] = []
    ends = threading.Event()
    tries = iter(["first", OSError(errno.EAGAIN, "Resource temporarily unavailable"), "third"])

    def orders() -> Any:
        """The system's refusal of a new process comes from the same call, which can't be caused for one process."""
        said = next(tries, None)
        if said is None:
            ends.set()
        if isinstance(said, OSError):
            raise said
        return said

    daemon = DaemonProcess("receive", end_at_once, orders=orders, hear=heard.append, stopping=threading.Event())
    monkeypatch.setattr("random.uniform", lambda low, high: 0.1)  # of the pauses
    daemon.start()

    wait_for(ends.is_set, 30.0, "it was started three times")
    daemon.ask_to_stop()
    daemon.wait(10.0)
    said = [one["message"] for one in heard if one["type"] in ("info", "warning")]
    assert said[0] == "first" and said[1].startswith("Cannot start the receive daemon: ") and said[2] == "third"
