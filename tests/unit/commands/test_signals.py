"""Ending in order, whatever the main thread does when a signal comes."""

import signal

import pytest

from gridcompute.commands.signals import stop_on_signals


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_that_comes_while_the_lock_of_the_event_is_held_is_not_lost_and_holds_nothing_up(name):
    before = signal.getsignal(getattr(signal, name))
    with stop_on_signals() as stop:
        with stop._cond:  # as in the first steps of `stop.wait`
            signal.raise_signal(getattr(signal, name))
        assert stop.wait(20)
    assert signal.getsignal(getattr(signal, name)) is before


def test_two_signals_at_once_are_as_one():
    with stop_on_signals() as stop:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        assert stop.wait(20)
