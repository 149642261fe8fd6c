"""What the daemons decide by time alone, with a clock that the test moves: the bell, leases, troubles, the bench."""

from __future__ import annotations

import threading

import pytest

from gridcompute import config
from gridcompute.daemons import loop
from gridcompute.daemons.loop import Bell, ObservedLeases, Trouble, trouble_name
from gridcompute.daemons.process import Bench
from gridcompute.errors import (
    ArchiveError,
    ArchiveMissing,
    DatabaseAway,
    DatabaseRefused,
    DiskFull,
    ShareAway,
    VersionRefused,
)
from gridcompute.grid.database import Observed

period = 10.0
lost = 2 * period
"""Seconds for which token and beat must stand still: two periods of the observer's own clock."""


@pytest.fixture(autouse=True)
def pauses_without_jitter(monkeypatch):
    monkeypatch.setattr("random.uniform", lambda low, high: 1.0)


def case(number: int = 1, *, token: str = "t", beat: int = 0) -> Observed:
    return Observed(number, token, beat)


# --- the bell ---------------------------------------------------------------------------------------------------------


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


# --- leases of others, T7 ---------------------------------------------------------------------------------------------


def looks(leases: ObservedLeases, *moments: float, seen: Observed | None = None) -> list[list[Observed]]:
    """What each look at one candidate, at `moments`, takes for lost."""
    return [leases.look([seen or case()], moment) for moment in moments]


def test_a_lease_is_lost_after_two_periods_of_silence():
    assert looks(ObservedLeases(period), 100.0, 110.0, 119.9, 100.0 + lost) == [[], [], [], [case()]]


def test_a_first_look_never_finds_a_loss():
    """Even if the lease ran out a year ago: the observer may have started just now, after an outage of everything."""
    assert looks(ObservedLeases(period), 1_000_000.0) == [[]]


def test_a_sleeper_who_wakes_starts_his_time_anew():
    leases = ObservedLeases(period)
    leases.look([case(beat=4)], 0.0)
    leases.look([case(beat=4)], 15.0)

    assert leases.look([case(beat=5)], 20.0) == []
    assert leases.look([case(beat=5)], 35.0) == []
    assert leases.look([case(beat=5)], 20.0 + lost) == [case(beat=5)]


def test_another_claim_starts_the_time_anew():
    leases = ObservedLeases(period)
    leases.look([case(token="first")], 0.0)
    leases.look([case(token="first")], 15.0)

    assert leases.look([case(token="second")], lost) == []


def test_a_case_that_was_no_candidate_in_between_starts_anew():
    leases = ObservedLeases(period)
    leases.look([case()], 0.0)
    leases.look([], 10.0)

    assert looks(leases, 15.0, lost, 34.9, 35.0) == [[], [], [], [case()]]


def test_a_broken_read_starts_everybodys_time_anew():
    leases = ObservedLeases(period)
    looks(leases, 0.0, 10.0, 19.0)
    leases.broken()

    assert looks(leases, 25.0, 44.9, 25.0 + lost) == [[], [], [case()]]


def test_an_observer_that_slept_itself_takes_nobody_for_lost():
    """Its computer slept, or it was stopped: what it saw before tells nothing of the time between."""
    leases = ObservedLeases(period)
    looks(leases, 0.0, 10.0)

    assert looks(leases, 5000.0, 5000.0 + lost) == [[], [case()]]


def test_each_case_has_its_own_time():
    leases = ObservedLeases(period)
    leases.look([case(1)], 0.0)
    leases.look([case(1), case(2)], 10.0)

    assert leases.look([case(1), case(2)], lost) == [case(1)]
    assert leases.look([case(2)], 10.0 + lost) == [case(2)]


def test_a_loss_is_told_again_until_it_is_acted_upon():
    """The write that takes a case back may fail; the next look tries it again."""
    assert looks(ObservedLeases(period), 0.0, lost, lost + 5.0) == [[], [case()], [case()]]


# --- named states -----------------------------------------------------------------------------------------------------


@pytest.fixture
def told() -> list[tuple[str, str]]:
    return []


@pytest.fixture
def trouble(told) -> Trouble:
    return Trouble("process", lambda event: told.append((event["name"], event["message"])))


def test_a_trouble_is_said_once_when_entered_and_once_when_left(trouble, told):
    for moment in (0.0, 1.0, 2.0):
        trouble.enter(loop.SHARE_AWAY, "The share is away.", moment)
    trouble.leave(loop.SHARE_AWAY, "It is back.")
    trouble.leave(loop.SHARE_AWAY, "It is back.")

    assert told == [(loop.SHARE_AWAY, "The share is away."), (loop.OK, "It is back.")]


def test_a_trouble_is_tried_again_with_growing_pauses_up_to_a_limit(trouble):
    now, pauses = 0.0, []
    for _ in range(5):
        trouble.enter(loop.DISK_FULL, "full", now, first=1.0, limit=3.0)
        pauses.append(trouble.next_try(now))
        now += pauses[-1]

    assert pauses == pytest.approx([1.0, 1.5, 2.25, 3.0, 3.0])


def test_a_trouble_blocks_until_its_pause_is_over_and_lasts_until_it_is_left(trouble):
    trouble.enter(loop.DATABASE_AWAY, "away", 100.0, first=4.0)

    assert trouble.blocks(loop.DATABASE_AWAY, 103.9)
    assert not trouble.blocks(loop.DATABASE_AWAY, 104.0)
    assert loop.DATABASE_AWAY in trouble
    assert not trouble.blocks(loop.SHARE_AWAY, 103.9)


def test_leaving_one_of_two_troubles_names_the_other(trouble, told):
    trouble.enter(loop.SHARE_AWAY, "share", 0.0)
    trouble.enter(loop.DATABASE_AWAY, "database", 0.0)
    trouble.leave(loop.SHARE_AWAY, "The share is back.")

    assert told[-1] == (loop.DATABASE_AWAY, "The share is back.")


def test_a_trouble_entered_again_begins_with_the_first_pause(trouble):
    for moment in (0.0, 1.0, 5.0):
        trouble.enter(loop.SHARE_AWAY, "away", moment, first=1.0)
    trouble.leave(loop.SHARE_AWAY)
    trouble.enter(loop.SHARE_AWAY, "away", 50.0, first=1.0)

    assert trouble.next_try(50.0) == pytest.approx(1.0)


def test_without_trouble_nothing_is_due(trouble):
    assert trouble.next_try(0.0) > config.db_connect_frequency


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (DatabaseAway("x"), loop.DATABASE_AWAY),
        (DatabaseRefused("x"), loop.DATABASE_AWAY),
        (VersionRefused("x"), loop.REFUSED),
        (ShareAway("x"), loop.SHARE_AWAY),
        (DiskFull("x"), loop.DISK_FULL),
        (ArchiveMissing("x"), None),
        (ArchiveError("x"), None),
        (ValueError("x"), None),
    ],
)
def test_expected_errors_have_a_state(error, name):
    assert trouble_name(error) == name


# --- the bench, rule 4 ------------------------------------------------------------------------------------------------


def fail(bench: Bench, *users: str, now: float = 0.0, application: str = "Solver") -> list[float | None]:
    return [bench.failed(application, user, now) for user in users]


def test_failures_of_several_peoples_cases_in_a_row_bench_the_machine():
    bench = Bench()

    assert fail(bench, "anna", "ben", "anna") == [None, None, config.bench_time]
    assert bench.benched("Solver", config.bench_time - 1)
    assert not bench.benched("Solver", config.bench_time)


def test_failures_of_one_persons_cases_are_not_the_machines():
    bench = Bench()

    assert fail(bench, *["anna"] * 20) == [None] * 20
    assert not bench.benched("Solver", 0.0)


def test_a_success_ends_the_row_and_forgets_earlier_benches():
    bench = Bench()
    fail(bench, "anna", "ben")
    bench.succeeded("Solver")
    assert fail(bench, "anna", "ben") == [None, None]

    fail(bench, "anna")
    bench.succeeded("Solver")
    assert fail(bench, "anna", "ben", "anna")[-1] == config.bench_time


def test_each_bench_lasts_twice_as_long_up_to_an_hour():
    bench = Bench()
    benches = [fail(bench, "anna", "ben", "anna")[-1] for _ in range(6)]

    assert benches == [300.0, 600.0, 1200.0, 2400.0, 3600.0, 3600.0]


def test_a_bench_is_for_one_application():
    bench = Bench()
    fail(bench, "anna", "ben", "anna", application="Solver")

    assert not bench.benched("Other", 0.0)
