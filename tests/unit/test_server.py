"""The parts of `Server` that need no grid."""

from __future__ import annotations

from gridcompute.server import DaemonProcess, is_running


def test_a_daemon_that_was_asked_to_stop_is_not_started_again():
    """It was, when it ended by itself at that moment; then nobody told the new one to stop, and the program hung."""
    daemon = DaemonProcess("receive", lambda *_: None, server=None)  # type: ignore[arg-type]
    daemon.ask_to_stop()
    daemon.start()
    assert daemon.pid is None and not daemon.alive
    daemon.wait(0.0)


def test_what_keeps_a_method_running_may_be_a_value_a_function_or_a_variable_of_tk():
    class Variable:
        def get(self) -> int:
            return 0

    assert is_running(True) and is_running(lambda: 1)
    assert not is_running(Variable()) and not is_running(lambda: False)
