"""What a daemon holds: lost tokens, the write that ends a case, and claims whose reply was lost."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path

import pytest

from gridcompute.daemons.holding import Claims, Held, Holdings
from gridcompute.grid.cases import Case


class Child:
    def __init__(self) -> None:
        self.graces: list[float] = []

    def end(self, grace: float) -> None:
        self.graces.append(grace)


@pytest.fixture
def make_held():
    def make(token: str = "t") -> Held:
        return Held(Case(1, "App", "processing"), token, Path("work"), 0.0, child=Child())

    return make


class Writes:
    """The write that ends a case; `faults` are met first."""

    def __init__(self) -> None:
        self.faults: list[Exception] = []
        self.written: list[str] = []

    def settle(self, one: Held) -> str:
        if self.faults:
            raise self.faults.pop(0)
        self.written.append(one.token)
        return "done"

    def work(self, function, *arguments) -> Future[str]:
        future: Future[str] = Future()
        try:
            future.set_result(function(*arguments))
        except RuntimeError as exc:
            future.set_exception(exc)
        return future


@pytest.fixture
def writes() -> Writes:
    return Writes()


@pytest.fixture
def holdings(writes) -> Holdings[Held]:
    return Holdings(writes.settle, writes.work, lambda exc, now, what: now + 5.0)


def test_what_is_lost_is_ended_at_once_and_only_once(holdings, make_held):
    one = make_held()
    holdings.add(one)
    holdings.lose(["t", "a token of before"])
    holdings.lose(["t"])

    assert holdings.drop_lost() == [one] and holdings.drop_lost() == []
    assert (one.ending, one.child.graces) == ("lost", [0.0])


def test_what_has_ended_by_itself_is_left_to_its_guarded_write(holdings, make_held, writes):
    """The heartbeat may have missed the token because that write had just gone through."""
    one = make_held()
    holdings.add(one)
    one.ended = {"exit": 0}
    holdings.lose(["t"])

    assert holdings.drop_lost() == [] and one.ending == ""
    assert holdings.settle_ended(1.0) == []
    assert holdings.settle_ended(1.0) == [(one, "done")] and holdings == {}


def test_a_write_that_failed_is_tried_again_and_nothing_is_forgotten_meanwhile(holdings, make_held, writes):
    one = make_held()
    holdings.add(one)
    one.ended = {"exit": 0}
    writes.faults.append(RuntimeError("a fault"))
    for moment in (10.0, 10.0, 14.9):
        assert holdings.settle_ended(moment) == []
    assert writes.written == [] and holdings == {"t": one}

    holdings.settle_ended(15.0)
    assert holdings.settle_ended(15.0) == [(one, "done")]


def test_the_first_reason_for_an_end_counts_but_a_loss_ends_it_at_once(make_held):
    one = make_held()
    one.end("time limit")
    one.end("quit", grace=3.0)
    assert (one.ending, one.child.graces) == ("time limit", [1.0])

    one.end("lost")
    assert (one.ending, one.child.graces) == ("lost", [1.0, 0.0])


def test_a_claim_whose_reply_was_lost_is_asked_about_before_the_next_is_sent():
    granted: dict[str, Case] = {}
    claims = Claims(granted.get)

    def granted_without_a_reply(token: str) -> Case:
        granted[token] = Case(1, "App", "processing")
        raise ConnectionError

    with pytest.raises(ConnectionError):
        claims.send(granted_without_a_reply)

    found = claims.send(lambda token: pytest.fail("a second claim was sent"))
    assert found is not None and granted[found[1]] is found[0]
    assert claims.send(lambda token: None) is None
