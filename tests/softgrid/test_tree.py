"""Routers, managers and workers: what hangs where, what may be launched, and how transfers find their way."""

from __future__ import annotations

import pytest

from gridcompute.softgrid import Globals, Manager, Orchestrator, Router
from gridcompute.softgrid.tree import Member, Tree, join_name, split_name

from .conftest import call, executor_processes, launch, pid_of, poll, process_is_gone


def name_of(executor):
    return executor.gridUniqueName


def test_a_name_splits_into_what_it_was_joined_from():
    name = join_name("worker", "W 1", "host.example", 12, 5001)
    assert name == "worker|W 1@host.example[12]:5001"
    assert split_name(name) == ("worker", "W 1", "host.example", 12, 5001)
    for wrong in ("", "worker", "king|W@h[1]:2", "worker|W@h[x]:2", "worker|W@h:2"):
        with pytest.raises(ValueError, match="no grid unique name"):
            split_name(wrong)


def test_a_tree_forgets_an_executor_with_all_below_it():
    tree = Tree("o")
    for name, path in [("r", ["o"]), ("m", ["o", "r"]), ("w", ["o", "r", "m"]), ("x", ["o"])]:
        tree.add(Member(name, path, {"role": "worker", "address": "h"}), "r" if name != "x" else "x")
    assert tree.path_to("w") == ["r", "m", "w"]
    assert [member.name for member in tree.remove("r")] == ["r", "m", "w"]
    assert list(tree.members) == ["x"]
    assert tree.children() == ["x"]


def test_a_grid_of_routers_managers_and_workers(make_grid):
    grid = make_grid()
    routers = launch(grid, "router", 2)
    managers = launch(grid, "Manager", 2, upgrid=routers[1])
    workers = [launch(grid, "worker", 2, upgrid=manager) for manager in managers]
    assert sorted(grid.routers) == sorted(routers) and sorted(grid.managers) == sorted(managers)
    assert sorted(grid.workers) == sorted(workers[0] + workers[1])
    assert grid.paths["worker"][workers[0][0]] == [grid.gridUniqueName, routers[1], managers[0]]
    assert grid.passwords["routers"].keys() == set(routers)
    assert grid.machines[grid.address]["router"] == grid.routers
    assert grid.get_managers_to_workers_receivers_bounce_lists()[0] == grid.managers
    assert call(grid, name_of, grid.workers, first=True) == grid.workers

    # a worker reaches a cousin, an uncle and the orchestrator over the tree
    def ask(executor, others):
        template = executor.get_transfer_template("gridPath")
        return [path[-1] for path in executor.transfer(template, others, collect=True)]

    others = [workers[1][0], managers[1], routers[0], grid.gridUniqueName]
    assert call(grid, ask, workers[0][0], others, first=True) == [others]
    path = [routers[1], managers[1], workers[1][1]]
    assert call(grid, name_of, [path], first=True) == [workers[1][1]]
    (paths,) = call(grid, "get_executor_grid_path", workers[0][0], workers[1][0])
    assert list(paths.values()) == [[grid.gridUniqueName, routers[1], managers[1], workers[1][0]]]


def test_a_transfer_bounces_from_managers_to_their_workers(make_grid):
    grid = make_grid()
    managers = launch(grid, "manager", 2)
    for manager in managers:
        launch(grid, "worker", 2, upgrid=manager)
    receivers, bounce = grid.get_managers_to_workers_receivers_bounce_lists()
    results = call(grid, name_of, receivers, first=True, timeout=20)
    assert all(not result for result in results)  # managers must not run user functions
    template = grid.get_transfer_template(name_of)
    template["first_argument_executor"] = True
    assert grid.transfer(template, receivers, bounce=bounce, collect=True) == [w for part in bounce for w in part]
    mixed = grid.transfer(template, [bounce[0][0], receivers[1]], bounce=[None, bounce[1][1]], collect=True)
    assert mixed == [bounce[0][0], bounce[1][1]]
    absent = "worker|Absent@127.0.0.1[1]:2"
    result = grid.transfer(template, receivers[0], bounce=[[bounce[0][1], absent]], collect=True)
    assert result[0] == bounce[0][1] and absent in result[1].error


def test_user_functions_run_on_routers_where_the_rules_allow_it(make_grid):
    Globals.RULES["router_allow_executing_udf"] = True
    grid = make_grid()
    launch(grid, "router")
    launch(grid, "manager")
    launch(grid, "manager", executorKwargs={"allowExecutingUDF": True})
    assert call(grid, name_of, "routers", first=True) == grid.routers
    refused, allowed = call(grid, name_of, "managers", first=True)
    assert "manager_allow_executing_udf" in refused.error
    assert allowed == grid.managers[1]
    assert "allowExecutingUDF" in call(grid, name_of, grid.gridUniqueName, first=True)[0].error


def test_limits_of_a_machine_hold_and_rules_that_break_its_state_are_refused(make_grid):
    Globals.RULES.update(machine_maximum_number_of_managers=1, machine_maximum_number_of_workers=-1)
    grid = make_grid()
    assert grid.get_remaining_executors_allowed(grid.address) == {
        "number_of_routers": None,
        "number_of_managers": 1,
        "number_of_workers": max(1, grid.machineNumberOfCores - 1),
    }
    statuses, successful, failed = grid.launch_manager([grid.address] * 3, executorKwargs={"relaunch": False})
    assert [bool(status) for status in statuses].count(True) == 1
    assert len(successful) == 1 and len(failed) == 2
    assert failed[0].keys() == {
        "executorType",
        "upgridUniqueName",
        "executorAddress",
        "machineUser",
        "machineExecutable",
    }
    assert successful[0].keys() == failed[0].keys() | {"gridUniqueName"}
    assert grid.get_remaining_executors_allowed(grid.address)["number_of_managers"] == 0
    assert not grid.set_machine_rules(grid.address, {"machine_maximum_number_of_managers": 0})
    assert not grid.set_machine_rules(grid.address, {"machine_maximum_number_of_workers": "many"})
    assert grid.set_machine_rules(grid.address, {"machine_maximum_number_of_managers": 2})
    assert grid.get_machine_rules(grid.address)["machine_maximum_number_of_managers"] == 2
    assert grid.rules["machine_maximum_number_of_managers"] == 1


def test_who_accepts_whom(make_grid):
    grid = make_grid(acceptWorkers=False)
    statuses, _, _ = grid.launch_worker(grid.address, retry=0)
    assert not statuses[0] and "accepts no workers" in statuses[0].error
    (manager,) = launch(grid, "manager")
    (worker,) = launch(grid, "worker", upgrid=manager)
    statuses, _, _ = grid.launch_worker(grid.address, upgridUniqueName=worker, retry=0)
    assert not statuses[0] and "accepts no workers" in statuses[0].error
    statuses, _, failed = grid.launch_worker(grid.address, upgridUniqueName="worker|Absent@h[1]:2", retry=0)
    assert not statuses[0] and failed[0]["upgridUniqueName"] == "worker|Absent@h[1]:2"


def test_executors_that_are_killed_on_purpose_are_not_launched_again(make_grid):
    grid = make_grid()
    (manager,) = launch(grid, "manager", executorKwargs={"relaunch": True})
    workers = launch(grid, "worker", 2, upgrid=manager, executorKwargs={"relaunch": True})
    assert all(grid.kill_executor(workers[0]))
    assert grid.workers == [workers[1]]
    poll(lambda: process_is_gone(pid_of(workers[0])))
    assert all(grid.kill_executor("managers"))
    assert grid.managers == grid.workers == []
    poll(lambda: all(process_is_gone(pid_of(name)) for name in [manager, workers[1]]))
    assert grid.managers == grid.workers == []


def test_a_worker_that_is_busy_or_holds_its_interpreter_can_be_killed(make_grid):
    grid = make_grid()
    workers = launch(grid, "worker", 2)

    def hold():
        import re

        re.match(r"(a+)+$", "a" * 60 + "b")

    grid.transfer(grid.get_transfer_template("import time\ndef f(): time.sleep(600)"), workers[0])
    grid.transfer(grid.get_transfer_template(hold), workers[1])
    poll(lambda: grid._loads(workers)[workers[0]] == 1 and grid._loads(workers)[workers[1]] > 1)
    assert all(grid.kill_executor(workers))
    assert grid.workers == []


def test_garbage_is_collected_everywhere(make_grid):
    grid = make_grid()
    (router,) = launch(grid, "router")
    launch(grid, "worker", upgrid=router)
    statuses = grid.garbage_collect()
    assert len(statuses) == 2 and all(statuses)


def test_propagated_transfers_run_below_too(make_grid):
    Globals.RULES["router_allow_executing_udf"] = True
    grid = make_grid()
    (router,) = launch(grid, "router")
    launch(grid, "worker", 2, upgrid=router)
    template = grid.get_transfer_template("add_data", args=("mark", 5))
    template.update(propagate_workers=True)
    assert all(grid.transfer(template, router, collect=True))
    poll(lambda: grid.transfer_get_data("mark", grid.workers, mustExist=False) == [5, 5])


def test_the_timeout_grows_with_the_way(make_grid):
    grid = make_grid()
    assert grid.get_transfer_wait_timeout(10, 3, 7) == 30
    assert grid.get_small_transfer_wait_timeout() == 5
    assert grid.get_big_transfer_wait_timeout(4) == 40


def test_disconnect_ends_everything_and_a_second_one_does_nothing(make_grid):
    grid = make_grid()
    (router,) = launch(grid, "router")
    launch(grid, "worker", 2, upgrid=router)
    pids = [pid_of(name) for name in grid.routers + grid.workers]
    assert set(pids) <= executor_processes()
    grid.disconnect(kill=False)
    assert grid.isDisconnected
    poll(lambda: all(map(process_is_gone, pids)))
    grid.disconnect(kill=False)
    assert not call(grid, name_of, "workers")


def test_a_port_that_is_taken_is_an_error_without_port_fetch(make_grid):
    grid = make_grid()
    with pytest.raises(OSError, match="in use"):
        make_grid(port=grid.port, portFetch=False)
    assert make_grid(port=grid.port).port > grid.port


@pytest.mark.parametrize("kind", [Orchestrator, Router, Manager])
def test_launch_scripts_do_not_show_the_password(kind, capsys):
    executor = kind(address="127.0.0.1", port=25600, password="quite secret")
    try:
        executor.launchScripts  # noqa: B018
        printed = capsys.readouterr().out
        assert "connect_to_grid" in printed and "Worker" in printed and "quite secret" not in printed
        assert "quite secret" not in repr(executor) + str(executor.executorProperties)
    finally:
        executor.disconnect(kill=False)
