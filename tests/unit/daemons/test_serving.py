"""The wait of a daemon for the one before it."""

from __future__ import annotations

import multiprocessing
import threading

import pytest
from filelock import FileLock

from gridcompute.daemons.serving import _wait_for_turn
from tests.support.waiting import wait_for


@pytest.fixture
def waiting(tmp_path):
    """A daemon that waits for the one before it: that one's lock, the pipe, and what it was told at last."""
    before = FileLock(tmp_path / "process.lock", thread_local=False)
    before.acquire()
    ours, theirs = multiprocessing.Pipe()
    commands: list[tuple] = []
    answers: list[bool] = []
    lock = FileLock(tmp_path / "process.lock", thread_local=False)
    thread = threading.Thread(target=lambda: answers.append(_wait_for_turn(lock, theirs, commands)))
    thread.start()
    yield before, ours, commands, answers
    ours.close()
    before.release()
    thread.join(10.0)
    lock.release()
    theirs.close()


def test_a_daemon_that_waits_for_the_one_before_it_forgets_no_command(waiting):
    before, pipe, commands, answers = waiting
    pipe.send(("processes", 3))
    pipe.send(("rules", {}))
    wait_for(lambda: len(commands) == 2, 10.0, "it hears them")
    before.release()

    wait_for(lambda: answers == [True], 10.0, "it begins")
    assert commands == [("processes", 3), ("rules", {})]


def test_a_daemon_that_is_told_to_stop_while_it_waits_never_begins(waiting):
    _, pipe, _, answers = waiting
    pipe.send(("processes", 3))
    pipe.send(("stop",))

    wait_for(lambda: answers == [False], 10.0, "it gives up")
