"""Grids for tests: made by factories, ended by fixtures, and looked after for what they leave behind."""

from __future__ import annotations

import gc
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gridcompute.softgrid import Globals, Orchestrator


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
    Globals.RULES["machine_maximum_number_of_workers"] = None
    Globals.RULES["machine_maximum_number_of_managers"] = None
    processes, threads = executor_processes(), set(threading.enumerate())
    yield
    gc.collect()
    mine = str(place).encode()

    def left() -> set[int]:
        found = set()
        for pid in executor_processes() - processes:
            try:
                if mine in Path(f"/proc/{pid}/environ").read_bytes():
                    found.add(pid)
            except OSError:
                continue
        return found

    poll(lambda: not left(), 10.0, "the executors' processes to end")
    poll(lambda: not temporary_folders(), 5.0, f"the temporary folders to go: {temporary_folders()}")
    quiet = ("softgrid news", "softgrid greeting", "softgrid execution")
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


def process_is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def pid_of(name: str) -> int:
    return int(name.split("[")[1].split("]")[0])


assert os.name == "posix", "the tests of softgrid end and watch processes as POSIX does"
