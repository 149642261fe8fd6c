"""What the other files' stories leave out: the documented properties and arguments that few use."""

from __future__ import annotations

import datetime
import platform
import re
import socket
import threading
import time

import pytest

from gridcompute import softgrid
from gridcompute.softgrid import Collections, Core, Globals, Router, Worker
from gridcompute.softgrid.errors import SoftgridError

from .conftest import call, launch, pid_of, poll, process_is_gone


def test_an_executor_tells_who_it_is(make_grid):
    before = time.time()
    grid = make_grid(
        applicationName="app",
        name="Named",
        killAtDisconnect=False,
        portFetch=True,
        acceptRouters=False,
        acceptManagers=False,
    )
    assert (grid.applicationName, grid.killAtDisconnect, grid.portFetch) == ("app", False, True)
    assert grid.name == "Named" and grid.gridUniqueName.startswith("orchestrator|Named@")
    assert grid.softgridVersion == softgrid.__version__ == grid.softgridProperties["softgrid_version"]
    assert before <= grid.UTCStartTime <= time.time()
    assert grid.startDateTime == datetime.datetime.fromtimestamp(grid.UTCStartTime)
    assert grid.uniqueName != make_grid().uniqueName
    assert grid.machineProperties["python_version"] == platform.python_version()
    assert (grid.acceptRouters, grid.acceptManagers, grid.acceptWorkers) == (False, False, True)
    assert (grid.isRouter, grid.isManager) == (False, False)
    statuses = grid.launch_router(grid.address)[0]
    assert "accepts no routers" in statuses[0].error
    assert issubclass(Core.AssessBase, Core.RequesterResponderBase) and Core.MachineManagement in type(grid).__mro__
    assert Core.TransferBase in type(grid).__mro__ and Globals.INTERACTIVE_MODE is True
    settings = grid.rules["log_orchestrator_kwargs"]
    assert re.fullmatch(r"app_\d{4}(-\d\d){5}", settings["logFileBasename"]) and settings["logToFile"] is False
    assert "logFileBasename" not in grid.get_machine_rules(grid.address)["log_orchestrator_kwargs"]


def test_routers_and_managers_say_so(make_grid):
    grid = make_grid()
    (router,), (manager,) = launch(grid, "router"), launch(grid, "manager")
    assert call(grid, "isRouter", [router, manager], priority=None) == [True, False]
    assert call(grid, "isManager", [router, manager], priority=None) == [False, True]
    assert call(grid, "role", [router, manager]) == ["router", "manager"]
    assert call(grid, "killAtDisconnect", router) == [None]
    info = grid.get_machine_info(address=grid.address)
    assert info["router"] == [router] and info["machine_number_of_cpu"] == grid.machineNumberOfCores
    assert grid.garbage_collect(receivers=[router])[0]


def test_stores_know_default_replace_and_must_exist(make_grid, tmp_path):
    grid = make_grid(temporaryDir=str(tmp_path / "mine"))
    assert grid.temporaryDir.startswith(str(tmp_path / "mine"))
    assert grid.add_data("d", 1, replace=True) and not grid.add_data("d", 2, replace=False)
    assert grid.get_data("d") == 1 and grid.get_data("x", default=3, mustExist=False) == 3
    assert not grid.get_data(name="x", mustExist=True)
    assert grid.add_udf(name="f", func=lambda e, n: (e.role, n), firstArgExecutor=True, replace=True)
    assert not grid.add_udf("f", abs, False, replace=False)
    assert grid.get_udf(name="f")(grid, 2) == ("orchestrator", 2)
    assert grid.get_udf("x", default=4, mustExist=False) == 4
    assert grid.pop_udf(name="f")(grid, 5) == ("orchestrator", 5)
    assert grid.pop_udf("f", default=6, mustExist=False) == 6 and not grid.pop_udf("f", mustExist=True)

    def read(path, upper=False):
        import pathlib

        text = pathlib.Path(path).read_text()
        return text.upper() if upper else text

    assert grid.add_file("n", "file", "text", readFunc=read)
    assert grid.get_file("n", rkwargs={"upper": True}) == "TEXT"
    assert grid.pop_file("n", rkwargs={"upper": True})["data"] == "TEXT"
    files = {"mod_of_test.py": b"value = 1"}
    assert grid.add_package(files, description="mine", sitePackages="memory").name == "mine"
    assert not grid.add_package(files, sitePackages="memory", replace=False)
    assert grid.add_package(files, sitePackages="memory", replace=True)
    assert grid.split_grid_unique_name(gridUniqueName="worker|W@h[1]:2") == ("worker", "W", "h", 1, 2)


def test_packages_are_chosen_by_patterns_and_data_files(make_grid, tmp_path):
    package = tmp_path / "pack_of_test"
    (package / "inner").mkdir(parents=True)
    (package / "other").mkdir()
    for name in ("__init__.py", "a.py", "b.py", "data.csv", "inner/__init__.py", "other/__init__.py"):
        (package / name).write_text("value = 1\n")
    options = {
        "rejectFiles": ["^b"],
        "acceptFiles": [r".*\.py$"],
        "rejectFolders": ["^other$"],
        "acceptFolders": ["^i"],
        "dataFiles": ["data.csv"],
    }
    names = {"__init__.py", "a.py", "data.csv", "inner/__init__.py"}
    found = Collections.read_files(str(package), **options)
    assert set(found) == {f"pack_of_test/{name}" for name in names}
    grid = make_grid()
    (worker,) = launch(grid, "worker")
    assert all(grid.transfer_add_package(str(package), worker, sitePackages="temporary", **options))

    def what_is_there():
        import pathlib

        import pack_of_test

        folder = pathlib.Path(pack_of_test.__file__).parent
        return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and "__pycache__" not in str(p)}

    assert call(grid, what_is_there, worker) == [names]


def test_objects_go_by_a_bounce_and_must_exist(make_grid):
    grid = make_grid()
    (manager,) = launch(grid, "manager")
    workers = launch(grid, "worker", 2, manager)
    assert all(grid.transfer_add_object("o", {1: 2}, manager, bounce=[workers]))
    assert grid.transfer_get_object("o", workers, mustExist=True) == [{1: 2}, {1: 2}]
    assert not grid.transfer_pop_object("x", workers[0], mustExist=True)[0]
    assert grid.transfer_pop_object("x", workers[0], default=7, mustExist=False) == [7]

    def find(executor, other):
        return executor.get_executor_grid_path(gridUniqueName=other, transferTimeout=10, multiplier=2)

    found = call(grid, find, workers[0], workers[1], first=True, priority=None)[0]
    assert [path[-1] for path in found.values()] == [workers[1]]


def test_logs_carry_what_they_are_given(make_grid, capfd):
    grid = make_grid()
    (worker,) = launch(grid, "worker")
    grid.log_and_transfer(
        "info", "told", gridUniqueName=worker, utcTime=86400.0 * 365, transferRoute=[], logLocally=True
    )
    out = capfd.readouterr().out
    assert f"{worker} - info - told" in out and "197" in out
    grid.log_and_transfer("info", "not here", logLocally=False)
    grid.transfer_to_executor_and_log(
        worker, "info", "by way", tback="line 1\n", largs=["some data"], lkwargs={"gridUniqueName": "worker|X@h[1]:2"}
    )
    seen = []
    poll(lambda: seen.append(capfd.readouterr().out) or "worker|X@h[1]:2 - info - by way" in "".join(seen))
    assert "some data" in "".join(seen) and "line 1" in "".join(seen) and "not here" not in "".join(seen)
    assert callable(Globals.Logger().custom_init)
    Globals.Logger().softgrid_log("info", "of old", utcTime=0.0)
    assert "of old" in capfd.readouterr().out


def test_promises_are_methods_of_every_executor(make_grid):
    grid = make_grid()
    told = grid.add_promise(creatorGUN=grid.gridUniqueName, promisePassword="p", promiseTimeout=60, force=True)
    assert told["placed"] and told["promise_executor"] == grid.gridUniqueName
    assert grid.remove_promise(promisePassword="p", force=False) == {"removed": True, "remaining_queue_length": 0}
    launch(grid, "worker")
    assert len(grid.create_job_promise(transferTimeout=5)) == 1
    grid.remove_job_promise(grid.create_job_promise(transferTimeout=None, force=True))


def test_timeouts_grow_with_the_way_divided_by_the_multiplier(make_grid):
    grid = make_grid()
    (manager,) = launch(grid, "manager")
    (worker,) = launch(grid, "worker", 1, manager)
    assert grid.get_small_transfer_wait_timeout(pathLength=7) == 15

    def sleep():
        import time

        time.sleep(15)

    template = grid.get_transfer_template(sleep, priority=None)
    (status,) = grid.transfer(template, worker, collect=True, transferTimeout=0.2, multiplier=1)
    assert "within 0.4 s" in status.error
    (status,) = grid.schedule_task(sleep, worker=worker, taskTimeout=0.2, multiplier=2)
    assert "within 0.2 s" in status.error


def test_errors_of_responses_are_logged_if_wanted(make_grid, capfd):
    grid = make_grid()
    (worker,) = launch(grid, "worker")
    grid.transfer_response_to_requester(worker, "p", 1, errorLog=False, blocking=True)
    assert "no request" not in capfd.readouterr().out
    grid.transfer_response_to_requester(worker, "p", 1, errorLog=True, blocking=True)
    poll(lambda: "sent no request with this password" in capfd.readouterr().out)


@pytest.fixture
def join():
    """Makes executors in this process that leave the grid before it ends, which would end this process."""
    made = []

    def make(kind, port):
        made.append(kind(address="127.0.0.1", port=port, killAtDisconnect=False))
        return made[-1]

    yield make
    for executor in made:
        executor.disconnect(kill=False)


def test_an_executor_joins_by_hand_and_leaves_its_local_executors_alone_if_asked(make_grid, join):
    grid = make_grid()
    router = join(Router, 25700)
    router.connect_to_grid(grid.address, grid.port, grid.password, handshakeTrackingKey="key", blocking=False)
    poll(lambda: grid.routers == [router.gridUniqueName])
    with pytest.raises(SoftgridError, match="connected to"):
        router.connect_to_grid(grid.address, grid.port, grid.password)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(SoftgridError, match="timed out"):
        join(Worker, 25900).connect_to_grid("127.0.0.1", silent.getsockname()[1], "p", timeout=0.2)
    (worker,) = launch(router, "worker")
    router.disconnect(kill=False, killLocalDowngrids=False)
    assert router.isDisconnected
    poll(lambda: process_is_gone(pid_of(worker)))
    served = join(Worker, 25800)
    serving = threading.Thread(
        target=lambda: served.connect_to_grid(grid.address, grid.port, grid.password, blocking=True)
    )
    serving.start()
    poll(lambda: served.gridUniqueName in grid.workers)
    assert call(grid, "role", served.gridUniqueName) == ["worker"] and serving.is_alive() and served.isWorker
    assert grid.kill_executor(served.gridUniqueName)[0]
    serving.join(10)
    assert not serving.is_alive() and served.isDisconnected  # and this process, whose main thread it was not, goes on
