"""Tasks go to workers, promises hold a worker for their owner, and jobs are many tasks over many workers."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from gridcompute.softgrid.Collections import SoftgridStatus

from .conftest import Door, call, launch, load, pid_of, poll


@pytest.fixture
def grid(two_workers):
    return two_workers


def note(executor, value):
    executor.notes = [*getattr(executor, "notes", []), value]


def send_note(grid, worker, value, password=None, priority=1):
    template = grid.get_transfer_template(note, args=(value,), priority=priority, promisePassword=password)
    template["first_argument_executor"] = True
    template["result_handling"]["result_name"] = "noted"
    grid.transfer(template, worker)


def notes(grid, worker):
    return call(grid, lambda executor: getattr(executor, "notes", []), worker, first=True, priority=None)[0]


# --- promises --------------------------------------------------------------------------------------------------------


def test_a_promise_holds_the_queue_for_its_owner(grid):
    worker = grid.workers[0]
    (told,) = grid.transfer_add_promise(worker, "p", promiseTimeout=60)
    assert told == {
        "placed": True,
        "queue_length": 0,
        "number_of_existing_promises": 0,
        "number_of_running_executions": 0,
        "promise_create_time": told["promise_create_time"],
        "promise_password": "p",
        "promise_executor": worker,
    }
    assert abs(told["promise_create_time"] - time.time()) < 60
    send_note(grid, worker, "not promised")
    send_note(grid, worker, "promised", "p")
    poll(lambda: notes(grid, worker) == ["promised"])
    assert load(grid, worker) >= 2
    assert grid.transfer_remove_promise(worker, "p") == [{"removed": True, "remaining_queue_length": 0}]
    poll(lambda: notes(grid, worker) == ["promised", "not promised"])
    assert grid.transfer_remove_promise(worker, "p") == [{"removed": False, "remaining_queue_length": 0}]


def test_promises_are_served_first_come_first_served_and_within_one_by_priority(grid, tmp_path):
    worker = grid.workers[0]
    door = Door(grid, worker, tmp_path)
    for password in ("one", "two"):
        assert grid.transfer_add_promise([worker], password)[0]["placed"]
    assert not grid.transfer_add_promise(worker, "two")[0]["placed"], "the password is taken"
    send_note(grid, worker, "ordinary", priority=-5)
    send_note(grid, worker, "two", "two")
    send_note(grid, worker, "one, later", "one", priority=2)
    send_note(grid, worker, "one, sooner", "one", priority=1)
    send_note(grid, worker, "beside", "one", priority=None)
    poll(lambda: notes(grid, worker) == ["beside"])
    (told,) = grid.transfer_add_promise(worker, "three", force=False)
    assert not told["placed"] and told["promise_password"] is None
    assert (told["queue_length"], told["number_of_existing_promises"], told["number_of_running_executions"]) == (
        4,
        2,
        1,
    )
    assert grid.transfer_remove_promise(worker, "two") == [{"removed": False, "remaining_queue_length": 1}]
    door.open()
    poll(lambda: notes(grid, worker) == ["beside", "one, sooner", "one, later"])
    grid.transfer_remove_promise(worker, "one")
    poll(lambda: notes(grid, worker)[3:] == ["two"])
    grid.transfer_remove_promise(worker, "two")
    poll(lambda: notes(grid, worker)[4:] == ["ordinary"])


def test_a_promise_expires_when_idle_and_says_so_upgrid(grid, capfd):
    one, other = grid.workers
    grid.transfer_add_promise(one, "p", promiseTimeout=0.3)
    send_note(grid, one, "waited")
    poll(lambda: notes(grid, one) == ["waited"])
    poll(lambda: "expired after 0.3 s without an execution" in capfd.readouterr().out)
    (status,) = call(grid, "gridPath", one, promisePassword="p")
    assert "holds no promise" in status.error
    send_note(grid, one, "too late", "p")
    poll(lambda: "holds no promise" in capfd.readouterr().out)
    # The time of a promise stands still while something of it runs, here longer than it lasts.
    grid.transfer_add_promise(other, "p", promiseTimeout=1.2)

    def take_longer(executor):
        import time

        time.sleep(1.8)
        return executor.gridUniqueName

    assert call(grid, take_longer, other, first=True, promisePassword="p") == [other]
    assert call(grid, "gridUniqueName", other, promisePassword="p") == [other]


def test_a_removed_promise_fails_what_waits_for_it(grid, tmp_path):
    worker = grid.workers[0]
    door = Door(grid, worker, tmp_path)
    grid.transfer_add_promise(worker, "p")
    found = []
    waiting = threading.Thread(target=lambda: found.extend(call(grid, "gridPath", worker, promisePassword="p")))
    waiting.start()
    poll(lambda: load(grid, worker) == 3)
    assert grid.transfer_remove_promise(worker, "p", force=True) == [{"removed": True, "remaining_queue_length": 0}]
    waiting.join(10)
    assert "was removed before its turn" in found[0].error
    door.open()


# --- tasks -----------------------------------------------------------------------------------------------------------


def test_a_task_runs_on_the_named_worker_or_the_one_with_least_to_do(grid, tmp_path):
    busy, free = grid.workers
    door = Door(grid, busy, tmp_path)
    for _ in range(4):
        assert grid.schedule_task("gridUniqueName") == [free]
    door.open()
    assert grid.schedule_task("gridUniqueName", worker=busy) == [busy]
    seen = {grid.schedule_task("gridUniqueName")[0] for _ in range(30)}
    assert seen == {busy, free}


def test_results_of_tasks_are_returned_kept_here_and_stored_there(grid, capfd):
    worker = grid.workers[0]

    def add(a, b):
        return a + b

    assert grid.schedule_task(add, [1], {"b": 2}, resultName="sum", storeResult=True, worker=worker) == [3]
    assert grid.schedule_task(add, [1, 1], returnResult=False, resultName="sum") == [2]
    assert grid.schedule_task(add, [3, 4], collect=False, resultName="sum") is None
    poll(lambda: grid._executedReturned.get("sum") == [3, 7])
    assert call(grid, lambda executor: executor._executedStored, worker, first=True) == [{"sum": [3]}]
    assert grid.schedule_task(add, [5, 6], collect=False) is None
    poll(lambda: "returned 11" in capfd.readouterr().out)

    def sleep():
        import time

        time.sleep(20)

    (status,) = grid.schedule_task(sleep, taskTimeout=0.2)
    assert "within 0.2 s" in status.error


def test_tasks_of_one_worker_run_by_priority(grid, tmp_path):
    worker = grid.workers[0]
    door = Door(grid, worker, tmp_path)
    for priority in (3, 1, 2):
        grid.schedule_task(lambda p: p, [priority], worker=worker, priority=priority, collect=False, resultName="order")
    poll(lambda: load(grid, worker) == 4)
    door.open()
    poll(lambda: grid._executedReturned.get("order") == [1, 2, 3])


def test_no_worker_is_a_failed_status(make_grid):
    grid = make_grid()
    assert "no worker" in grid.schedule_task("gridPath").error
    assert "are needed" in grid.schedule_job("gridPath").error


def kill_once(path):
    """Ends its own worker the first time."""
    import os
    import pathlib
    import signal
    import time

    if not pathlib.Path(path).exists():
        pathlib.Path(path).touch()
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(30)
    return "done"


def test_a_lost_worker_answers_its_task_with_a_status_or_runs_it_elsewhere(grid, tmp_path):
    (status,) = grid.schedule_task(kill_once, [str(tmp_path / "a")])
    assert isinstance(status, SoftgridStatus) and "was lost" in status.error
    launch(grid, "worker")
    grid._rules["task_maximum_number_of_reruns"] = 1
    assert grid.schedule_task(kill_once, [str(tmp_path / "b")]) == ["done"]
    launch(grid, "worker")
    grid.schedule_task(kill_once, [str(tmp_path / "c")], collect=False, resultName="again")
    poll(lambda: grid._executedReturned.get("again") == ["done"])


# --- jobs ------------------------------------------------------------------------------------------------------------


def test_a_job_returns_its_results_in_order_from_all_workers(grid):
    def where(executor_name, number):
        import os

        return number, os.getpid()

    tasks = [(where, [None], {"number": n}) for n in range(200)]
    values = grid.schedule_job(tasks, resultName="kept", verbose=False)
    assert [number for number, _ in values] == list(range(200))
    assert {pid for _, pid in values} == {pid_of(name) for name in grid.workers}
    assert sorted(grid._executedReturned["kept"]) == sorted(values)
    poll(lambda: not any(grid._loads(grid.workers).values()))
    assert grid.schedule_job(len, verbose=False)[0].exception.__class__ is TypeError
    assert grid.schedule_job([], verbose=False) == []
    assert "is (function" in grid.schedule_job([(len, 1, 2, 3)]).error


def test_a_job_that_is_not_collected_keeps_its_results_as_they_come(grid):
    assert grid.schedule_job([(pow, [2, n], None) for n in range(20)], collect=False, resultName="powers") is None
    poll(lambda: sorted(grid._executedReturned.get("powers", [])) == [2**n for n in range(20)])
    poll(lambda: not any(grid._loads(grid.workers).values()))


def test_failures_of_a_job_stand_in_their_places(grid):
    def half(n):
        if n % 2:
            raise ValueError(f"{n} is odd")
        return n // 2

    unsendable = threading.Lock()
    values = grid.schedule_job([*((half, [n], None) for n in range(4)), (half, [unsendable], None)], verbose=False)
    assert [values[0], values[2]] == [0, 1]
    assert "1 is odd" in values[1].error and "3 is odd" in values[3].error
    assert "can't be sent" in values[4].error


def test_a_job_that_takes_too_long_fails_what_is_left(grid):
    def sleep(seconds):
        import time

        time.sleep(seconds)
        return seconds

    values = grid.schedule_job([(sleep, [s], None) for s in (0, 3, 3, 3, 3)], jobTimeout=1.0, verbose=False)
    assert values[0] == 0
    assert all("within 1 s" in value.error for value in values[1:])
    poll(lambda: not any(grid._loads(grid.workers).values()))


def test_two_jobs_that_hold_each_others_workers_both_end(grid):
    def sleep(n):
        import time

        time.sleep(0.02)
        return n

    one, other = grid.workers
    results = {}

    def run(name, workers):
        tasks = [(sleep, [n], None) for n in range(10)]
        results[name] = grid.schedule_job(tasks, jobPromiseKwargs={"workers": workers}, verbose=False)

    threads = [
        threading.Thread(target=run, args=("a", [one, other])),
        threading.Thread(target=run, args=("b", [other, one])),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert results == {"a": list(range(10)), "b": list(range(10))}


def test_a_job_survives_the_loss_of_a_worker_where_that_is_asked_for(grid, tmp_path):
    grid._rules["task_maximum_number_of_reruns"] = 1

    def work(n, path):
        if n == 5:
            kill_once(path)
        return n

    tasks = [(work, [n, str(tmp_path / "a")], None) for n in range(30)]
    assert grid.schedule_job(tasks, verbose=False) == list(range(30))
    grid._rules["task_maximum_number_of_reruns"] = 0
    tasks = [(work, [n, str(tmp_path / "b")], None) for n in range(30)]
    values = grid.schedule_job(tasks, verbose=False)
    assert "lost" in values[5].error and "lost" in values[29].error, "the only worker was lost"
    assert values[0] == 0


def test_a_job_promise_that_cannot_be_had_takes_back_what_it_placed(grid, tmp_path):
    busy, free = grid.workers
    door = Door(grid, busy, tmp_path)
    status = grid.create_job_promise(nworkersMin=2)
    assert not status and "1 promises could be placed on 2 workers, 2 are needed" in status.error
    assert busy in status.error
    poll(lambda: load(grid, free) == 0)
    (told,) = grid.create_job_promise(ntasks=1, promisePassword="q", verbose=True)
    assert (told["promise_executor"], told["promise_password"]) == (free, "q")
    both = grid.create_job_promise(force=True)
    assert {item["promise_executor"] for item in both} == {busy, free}
    send_note(grid, busy, "waits", both[0]["promise_password"])
    poll(lambda: load(grid, busy) == 3)
    left = grid.remove_job_promise([item for item in both if item["promise_executor"] == busy], force=False)
    assert "1 executions wait for it" in left[0].error
    for _ in range(3):
        assert grid.schedule_task("gridUniqueName", promisePassword="q") == [free]
    assert "holds a promise" in grid.schedule_task("gridUniqueName", promisePassword="no such").error
    assert all(grid.remove_job_promise("q")) and len(grid.remove_job_promise("q")) == 0
    assert [status.data["removed"] for status in grid.remove_job_promise(both, verbose=False)] == [True, True]
    assert [bool(status) for status in grid.remove_job_promise(both[0])] == [False]
    door.open()


def test_a_worker_of_a_job_that_is_killed_gives_its_place_in_the_list_away(grid):
    (told, _) = grid.create_job_promise(nworkersMin=2)
    os.kill(pid_of(told["promise_executor"]), signal.SIGKILL)
    poll(lambda: len(grid.workers) == 1)
    statuses = grid.remove_job_promise([told])
    assert not statuses[0] and told["promise_executor"] in statuses[0].error
