"""A grid of 34 executors on one machine: up, everybody with everybody, down without a trace."""

from __future__ import annotations

import socket
import time

from gridcompute.softgrid import Globals

from .conftest import executor_processes, launch, pid_of, poll, process_is_gone


def greet_all(executor, others):
    """Asks every other executor for its name over the tree; returns who answered wrongly."""

    def name(e):
        return e.gridUniqueName

    template = executor.get_transfer_template(name, priority=None)
    template["first_argument_executor"] = True
    receivers = [other for other in others if other != executor.gridUniqueName]
    answers = executor.transfer(template, receivers, collect=True, transferTimeout=60)
    return [(r, str(a)) for r, a in zip(receivers, answers, strict=True) if a != r]


def test_every_pair_of_34_executors_exchanges_a_result_and_nothing_is_left(make_grid):
    Globals.RULES.update(router_allow_executing_udf=True, manager_allow_executing_udf=True)
    before = executor_processes()
    grid = make_grid(allowExecutingUDF=True)
    started = time.monotonic()
    routers = launch(grid, "router", 3, timeout=60)
    statuses, successful, _ = grid.launch_manager(
        [grid.address] * 6, executorKwargs={"relaunch": False}, upgridUniqueName=routers * 2, timeout=60
    )
    assert all(statuses)
    managers = [item["gridUniqueName"] for item in successful]
    statuses, successful, _ = grid.launch_worker(
        [grid.address] * 24, executorKwargs={"relaunch": False}, upgridUniqueName=managers * 4, timeout=60
    )
    assert all(statuses)
    print(f"34 executors in {time.monotonic() - started:.1f} s")
    everybody = [grid.gridUniqueName, *grid.routers, *grid.managers, *grid.workers]
    assert len(everybody) == 34
    template = grid.get_transfer_template(greet_all, args=(everybody,), priority=None)
    template["first_argument_executor"] = True
    assert grid.transfer(template, everybody, collect=True, transferTimeout=90) == [[]] * 34
    pids = [pid_of(name) for name in everybody[1:]]
    ports = [int(name.rpartition(":")[2]) for name in everybody]
    grid.disconnect(kill=False)
    poll(lambda: all(map(process_is_gone, pids)))
    poll(lambda: not executor_processes() - before)
    for port in ports:
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("127.0.0.1", port))
