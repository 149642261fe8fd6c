"""The named states of a daemon and their growing pauses, with a clock that the test moves."""

from __future__ import annotations

import threading

import pytest

from gridcompute import config
from gridcompute.daemons import trouble as names
from gridcompute.daemons.trouble import Trouble, trouble_name
from gridcompute.errors import (
    ArchiveError,
    ArchiveMissing,
    DatabaseAway,
    DatabaseError,
    DatabaseRefused,
    DiskFull,
    ShareAway,
    VersionRefused,
)


@pytest.fixture(autouse=True)
def pauses_without_jitter(monkeypatch):
    monkeypatch.setattr("random.uniform", lambda low, high: 1.0)


@pytest.fixture
def told() -> list[tuple[str, str]]:
    return []


@pytest.fixture
def trouble(told) -> Trouble:
    return Trouble("process", lambda event: told.append((event["name"], event["message"])))


def test_a_trouble_that_a_worker_thread_meets_while_the_loop_asks_disturbs_nobody(trouble, told):
    workers: list[threading.Thread] = []

    class Now(float):
        """Opens the door to the worker just while the loop looks at one trouble after the other."""

        def __rsub__(self, until: float) -> float:
            if not workers:
                workers.append(threading.Thread(target=trouble.enter, args=(names.DISK_FULL, "full", 0.0)))
                workers[0].start()
                workers[0].join(0.1)
            return until - float(self)

    trouble.enter(names.SHARE_AWAY, "away", 0.0, first=3.0)
    assert trouble.next_try(Now(1.0)) == pytest.approx(2.0)

    workers[0].join(10.0)
    assert names.DISK_FULL in trouble


def test_a_trouble_is_said_once_when_entered_and_once_when_left(trouble, told):
    for moment in (0.0, 1.0, 2.0):
        trouble.enter(names.SHARE_AWAY, "The share is away.", moment)
    trouble.leave(names.SHARE_AWAY, "It is back.")
    trouble.leave(names.SHARE_AWAY, "It is back.")

    assert told == [(names.SHARE_AWAY, "The share is away."), (names.OK, "It is back.")]


def test_a_trouble_that_comes_again_soon_goes_on_with_its_pauses(trouble):
    """A probe of the share passes, and the next case can't put its result there either."""
    now, pauses = 0.0, []
    for _ in range(4):
        trouble.enter(names.SHARE_AWAY, "no right", now, first=1.0, limit=3.0, together=60.0)
        pauses.append(trouble.next_try(now))
        now += pauses[-1]
        trouble.leave(names.SHARE_AWAY)
    assert pauses[0] < pauses[1] < pauses[2] <= pauses[3]
    trouble.enter(names.SHARE_AWAY, "no right", now + 60.0, first=1.0, limit=3.0, together=60.0)
    assert trouble.next_try(now + 60.0) == pauses[0]


def test_a_trouble_is_tried_again_with_growing_pauses_up_to_a_limit(trouble):
    now, pauses = 0.0, []
    for _ in range(5):
        trouble.enter(names.DISK_FULL, "full", now, first=1.0, limit=3.0)
        pauses.append(trouble.next_try(now))
        now += pauses[-1]

    assert pauses == pytest.approx([1.0, 1.5, 2.25, 3.0, 3.0])


def test_a_trouble_blocks_until_its_pause_is_over_and_lasts_until_it_is_left(trouble):
    trouble.enter(names.DATABASE_AWAY, "away", 100.0, first=4.0)

    assert trouble.blocks(names.DATABASE_AWAY, 103.9)
    assert not trouble.blocks(names.DATABASE_AWAY, 104.0)
    assert names.DATABASE_AWAY in trouble
    assert not trouble.blocks(names.SHARE_AWAY, 103.9)


def test_leaving_one_of_two_troubles_names_the_other(trouble, told):
    trouble.enter(names.SHARE_AWAY, "share", 0.0)
    trouble.enter(names.DATABASE_AWAY, "database", 0.0)
    trouble.leave(names.SHARE_AWAY, "The share is back.")

    assert told[-1] == (names.DATABASE_AWAY, "The share is back.")


def test_a_trouble_entered_again_begins_with_the_first_pause(trouble):
    for moment in (0.0, 1.0, 5.0):
        trouble.enter(names.SHARE_AWAY, "away", moment, first=1.0)
    trouble.leave(names.SHARE_AWAY)
    trouble.enter(names.SHARE_AWAY, "away", 50.0, first=1.0)

    assert trouble.next_try(50.0) == pytest.approx(1.0)


def test_without_trouble_nothing_is_due(trouble):
    assert trouble.next_try(0.0) > config.db_connect_frequency


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (DatabaseAway("x"), names.DATABASE_AWAY),
        (DatabaseError("x"), names.DATABASE_REFUSES),
        (DatabaseRefused("x"), names.DATABASE_REFUSES),
        (VersionRefused("x"), names.REFUSED),
        (ShareAway("x"), names.SHARE_AWAY),
        (DiskFull("x"), names.DISK_FULL),
        (ArchiveMissing("x"), None),
        (ArchiveError("x"), None),
        (ValueError("x"), None),
    ],
)
def test_expected_errors_have_a_state(error, name):
    assert trouble_name(error) == name
