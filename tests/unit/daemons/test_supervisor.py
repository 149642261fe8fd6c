"""The program's side of a daemon's process, as far as it starts none."""

from __future__ import annotations

import threading

from gridcompute.daemons.supervisor import DaemonProcess


def test_a_daemon_that_was_asked_to_stop_is_not_started_again():
    """It was, when it ended by itself at that moment; then nobody told the new one to stop, and the program hung."""
    daemon = DaemonProcess("receive", print, orders=list, hear=print, stopping=threading.Event())  # type: ignore[arg-type]
    daemon.ask_to_stop()
    daemon.start()
    assert daemon.pid is None and not daemon.alive
    daemon.wait(0.0)
