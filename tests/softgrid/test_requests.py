"""Requests wait for their responses, and nobody looks for them in a busy loop."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from gridcompute.softgrid.errors import SoftgridError

from .conftest import call, pid_of, poll


@pytest.fixture
def grid(two_workers):
    return two_workers


def start(grid, function, receiver, **kwargs):
    """Runs a function on an executor beside what it does; nobody waits for it."""
    template = grid.get_transfer_template(function, kwargs=kwargs, priority=None, returnResult=False)
    template["first_argument_executor"] = True
    assert grid.transfer(template, receiver) is None


def echo(executor, password, count=1):
    for _ in range(count):
        request = executor.wait_for_request(password, timeout=30)[password]
        executor.transfer_response_to_requester(request["requester"], password, ("echo", request["request"]))


def test_a_request_gets_its_response_and_the_password_may_be_used_again(grid):
    worker = grid.workers[0]
    start(grid, echo, worker, password="p", count=2)
    for value in ("first", {"second": [1, 2]}):
        assert grid.transfer_request_to_responder(worker, "p", value) is None
        entry = grid.wait_for_response("p", timeout=30)["p"]
        assert entry["response"] == {"value": ("echo", value), "responder": worker}
        assert entry["response_received_utctime"] >= entry["request_sent_utctime"]
        assert (entry["request"], entry["responder"], entry["error"]) == (value, worker, None)


def test_requests_that_come_before_anybody_waits_are_kept_in_order(grid):
    worker = grid.workers[0]

    def send(executor, requester):
        for number in range(3):
            executor.transfer_request_to_responder(requester, "p", number, register=False, errorRaise=True)

    call(grid, send, worker, grid.gridUniqueName, first=True)
    taken = [grid.wait_for_request("p", timeout=5)["p"] for _ in range(3)]
    assert [item["request"] for item in taken] == [0, 1, 2]
    assert {item["requester"] for item in taken} == {worker}
    assert grid.wait_for_request(["p", "q"], timeout=[0, 0.01]) == {"p": None, "q": None}


def test_lists_go_to_each_responder_with_its_own_password(grid):
    passwords = ["p", "q"]
    for worker, password in zip(grid.workers, passwords, strict=True):
        start(grid, echo, worker, password=password)
    grid.transfer_request_to_responder(grid.workers, passwords, [10, 20], timeout=[30, None])
    entries = grid.wait_for_response(passwords, timeout=[30, 30])
    assert [entries[p]["response"]["value"] for p in passwords] == [("echo", 10), ("echo", 20)]
    with pytest.raises(ValueError, match="differ"):
        grid.transfer_request_to_responder(grid.workers, "p", 1)
    with pytest.raises(ValueError, match="request has 3 entries for 2 receivers"):
        grid.transfer_request_to_responder(grid.workers, passwords, [1, 2, 3])


def test_a_waiter_is_woken_by_the_arrival_whatever_frequency_it_names(grid):
    (worker, _) = grid.workers
    start(grid, echo, worker, password="p")
    started = time.monotonic()
    grid.transfer_request_to_responder(worker, "p", 1)
    assert grid.wait_for_response("p", timeout=50, frequency=1000)["p"]["response"]["value"] == ("echo", 1)
    assert time.monotonic() - started < 30
    before = time.process_time()
    grid.transfer_request_to_responder(worker, "p", 1)
    assert grid.wait_for_response("p", timeout=0.5, frequency=0)["p"]["response_received_utctime"] is None
    assert time.process_time() - before < 0.4


def test_a_request_wanders_on_and_the_last_one_responds(grid):
    one, other = grid.workers

    def pass_on(executor, other):
        request = executor.wait_for_request("p", timeout=30)["p"]
        executor.transfer_asynchronous_request(request["requester"], other, "p", [*request["request"], 2])

    start(grid, pass_on, one, other=other)
    start(grid, echo, other, password="p")
    grid.transfer_request_to_responder(one, "p", [1])
    response = grid.wait_for_response("p", timeout=30)["p"]["response"]
    assert response == {"value": ("echo", [1, 2]), "responder": other}


def test_a_wrong_password_and_a_responder_that_is_not_allowed_are_refused(grid):
    one, other = grid.workers

    def respond(executor, requester, password):
        return [str(s) for s in executor.transfer_response_to_requester(requester, password, 1, blocking=True)]

    grid.transfer_request_to_responder(one, "p", 1, allowedResponders=one)
    assert "no request with this password" in call(grid, respond, one, grid.gridUniqueName, "x", first=True)[0][0]
    assert "is not allowed to respond" in call(grid, respond, other, grid.gridUniqueName, "p", first=True)[0][0]
    assert "successful" in call(grid, respond, one, grid.gridUniqueName, "p", first=True)[0][0]
    assert "responded to already" in call(grid, respond, one, grid.gridUniqueName, "p", first=True)[0][0]
    assert grid.wait_for_response("p", timeout=1)["p"]["response"]["value"] == 1

    def respond_and_raise(executor, requester):
        executor.transfer_response_to_requester(requester, "x", 1, errorRaise=True)

    (status,) = call(grid, respond_and_raise, one, grid.gridUniqueName, first=True)
    assert isinstance(status.exception, SoftgridError) or "SoftgridError" in status.error


def test_a_password_in_use_and_one_whose_time_is_over(grid):
    worker = grid.workers[0]
    grid.transfer_request_to_responder(worker, "p", 1, timeout=60)
    with pytest.raises(ValueError, match="same password"):
        grid.transfer_request_to_responder(worker, "p", 2)
    grid.release_request("p")
    grid.transfer_request_to_responder(worker, "p", 3, timeout=0.05)
    assert grid.wait_for_response("p", timeout=30)["p"]["response_received_utctime"] is None
    grid.transfer_request_to_responder(worker, "p", 4)
    grid.release_request(["p", "never used"])


def test_a_release_wakes_who_waits_here_and_there(grid):
    found = []
    grid.transfer_request_to_responder(grid.workers[0], "p", 1)
    waiting = threading.Thread(target=lambda: found.append(grid.wait_for_response("p", timeout=50)["p"]))
    waiting.start()
    poll(lambda: grid._requests._waits)
    assert grid.release_request("p")
    waiting.join(10)
    assert found[0]["response_received_utctime"] is None

    def wait(executor):
        return executor.wait_for_request("q", timeout=50)

    results = []
    there = threading.Thread(target=lambda: results.append(call(grid, wait, grid.workers[1], first=True, timeout=60)))
    there.start()

    def release():
        return grid.transfer_release_request([grid.workers[1]], ["q"]) and not there.is_alive()

    poll(release)
    assert results == [[{"q": None}]]


def test_a_request_to_an_executor_that_is_gone_fails_at_once(grid):
    gone = grid.workers[0]
    os.kill(pid_of(gone), signal.SIGKILL)
    poll(lambda: gone not in grid.workers)
    grid.transfer_request_to_responder(gone, "p", 1, errorLog=False)
    started = time.monotonic()
    entry = grid.wait_for_response("p", timeout=50)["p"]
    assert gone in entry["error"] and entry["response"]["value"] is None
    assert time.monotonic() - started < 20
    with pytest.raises(SoftgridError, match="does not belong"):
        grid.transfer_request_to_responder(gone, "p", 1, errorRaise=True, errorLog=False)

    def pass_on(executor, gone):
        request = executor.wait_for_request("p", timeout=30)["p"]
        executor.transfer_asynchronous_request(request["requester"], gone, "p", 0)

    start(grid, pass_on, grid.workers[0], gone=gone)
    grid.transfer_request_to_responder(grid.workers[0], "p", 1)
    assert gone in grid.wait_for_response("p", timeout=50)["p"]["error"]


def test_ending_an_executor_ends_its_waits(grid):
    found = []
    waiting = threading.Thread(target=lambda: found.append(grid.wait_for_request("p", timeout=None)))
    waiting.start()
    poll(lambda: grid._requests._waits)
    grid.disconnect(kill=False)
    waiting.join(10)
    assert found == [{"p": None}]
