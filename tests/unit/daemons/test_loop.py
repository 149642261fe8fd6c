"""The bell that wakes a daemon."""

from __future__ import annotations

import threading

from gridcompute.daemons.loop import Bell


def test_a_ring_before_the_wait_is_not_lost():
    bell = Bell()
    bell.ring("to process")
    bell.ring("cancelled")
    bell.ring("to process")

    assert bell.wait(60.0) == {"to process", "cancelled"}
    assert bell.wait(0.0) == set()


def test_a_ring_wakes_the_one_who_waits():
    bell, heard = Bell(), []
    waiter = threading.Thread(target=lambda: heard.append(bell.wait(60.0)))
    waiter.start()

    bell.ring("stop")
    waiter.join(10.0)

    assert heard == [{"stop"}]


def test_a_wait_that_is_due_already_returns_at_once():
    assert Bell().wait(-5.0) == set()
