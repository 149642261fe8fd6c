"""Grids for tests: made by factories, ended by fixtures, and looked after for what they leave behind."""

from __future__ import annotations

import contextlib
import copy
import gc
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gridcompute.softgrid import Globals, Orchestrator, running

SHARED = "Shared"
"""The name of orchestrators that serve more than one test."""

NO_LIMITS = {"machine_maximum_number_of_workers": None, "machine_maximum_number_of_managers": None}


def poll(condition: Callable[[], Any], timeout: float = 20.0, what: str = "") -> Any:
    """Waits for a condition to hold, at most `timeout` seconds; returns what it gave."""
    until = time.monotonic() + timeout
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > until:
            raise AssertionError(f"waited {timeout:g} s in vain: {what or condition}")
        time.sleep(0.01)


def executor_processes() -> set[int]:
    """Processes of this machine that were started as executors or are their guardians."""
    found = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                line = (folder / "cmdline").read_bytes()
                state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if b"sys.stdin.buffer.readline" in line and state not in "ZX":
                found.add(int(folder.name))
    return found


def temporary_folders() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("softgrid-*"))


@pytest.fixture(autouse=True)
def _nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Processes, threads, temporary folders and rules are after a test as they were before."""
    place = tmp_path / "tmp"
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(Globals, "INTERACTIVE_MODE", True)
    monkeypatch.setattr(Globals, "RULES", Globals.default_rules())
    Globals.RULES.update(NO_LIMITS)
    threads, made = set(threading.enumerate()), list(running._made)
    yield
    if running._made != made:
        gc.collect()  # what was left open is this test's, not a later one's
    poll(lambda: not executors_of(place), 10.0, "the executors' processes to end")
    poll(lambda: not temporary_folders(), 5.0, f"the temporary folders to go: {temporary_folders()}")
    quiet = ("softgrid news", "softgrid greeting", "softgrid execution", f"softgrid {SHARED}")
    poll(
        lambda: (
            not [
                t
                for t in set(threading.enumerate()) - threads
                if t.name.startswith("softgrid") and not t.name.startswith(quiet)
            ]
        ),
        10.0,
        "threads of ours to end",
    )


def executors_of(temporary: Path) -> set[int]:
    """The executors and guardians whose temporary folders lie in a place: each test has its own."""
    found = set()
    for pid in executor_processes():
        with contextlib.suppress(OSError):
            if str(temporary).encode() in Path(f"/proc/{pid}/environ").read_bytes():
                found.add(pid)
    return found


@pytest.fixture
def make_grid() -> Iterator[Callable[..., Orchestrator]]:
    """An Orchestrator on the loopback address; ended after the test."""
    made: list[Orchestrator] = []

    def make(**kwargs: Any) -> Orchestrator:
        defaults = {"address": "127.0.0.1", "password": "a password of the tests", "port": 25000}
        orchestrator = Orchestrator(**{**defaults, **kwargs})
        made.append(orchestrator)
        return orchestrator

    yield make
    for orchestrator in made:
        orchestrator.disconnect(kill=False)


class Shelf:
    """Grids that the tests of a module use one after the other: each is as new for each test, or another one."""

    def __init__(self, folder: Path, processes: set[int]):
        self._folder, self._processes = folder, processes
        self._kept: dict[str, tuple[Orchestrator, list[str], dict[str, Any]]] = {}

    def take(self, kind: str, fill: Callable[[Orchestrator], object], **rules: Any) -> Orchestrator:
        if kind not in self._kept:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("TMPDIR", str(self._folder))
                patch.setattr(tempfile, "tempdir", None)
                grid = Orchestrator("127.0.0.1", 24000, name=SHARED, rules={**NO_LIMITS, **rules})
                fill(grid)
            self._processes |= executors_of(self._folder)
            call(grid, remember, grid.workers, first=True)
            remember(grid)
            self._kept[kind] = (grid, list(grid._node.tree.members), copy.deepcopy(grid._rules))
        return self._kept[kind][0]

    def put_back(self, kind: str) -> None:
        grid, members, rules = self._kept[kind]
        if grid.isDisconnected or list(grid._node.tree.members) != members or not is_as_new(grid):
            self._kept.pop(kind)
            grid.disconnect(kill=False)
        else:
            grid._rules = copy.deepcopy(rules)

    def close(self) -> None:
        for grid, _, _ in self._kept.values():
            grid.disconnect(kill=False)
        poll(lambda: not executors_of(self._folder) and not list(self._folder.iterdir()), 10.0, "the grids to end")


def is_as_new(grid: Orchestrator) -> bool:
    """Whether no executor has anything to do, all that tests left there forgotten."""

    def loads() -> list[Any]:
        return [forget(grid), *call(grid, forget, grid.workers, first=True, priority=None, timeout=5)]

    try:
        return bool(poll(lambda: loads() == [0, *(1 for _ in grid.workers)], 2.0))
    except AssertionError:
        return False


def remember(executor: Any) -> None:
    executor.as_made = {"as_made", *vars(executor)}


def forget(executor: Any) -> int:
    """Takes an executor back to what it was; how much it has to do, this function included."""
    for bridge in executor._node.bridges.all():
        executor.destroy_bridge(bridge.name, bridge.password)
    for name in ("_objects", "_data", "_files", "_udfs", "_executedReturned", "_executedStored", "_built_bridges"):
        getattr(executor, name).clear()
    executor._requests = type(executor._requests)()
    for name in set(vars(executor)) - executor.as_made:
        delattr(executor, name)
    return int(executor._executions.load)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory, shared_processes: set[int]) -> Iterator[Shelf]:
    made = Shelf(tmp_path_factory.mktemp("shared"), shared_processes)
    yield made
    made.close()


@pytest.fixture
def two_workers(shelf: Shelf) -> Iterator[Orchestrator]:
    """An Orchestrator with two workers, which other tests use too: what a test does to its processes is done anew."""
    yield shelf.take("two workers", lambda grid: launch(grid, "worker", 2))
    shelf.put_back("two workers")


def launch(
    orchestrator: Orchestrator, role: str, count: int = 1, upgrid: str | None = None, **kwargs: Any
) -> list[str]:
    """Launches executors of a role on this machine and returns their names; they are not launched again."""
    options = {"relaunch": False, **kwargs.pop("executorKwargs", {})}
    statuses, successful, failed = orchestrator.launch_executor(
        [orchestrator.address] * count,
        role,
        executorKwargs=options,
        upgridUniqueName=upgrid,
        **{"timeout": 30, **kwargs},
    )
    assert all(statuses), [str(status) for status in statuses]
    assert not failed
    return [item["gridUniqueName"] for item in successful]


def call(executor: Any, function: Any, receivers: Any, *args: Any, timeout: float | None = 30, **options: Any) -> Any:
    """Transfers a function to receivers and collects their results."""
    first = options.pop("first", None)
    kwargs = options.pop("kwargs", None)
    template = executor.get_transfer_template(function, args=args, kwargs=kwargs, **options)
    template["first_argument_executor"] = first
    return executor.transfer(template, receivers, collect=True, transferTimeout=timeout)


class Door:
    """Holds a worker until it is opened: a function there waits for a file."""

    def __init__(self, grid: Orchestrator, worker: str, folder: Path):
        self.path = folder / f"door {id(self)}"
        template = grid.get_transfer_template(wait_for_file, args=(str(self.path),), resultName="door")
        grid.transfer(template, worker)
        poll(lambda: load(grid, worker) > 0)

    def open(self) -> None:
        self.path.touch()


def wait_for_file(path: str) -> str:
    import pathlib
    import time

    while not pathlib.Path(path).exists():
        time.sleep(0.005)
    return path


def load(grid: Orchestrator, worker: str) -> int:
    """How much a worker has to do."""
    return grid._loads([worker])[worker]


def process_is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def pid_of(name: str) -> int:
    return int(name.split("[")[1].split("]")[0])


assert os.name == "posix", "the tests of softgrid end and watch processes as POSIX does"
