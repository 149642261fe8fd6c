"""When a lease of another is lost, with a clock that the test moves."""

from __future__ import annotations

from gridcompute.daemons.leases import ObservedLeases
from gridcompute.grid.cases import Observed

period = 10.0
lost = 2 * period
"""Seconds for which token and beat must stand still: two periods of the observer's own clock."""


def case(number: int = 1, *, token: str = "t", beat: int = 0) -> Observed:
    return Observed(number, token, beat)


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
