"""A case that takes several of its machine's processes and computes over them by a softgrid."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest

from tests.faults.conftest import Office, patience
from tests.faults.doors import application
from tests.support.commands import program
from tests.support.grids import command_environment
from tests.support.waiting import wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the processes are looked for in /proc")

process_on_a_softgrid = """
from gridcompute.softgrid import open_softgrid

def square(number):
    return number**2, os.getpid()

def process_case(input_files):
    file = Path(input_files[0])
    say(f"begun {file.name}")
    with open_softgrid() as grid:
        for worker in grid.workers:
            say("worker " + worker.partition("[")[2].partition("]")[0])
        say(f"computes {file.name}")
        wait_at(file.name)
        found = grid.schedule_job([(square, [number], None) for number in range(300)])
        say(f"used {len({pid for _, pid in found})}")
    say(f"done {file.name}")
    return result(file.name, str(sum(value for value, _ in found)).encode())
"""

process_alone = """
def process_case(input_files):
    file = Path(input_files[0])
    say(f"begun {file.name}")
    say(f"done {file.name}")
    return result(file.name, file.read_bytes())
"""


@pytest.fixture
def office(make_office: Callable[..., Office]) -> Office:
    apps = {"Wide": application(process_on_a_softgrid, processes="all"), "Small": application(process_alone)}
    return make_office(apps, ["PC-1"])


@pytest.fixture
def run_softgrid(office: Office) -> Iterator[Callable[..., Any]]:
    """Starts ``gridcompute softgrid ...`` of the person at PC-1: an orchestrator's place, or a process id."""
    started: list[subprocess.Popen[str]] = []

    def start(deed: str, *arguments: str) -> Any:
        environment = {**command_environment(office.home_of("PC-1")), "GRIDCOMPUTE_SOFTGRID_PASSWORD": "of the tests"}
        command = [*program, "softgrid", deed, *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        started.append(process)
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(2 if deed == "start" else 1)]
        return lines[-1].split()[-1] if deed == "start" else process.pid

    yield start
    for process in reversed(started):
        process.terminate()
        process.communicate(timeout=30)


def workers_of(office: Office) -> list[int]:
    """The process ids of the softgrid's workers, as the case told them."""
    return [int(line.split()[1]) for line in office.told() if line.startswith("worker ")]


def state_of(pid: int) -> str:
    try:
        return psutil.Process(pid).status()
    except psutil.NoSuchProcess:
        return "gone"


def test_a_case_computes_over_the_machines_processes_and_nothing_runs_beside_it(office: Office):
    (wide,) = office.submit(["wide"], "Wide", priority=90)
    small = office.submit(["a", "b", "c"], "Small")
    office.agent(processes=3)
    office.wait_until_told("computes wide")
    assert len(workers_of(office)) == 3

    office.open("wide")
    office.wait_for_all([wide, *small])

    told = office.told()
    between = told[told.index("begun wide") : told.index("done wide")]
    assert not [line for line in between if line in ("begun a", "begun b", "begun c")]
    assert {"done a", "done b", "done c"} <= set(told) and "used 3" in told
    content = (office.grid.received / "wide.out").read_text()
    assert content == f"processed:{sum(number**2 for number in range(300))}"
    assert {state_of(pid) for pid in workers_of(office)} == {"gone"}


def test_nothing_of_a_softgrid_survives_the_kill_of_its_agent(office: Office):
    office.submit(["wide"], "Wide")
    agent = office.agent(processes=3)
    office.wait_until_told("computes wide")
    tree = agent.tree()
    assert set(workers_of(office)) <= {one.pid for one in tree}

    os.kill(agent.process.pid, signal.SIGKILL)

    wait_for(
        lambda: {state_of(one.pid) for one in tree} <= {"gone", psutil.STATUS_ZOMBIE},
        patience,
        lambda: f"all have ended; there are {[one for one in tree if one.is_running()]}",
    )


def test_a_computer_that_joins_a_softgrid_lends_so_many_processes_fewer_to_cases(office: Office, run_softgrid):
    """The large case is paused with all its workers, and goes on when the softgrid's person leaves."""
    (wide,) = office.submit(["wide"], "Wide")
    agent = office.agent(processes=3)
    office.wait_until_told("computes wide")
    workers = workers_of(office)
    place = run_softgrid("start", "--address", "127.0.0.1", "--port", "25700")

    joined = run_softgrid("join", place, "--processes", "1")

    agent.wait_for_line("1 of 3 lent to a softgrid")
    wait_for(lambda: {state_of(pid) for pid in workers} == {psutil.STATUS_STOPPED}, patience, "the workers rest")
    os.kill(joined, signal.SIGKILL)
    wait_for(lambda: psutil.STATUS_STOPPED not in {state_of(pid) for pid in workers}, patience, "the workers go on")
    office.open("wide")
    office.wait_for_all([wide])
    assert "used 3" in office.told()
