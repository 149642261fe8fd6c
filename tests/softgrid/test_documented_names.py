"""The documented names, arguments and defaults are the specification."""

from __future__ import annotations

import inspect
import itertools
import os
import re
import signal
import socket

import pytest

import gridcompute.config
from gridcompute import softgrid
from gridcompute.softgrid import Collections, Core, Executors, Globals, node

from .conftest import launch, pid_of, poll, process_is_gone

DOCUMENTED = """
GridBase: kill() disconnect(kill=None, killLocalDowngrids=True) split_grid_unique_name(gridUniqueName)
  add_object(name, obj, replace=True) get_object(name, default=None, serialize=False, mustExist=True)
  pop_object(name, default=None, serialize=False, mustExist=False) add_data(name, data, replace=True)
  get_data(name, default=None, mustExist=True) pop_data(name, default=None, mustExist=False)
  add_file(name, path, data, root='temporary', writeFunc=None, wargs=None, wkwargs=None, readFunc=None,
 replace=True)
  get_file(name, rargs=None, rkwargs=None, default=None, mustExist=True)
  pop_file(name, rargs=None, rkwargs=None, default=None, mustExist=True, delete=False)
  add_udf(name, func, firstArgExecutor, replace=True) get_udf(name, default=None, mustExist=True)
  pop_udf(name, default=None, mustExist=False)
  add_package(packageDict, relativeRoot='', description='', sitePackages='temporary', replace=False)
MachineManagement: get_machine_rules(address) set_machine_rules(address, rules) get_machine_info(address)
  get_remaining_executors_allowed(address)
TransferBase: get_managers_to_workers_receivers_bounce_lists()
  get_transfer_template(func=None, args=None, kwargs=None, priority=1, bounce=None, promisePassword=None,
 returnResult=True, storeResult=False, resultName=None)
  get_transfer_wait_timeout(transferTimeout=10, multiplier=3, pathLength=None)
  get_small_transfer_wait_timeout(pathLength=None) get_big_transfer_wait_timeout(pathLength=None)
  transfer(transferKwargs, receivers, allowBridging=True, bounce=None, collect=False, transferTimeout=None,
 multiplier=9223372036854775807)
  log_and_transfer(logType, message, data=None, tback=None, gridUniqueName=None, utcTime=None, transferRoute=None,
 logLocally=True)
  transfer_to_executor_and_log(receiver, logType, message, tback=None, largs=None, lkwargs=None)
MethodsBase: get_executor_grid_path(gridUniqueName, transferTimeout=10, multiplier=3)
  transfer_add_object(name, obj, receivers, bounce=None, timeout=10, dumps=None, replace=True)
  transfer_get_object(name, receivers, timeout=10, default=None, mustExist=True)
  transfer_pop_object(name, receivers, timeout=10, default=None, mustExist=False)
  transfer_add_data(name, data, receivers, bounce=None, timeout=10, replace=True)
  transfer_get_data(name, receivers, timeout=10, default=None, mustExist=True)
  transfer_pop_data(name, receivers, default=None, timeout=10, mustExist=False)
  transfer_add_udf(name, func, firstArgExecutor, receivers, timeout=10, replace=True)
  transfer_get_udf(name, receivers, default=None, timeout=10, mustExist=True)
  transfer_pop_udf(name, receivers, default=None, timeout=10, mustExist=False)
LaunchBase: launch_executor(executorAddress, executorType, executorKwargs=None, upgridUniqueName=None,
 machineUser=None, machineExecutable=None, timeout=10, retry=3)
ExecutorBase: connect_to_grid(address, port, password, handshakeTrackingKey=None, blocking=False, timeout=20)
Orchestrator: kill_executor(receivers) garbage_collect(receivers=None)
"""

PROPERTIES = [
    "isDisconnected",
    "killAtDisconnect",
    "applicationName",
    "gridPath",
    "gridUniqueName",
    "role",
    "pid",
    "address",
    "port",
    "portFetch",
    "password",
    "name",
    "softgridVersion",
    "uniqueName",
    "UTCStartTime",
    "startDateTime",
    "passwords",
    "paths",
    "routers",
    "managers",
    "workers",
    "machines",
    "machineNumberOfCores",
    "machinesAddress",
    "rules",
    "heartMonitorFrequency",
    "heartbeatTolerance",
    "relaunch",
    "executorsTransport",
    "isOrchestrator",
    "isRouter",
    "isManager",
    "isWorker",
    "allowExecutingUDF",
    "machineProperties",
    "softgridProperties",
    "executorProperties",
    "acceptRouters",
    "acceptManagers",
    "acceptWorkers",
]


def documented_methods():
    found = []
    for part in re.split(r"\n(?=\w+: )", DOCUMENTED.strip()):
        owner, _, rest = part.partition(": ")
        for name, arguments in re.findall(r"(\w+)\(([^()]*)\)", rest):
            found.append(pytest.param(owner, name, " ".join(arguments.split()), id=f"{owner}.{name}"))
    return found


@pytest.mark.parametrize(("owner", "name", "arguments"), documented_methods())
def test_a_method_takes_the_documented_arguments(owner, name, arguments):
    kind = getattr(Core, owner, None) or getattr(Executors, owner)
    found = list(inspect.signature(vars(kind)[name]).parameters.values())[1:]
    wanted = list(inspect.signature(eval(f"lambda {arguments}: 0")).parameters.values())
    assert [p.name for p in found] == [p.name for p in wanted]
    for have, want in zip(found, wanted, strict=True):
        assert have.default == want.default


def test_the_classes_inherit_each_other_as_documented():
    order = (
        "GridBase MachineManagement TransferBase RequesterResponderBase MethodsBase AssessBase LaunchBase ExecutorBase"
    )
    classes = [getattr(Core, name) for name in order.split()]
    for lower, upper in itertools.pairwise(classes):
        assert upper.__bases__ == (lower,)
    assert Executors.Orchestrator.__bases__ == (Core.ExecutorBase, Core.TaskScheduler)
    assert set(softgrid.__all__) >= {"Orchestrator", "Router", "Manager", "Worker", "Globals", "Collections"}


@pytest.mark.parametrize("base", ["GridBase", "MethodsBase", "LaunchBase", "ExecutorBase"])
def test_a_base_cannot_be_made(base):
    with pytest.raises(TypeError):
        getattr(Core, base)()


def test_constructors_take_the_documented_arguments():
    wanted = (
        "name applicationName address port portFetch password allowExecutingUDF relaunch acceptRouters acceptManagers "
        "acceptWorkers temporaryDir permanentDir ddfsDir logKwargs args kwargs"
    )
    assert list(inspect.signature(Core.ExecutorBase).parameters) == wanted.split()
    defaults = {
        "Worker": {"port": 5001, "relaunch": True},
        "Manager": {"port": 5000, "relaunch": 10, "allowExecutingUDF": None},
        "Router": {"port": 5001, "relaunch": 5, "allowExecutingUDF": None},
        "Orchestrator": {
            "port": 5000,
            "allowExecutingUDF": False,
            "heartMonitorFrequency": 10,
            "heartbeatTolerance": 60,
        },
    }
    for name, wanted_defaults in defaults.items():
        parameters = inspect.signature(getattr(Executors, name)).parameters
        assert {key: parameters[key].default for key in wanted_defaults} == wanted_defaults


def test_every_documented_property_is_there(make_grid):
    grid = make_grid(killAtDisconnect=False, applicationName="app")
    for name in PROPERTIES:
        getattr(grid, name)
    assert grid.role == "orchestrator" and grid.isOrchestrator and not grid.isWorker
    assert grid.gridPath == [grid.gridUniqueName] == [f"orchestrator|Orchestrator@127.0.0.1[{grid.pid}]:{grid.port}"]
    assert grid.passwords == {"routers": {}, "managers": {}, "workers": {}}
    assert grid.paths == {"router": {}, "manager": {}, "worker": {}}
    assert grid.heartMonitorFrequency == 10 and grid.heartbeatTolerance == 60
    assert grid.connect_to_grid("h", 1, "p") is None
    with pytest.raises(TypeError, match="unheard"):
        make_grid(unheard=1)


def test_the_template_has_the_documented_keys(make_grid):
    assert set(make_grid().get_transfer_template(len)) == {
        "mode", "propagate_upgrid", "propagate_routers", "propagate_managers", "propagate_workers",
        "propagate_recursive", "bounce_transfer", "function", "first_argument_executor", "promise_password", "args",
        "kwargs", "result_handling", "priority", "allow_bridging",
    }  # fmt: skip


def test_a_status_is_its_own_truth_and_list():
    status = Collections.SoftgridStatus(False, "why", data=1, name="n")
    assert not status and list(status) == [status] and "why" in str(status)
    assert (status.successful, status.error, status.data, status.name) == (False, "why", 1, "n")


def test_an_unknown_transport_is_refused_with_the_list_of_names(make_grid):
    with pytest.raises(ValueError, match="there are: multiprocessing"):
        make_grid(rules={"transport_implementation": "pigeons"})


def test_rules_of_the_documentation_are_there():
    assert Globals.maxint == 9223372036854775807
    assert set(Globals.DEFAULT_RULES) >= {
        "overload_machine_rules", "execution_allow_negative_priority", "router_allow_executing_udf", "timeout_long",
        "timeout_short_multiplier", "transfer_collect_sleep_time", "transport_implementation", "log_worker_kwargs",
    }  # fmt: skip


def test_sigterm_ends_an_executor_cleanly(make_grid):
    grid = make_grid()
    (worker,) = launch(grid, "worker", executorKwargs={"relaunch": True})
    os.kill(pid_of(worker), signal.SIGTERM)
    poll(lambda: not grid.workers and process_is_gone(pid_of(worker)))


def test_an_address_of_this_computer_is_launched_without_ssh(make_grid, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    grid = make_grid()
    for address in {"localhost", socket.gethostname(), "127.0.0.1"}:
        _, ok, failed = grid.launch_worker(
            address, machineUser="somebody", executorKwargs={"relaunch": False}, timeout=30
        )
        if not failed:
            assert ok[0]["machineUser"] == "somebody"
    assert len(grid.workers) >= 2
    assert grid.machinesAddress == ["127.0.0.1"]


def test_another_transport_takes_the_place_of_the_built_in_one(make_grid, monkeypatch):
    class Counting(node.Node):
        sent = 0

        def send(self, *args, **kwargs):
            Counting.sent += 1
            return super().send(*args, **kwargs)

    monkeypatch.setitem(node.TRANSPORTS, "counting", Counting)
    grid = make_grid(rules={"transport_implementation": "counting"})
    assert isinstance(grid.executorsTransport, Counting)
    assert grid.transfer(grid.get_transfer_template("role"), grid.gridUniqueName, collect=True) == ["orchestrator"]
    assert Counting.sent == 2


def test_softgrid_tells_where_it_comes_from():
    assert softgrid.get_version() == softgrid.__version__
    assert softgrid.get_author() == gridcompute.config.author
    assert softgrid.get_doc().startswith("http") and softgrid.get_repository().startswith("http")
    assert softgrid.get_pypi() == "https://pypi.org/project/gridcompute" and isinstance(softgrid.get_email(), str)
    assert softgrid.DDFS.DDFSETL and softgrid.Addons.RepositoryTransfer
    with pytest.raises(AttributeError):
        softgrid.nothing  # noqa: B018
