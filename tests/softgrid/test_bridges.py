"""A bridge is the way between its two ends, and the tree is the way when it breaks."""

from __future__ import annotations

import os
import signal
import threading
import time

import numpy
import pytest

from .conftest import call, launch, pid_of, poll


@pytest.fixture
def grid(shelf):
    """Two managers with a worker each: their workers are four steps apart."""

    def fill(orchestrator):
        for manager in launch(orchestrator, "manager", 2):
            launch(orchestrator, "worker", 1, manager)

    yield shelf.take("two branches", fill, manager_allow_executing_udf=True)
    shelf.put_back("two branches")


def frames_through(executor):
    """What an executor has written to and read from its neighbours so far, in frames."""
    return sum(link._outbox.number + link._received for link in executor._node.links())


def call_private(grid, receiver, function, *args):
    return call(grid, function, receiver, *args, first=True, priority=None)[0]


def ask_twenty(executor, other, allow=True):
    template = executor.get_transfer_template("gridUniqueName", priority=None)
    return [executor.transfer(template, other, allow, collect=True, transferTimeout=30)[0] for _ in range(20)]


def test_transfers_between_its_ends_take_the_bridge_unless_that_is_not_allowed(grid):
    one, other = grid.workers
    status = grid.build_bridge(other, one)
    assert status, str(status)
    assert status.data["bridge_password"] not in str(status) + repr(status)
    assert (status.data["bridge_from"], status.data["bridge_to"]) == (one, other)
    manager = grid.managers[1]

    def frames(*args):
        before = call_private(grid, manager, frames_through)
        assert call_private(grid, one, ask_twenty, other, *args) == [other] * 20
        return call_private(grid, manager, frames_through) - before

    assert frames() < 20
    assert frames(False) >= 40
    assert frames(None) < 20


def test_bridges_are_told_once_or_by_both_ends(grid):
    one, other = grid.workers
    assert grid.build_bridge(other, one)
    assert grid.build_bridge(one), "from the orchestrator itself, over the manager between them"
    errors, found = grid.get_executors_bridges()
    assert not errors
    assert found[one] == [(one, other), (grid.gridUniqueName, one)] and found[other] == []
    assert sum(map(len, found.values())) == 2
    errors, found = grid.get_executors_bridges([one, other], keepDuplicates=True)
    assert found[other] == [(one, other)] and len(found[one]) == 2
    assert grid.bridges == [(grid.gridUniqueName, one)]
    gone = "worker|Gone@127.0.0.1[1]:2"
    errors, found = grid.get_executors_bridges([gone, other])
    assert gone in errors[0].error and set(found) == {other}


def test_a_bridge_is_destroyed_by_who_knows_its_password(grid, capfd):
    one, other = grid.workers
    password = grid.build_bridge(other, one).data["bridge_password"]
    assert "already" in grid.build_bridge(one, other).error
    assert not grid.destroy_bridge(other, "another one")
    status = grid.destroy_bridge(other, password)
    assert status, str(status)
    poll(lambda: grid.get_executors_bridges()[1] == {name: [] for name in [*grid.managers, one, other]})
    assert call_private(grid, one, ask_twenty, other) == [other] * 20
    assert not grid.destroy_bridge(other, password)
    assert grid.build_bridge(other, one)

    def destroy(executor, other, password):
        return str(executor.destroy_bridge(other, password))

    assert "password is wrong" in call_private(grid, one, destroy, other, password), "of the bridge before"
    grid.transfer_to_executor_and_log(one, "info", "the last log")
    seen = []
    poll(lambda: seen.append(capfd.readouterr().out) or "the last log" in "".join(seen))
    assert "broke" not in "".join(seen)


def test_bridges_that_make_no_sense_or_that_nobody_answers_are_refused(grid):
    one, _ = grid.workers
    assert "two executors" in grid.build_bridge(one, one).error
    assert "directly already" in grid.build_bridge(one, grid.paths["worker"][one][-1]).error
    assert "no grid unique name" in grid.build_bridge("nobody").error
    assert "does not belong" in grid.build_bridge("worker|Gone@127.0.0.1[1]:2").error
    os.kill(pid_of(one), signal.SIGSTOP)
    try:
        assert "within 0.2 s" in grid.build_bridge(one, timeout=0.2).error
        (status,), _ = grid.get_executors_bridges(one, timeout=0.2)
    finally:
        os.kill(pid_of(one), signal.SIGCONT)
    assert "within 0.2 s" in status.error


def count_up(executor, step):
    executor.counted = getattr(executor, "counted", 0) + 1
    return step


def send_many(executor, other, count):
    """Transfers that count at the other end while somebody cuts the bridge."""
    template = executor.get_transfer_template(count_up, priority=1)
    template["first_argument_executor"] = True
    templates = [{**template, "args": (number,), "kwargs": {}} for number in range(count)]
    answers = executor.transfer(templates, [other] * count, collect=True, transferTimeout=60)
    return [number for number, answer in enumerate(answers) if answer != number]


def cut(executor, name):
    bridge = executor._node.bridges.get(name)
    bridge.link.cut("the test cuts it")
    return True


@pytest.mark.parametrize("end", [0, 1])
def test_what_is_under_way_when_a_bridge_breaks_arrives_once_by_the_tree(grid, end, capfd):
    one, other = grid.workers
    assert grid.build_bridge(other, one)
    wrong = []
    sending = threading.Thread(target=lambda: wrong.append(call_private(grid, one, send_many, other, 1500)))
    sending.start()
    poll(lambda: call(grid, lambda e: getattr(e, "counted", 0), other, first=True, priority=None)[0] > 100)
    assert call_private(grid, grid.workers[end], cut, grid.workers[1 - end])
    sending.join(60)
    assert wrong == [[]]
    assert call(grid, lambda e: e.counted, other, first=True) == [1500]
    poll(lambda: grid.get_executors_bridges([one, other])[1] == {one: [], other: []})
    poll(lambda: "broke: " in capfd.readouterr().out)


def test_a_big_value_under_way_when_a_bridge_breaks_arrives_whole(grid):
    one, other = grid.workers
    assert grid.build_bridge(other, one)

    def send_big(executor, other):
        import threading

        data = bytes(range(256)) * 400_000
        link = executor._node.bridges.get(other).link
        threading.Timer(0.02, link.cut, ("the test cuts it",)).start()
        template = executor.get_transfer_template(lambda d: (len(d), d[:3]), args=(data,), priority=None)
        return executor.transfer(template, other, collect=True, transferTimeout=60)

    assert call_private(grid, one, send_big, other) == [(102_400_000, b"\0\1\2")]
    array = numpy.arange(100_000)
    assert grid.build_bridge(other, one)

    def send_array(executor, other, array):
        template = executor.get_transfer_template(lambda a: a + 1, args=(array,), priority=None)
        return executor.transfer(template, other, collect=True, transferTimeout=60)[0]

    assert (call_private(grid, one, send_array, other, array) == array + 1).all()


def test_the_loss_of_an_end_fails_what_it_ran_for_the_other(grid):
    one, other = grid.workers
    assert grid.build_bridge(other, one)

    def wait_for_it(executor, other):
        def stay():
            import time

            time.sleep(60)

        template = executor.get_transfer_template(stay, priority=None)
        return str(executor.transfer(template, other, collect=True)[0])

    answers = []
    waiting = threading.Thread(target=lambda: answers.append(call_private(grid, one, wait_for_it, other)))
    waiting.start()
    poll(lambda: grid._loads([other])[other] == 1)
    # Acknowledged: what is not would go by the tree.
    poll(lambda: not call_private(grid, one, lambda e, name: len(e._node.bridges.get(name).kept), other))
    started = time.monotonic()
    os.kill(pid_of(other), signal.SIGKILL)
    waiting.join(30)
    assert time.monotonic() - started < 20
    assert other in answers[0] and "cannot answer" in answers[0]


def test_requests_and_responses_take_the_bridge_too(grid):
    one, other = grid.workers
    assert grid.build_bridge(one, other)

    def respond(executor, count):
        for _ in range(count):
            request = executor.wait_for_request("p", timeout=30)["p"]
            executor.transfer_response_to_requester(request["requester"], "p", request["request"] + 1)

    def ask(executor, responder, count):
        value = 0
        for _ in range(count):
            executor.transfer_request_to_responder(responder, "p", value)
            value = executor.wait_for_response("p", timeout=30)["p"]["response"]["value"]
        return value

    before = call_private(grid, grid.managers[0], frames_through)
    template = grid.get_transfer_template(respond, args=(20,), priority=None, returnResult=False)
    template["first_argument_executor"] = True
    grid.transfer(template, other)
    assert call_private(grid, one, ask, other, 20) == 20
    assert call_private(grid, grid.managers[0], frames_through) - before < 30
