"""Functions go to executors and their results come back."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

import numpy
import pytest

from gridcompute.softgrid.Collections import SoftgridStatus

from .conftest import Door, call, launch, pid_of, poll, process_is_gone


@pytest.fixture
def grid(two_workers):
    return two_workers


def power(n, p):
    return n**p


def test_a_function_comes_back_with_its_result(grid):
    assert call(grid, power, grid.workers, 10, 6) == [1000000, 1000000]


def test_a_closure_a_lambda_source_text_and_a_method_can_be_sent(grid):
    factor = 3

    def times(x):
        return helper(x) * factor

    def helper(x):
        return x + 1

    assert call(grid, times, grid.workers[0], 4) == [15]
    assert call(grid, lambda x: x + factor, grid.workers[0], 4) == [7]
    assert call(grid, "def twice(x):\n    return 2 * x\n", grid.workers[0], 4) == [8]
    assert call(grid, {"name": "one", "source": "def one(x): return 1\ndef two(x): return 2"}, grid.workers[0], 4) == [
        1
    ]
    assert call(grid, "split_grid_unique_name", grid.workers[0], "worker|W@h[1]:2") == [("worker", "W", "h", 1, 2)]


def test_an_array_goes_there_and_back_and_stays_writable(grid):
    array = numpy.arange(500_000.0)

    def add_one(a):
        a += 1
        return a

    (result,) = call(grid, add_one, grid.workers[0], array)
    assert (result == array + 1).all()
    result[0] = 7
    assert array[0] == 0


def test_what_a_function_raises_is_an_answer_with_its_traceback(grid):
    def fail():
        raise KeyError("lost in the far side")

    (status,) = call(grid, fail, grid.workers[0])
    assert isinstance(status, SoftgridStatus) and not status
    assert "KeyError" in status.error and "in fail" in status.error
    assert isinstance(status.exception, KeyError)
    assert status.data["function"] is fail


def cannot_be_written():
    import threading

    class Odd(Exception):
        def __init__(self, word):
            super().__init__(word)
            self.lock = threading.Lock()

    raise Odd("strange words")


def cannot_be_read():
    class Odd(Exception):
        def __init__(self, one, two):
            super().__init__(f"{one} {two}")

    raise Odd("strange", "words")


def ends_whoever_reads_it():
    class Odd(Exception):
        def __reduce__(self):
            return sys.exit, ("read",)

    raise Odd("strange words")


@pytest.mark.parametrize("fail", [cannot_be_written, cannot_be_read, ends_whoever_reads_it])
def test_an_exception_that_cannot_be_sent_comes_back_as_text_and_the_worker_lives(grid, fail):
    (status,) = call(grid, fail, grid.workers[0])
    assert "strange words" in status.error
    assert status.exception is None
    assert call(grid, power, grid.workers[0], 2, 3) == [8]


def test_a_result_that_ends_whoever_reads_it_is_a_failed_status(grid):
    def result():
        class Odd:
            def __reduce__(self):
                return sys.exit, ("read",)

        return Odd()

    (status,) = call(grid, result, grid.workers[0])
    assert not status and "SystemExit: read" in status.error


@pytest.mark.parametrize("end", ["import sys; sys.exit(3)", "raise KeyboardInterrupt", "raise SystemExit"])
def test_an_exit_in_a_function_is_an_answer_and_the_worker_lives(grid, end):
    (status,) = call(grid, f"def leave():\n    {end}\n", grid.workers[0])
    assert not status
    assert call(grid, power, grid.workers[0], 2, 3) == [8]


def test_a_result_or_an_argument_that_cannot_be_sent_says_so(grid):
    (status,) = call(grid, lambda: (i for i in ()), grid.workers[0])
    assert not status and "generator" in status.error
    status = call(grid, power, grid.workers[0], threading.Lock(), 1)
    assert isinstance(status, SoftgridStatus) and "lock" in status.error


def test_a_function_that_drags_in_the_orchestrator_gets_a_clear_error(grid):
    status = call(grid, lambda: grid.workers, grid.workers[0])
    assert not status
    assert "Orchestrator" in status.error and "first_argument_executor" in status.error


def test_the_executor_is_the_first_argument_where_asked(grid):
    assert call(grid, lambda executor, x: (executor.gridUniqueName, x), grid.workers, 5, first=True) == [
        (name, 5) for name in grid.workers
    ]


def test_urgent_ones_go_first_and_none_at_once(grid):
    worker = grid.workers[0]

    def note(executor, name, pause=0.0):

        executor.add_data("running", name)
        time.sleep(pause)
        executor._objects.setdefault("order", []).append(name)

    def send(name, priority, pause=0.0):
        template = grid.get_transfer_template(note, args=(name, pause), priority=priority)
        template["first_argument_executor"] = True
        grid.transfer(template, worker)

    send("running", 1, 0.5)
    poll(lambda: grid.transfer_get_data("running", worker, mustExist=False) == ["running"])
    for name, priority in [("late", 7), ("usual", 1), ("soon", -2), ("usual too", 1), ("at once", None)]:
        send(name, priority)
    assert call(grid, lambda e: e._objects["order"], worker, first=True, priority=9) == [
        ["at once", "running", "soon", "usual", "usual too", "late"]
    ]


def test_queued_functions_run_in_the_main_thread_and_none_beside_it(grid):
    def is_main():
        import threading

        return threading.current_thread() is threading.main_thread()

    assert call(grid, is_main, grid.workers[0]) == [True]
    assert call(grid, is_main, grid.workers[0], priority=None) == [False]


def test_a_timeout_is_a_failed_status_and_the_worker_goes_on(grid, tmp_path):
    door = Door(grid, grid.workers[0], tmp_path)
    (status,) = call(grid, power, grid.workers[0], 2, 2, timeout=0.2)
    assert not status and "0.2 s" in status.error
    door.open()
    assert call(grid, power, grid.workers[0], 2, 2) == [4]


def test_results_are_stored_here_and_there_under_their_name(grid):
    worker = grid.workers[0]
    template = grid.get_transfer_template(power, args=(2, 5), storeResult=True, resultName="p")
    assert grid.transfer(template, worker) is None
    call(grid, power, worker, 1, 1)  # comes after it in the queue
    poll(lambda: grid._executedReturned.get("p") == [32])
    assert grid.transfer(template, [worker, worker], collect=True) == [32, 32]
    assert grid._executedReturned["p"] == [32, 32, 32]
    assert call(grid, lambda e: e._executedStored["p"], worker, first=True) == [[32, 32, 32]]


def test_a_function_may_itself_transfer_and_collect(grid):
    one, two = grid.workers

    def ask(executor, other):
        template = executor.get_transfer_template(lambda e: e.gridUniqueName)
        template["first_argument_executor"] = True
        return executor.transfer(template, other, collect=True)

    assert call(grid, ask, one, two, first=True) == [[two]]
    (back,) = call(
        grid,
        lambda e, o: e.transfer(e.get_transfer_template("gridPath"), o, collect=True),
        one,
        grid.gridUniqueName,
        first=True,
    )
    assert back == [[grid.gridUniqueName]]
    (status,) = call(grid, ask, one, one, first=True)
    assert "can't wait there for another; give that the priority None" in status.error
    assert call(grid, ask, one, one, first=True, priority=None) == [[one]]


def test_what_could_not_start_is_one_status_and_nothing_was_sent(grid):
    for receivers in ("nobody", ["worker|W@h"], [[]], "upgrid"):
        status = call(grid, power, receivers, 1, 1)
        assert isinstance(status, SoftgridStatus) and not status, receivers
    assert not grid.transfer(grid.get_transfer_template(None), grid.workers, collect=True)
    assert not grid.transfer([grid.get_transfer_template(power)] * 3, grid.workers, collect=True)


def test_an_unknown_receiver_fails_by_name_and_the_others_answer(grid):
    absent = "worker|Absent@127.0.0.1[1]:2"
    results = call(grid, power, [grid.workers[0], absent, grid.workers[1]], 2, 4)
    assert results[0] == results[2] == 16
    assert not results[1] and absent in results[1].error


def test_keywords_lists_and_templates_for_each_receiver(grid):
    assert call(grid, power, "workers", 3, 2) == [9, 9]
    assert call(grid, power, "routers", 3, 2) == []
    templates = [grid.get_transfer_template(power, args=(2, n)) for n in range(2)]
    assert grid.transfer(templates, grid.workers, collect=True) == [1, 2]


def test_the_callers_dictionaries_are_not_changed(grid):
    template = grid.get_transfer_template(power, args=[2, 3])
    before = {key: dict(value) if isinstance(value, dict) else value for key, value in template.items()}
    grid.transfer(template, grid.workers, collect=True)
    assert template == before


def test_five_thousand_small_transfers_all_come_back_in_order(grid):
    templates = [grid.get_transfer_template(power, args=(n, 1)) for n in range(5000)]
    assert grid.transfer(templates, grid.workers * 2500, collect=True) == list(range(5000))


def test_two_threads_may_transfer_side_by_side(grid):
    results: dict[int, list] = {}

    def work(n):
        results[n] = [call(grid, power, grid.workers[n % 2], n, 1)[0] for _ in range(50)]

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {n: [n] * 50 for n in range(6)}


def test_children_that_functions_start_end_with_the_worker(grid):
    def start():
        import subprocess

        return subprocess.Popen(["sleep", "300"], start_new_session=True).pid

    one, two = grid.workers
    children = call(grid, start, [one, two])
    os.kill(pid_of(one), signal.SIGKILL)
    poll(lambda: process_is_gone(children[0]))
    assert all(grid.kill_executor(two))
    poll(lambda: process_is_gone(children[1]))


def test_what_is_too_long_for_an_answer_is_shortened_and_the_worker_lives(grid):
    def fail():
        raise ValueError("begin" + "ü" * 400_000 + "end")

    (status,) = call(grid, fail, grid.workers[0])
    assert "beginü" in status.error and "end" in status.error and len(status.error) < 400_000
    assert call(grid, power, grid.workers[0], 2, 3) == [8]


def test_what_is_not_awaited_leaves_no_trace_on_the_way(make_grid):
    grid = make_grid()
    (router,) = launch(grid, "router", executorKwargs={"allowExecutingUDF": True})
    (worker,) = launch(grid, "worker", upgrid=router)
    template = grid.get_transfer_template("add_data", args=("a", 1), returnResult=False)
    for _ in range(20):
        grid.transfer(template, worker)
    call(grid, power, worker, 1, 1)
    assert call(grid, lambda e: sum(map(len, e._node._passing.values())), router, first=True) == [0]


def test_a_template_may_hold_the_bounces(make_grid):
    grid = make_grid()
    managers = launch(grid, "manager", 2)
    workers = [launch(grid, "worker", upgrid=manager)[0] for manager in managers]
    template = grid.get_transfer_template("gridPath", bounce=[[workers[0]], workers[1]])
    assert [path[-1] for path in grid.transfer(template, managers, collect=True)] == workers
    templates = [grid.get_transfer_template("gridPath", bounce=[[worker]]) for worker in workers]
    assert [path[-1] for path in grid.transfer(templates, managers, collect=True)] == workers


def test_a_function_finds_what_its_module_holds_now(grid, tmp_path, monkeypatch):
    (tmp_path / "users_own.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import users_own

    scope = {"users_own": users_own, "__name__": "__main__", "n": 0}
    exec("def see(): return users_own.x\ndef count():\n    global n\n    n += 1\n    return n\n", scope)
    worker = grid.workers[0]
    assert call(grid, scope["see"], worker) == [1]
    users_own.x = 2
    assert call(grid, scope["see"], worker) == [2]
    assert [call(grid, scope["count"], worker)[0] for _ in range(3)] == [1, 1, 1]
    del sys.modules["users_own"]


def test_big_bytes_and_text_go_there_and_back(grid):
    big = os.urandom(1000) * 2000
    values = {"bytes": big, "text": "ü" * 500_000, "array": bytearray(big), "many": [big[:70_000]] * 3, "small": 1}
    assert call(grid, lambda v: v, grid.workers, values) == [values, values]
    assert call(grid, lambda v: type(v["array"]).__name__, grid.workers[0], values) == ["bytearray"]
    # without collect the caller may change what it sent as soon as `transfer` returns
    template = grid.get_transfer_template("add_data", args=("b", values["array"]), priority=None)
    grid.transfer(template, grid.workers[0])
    values["array"][:] = bytes(len(big))
    poll(lambda: grid.transfer_get_data("b", grid.workers[0], mustExist=False) == [big])


@pytest.mark.parametrize("wrong", [{"priority": float("nan")}, {"resultName": 5}, {"promisePassword": 5}])
def test_a_template_that_no_executor_could_read_is_refused_here(grid, wrong):
    status = grid.transfer(grid.get_transfer_template(power, **wrong), grid.workers, collect=True)
    assert isinstance(status, SoftgridStatus) and not status
