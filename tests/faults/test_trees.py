"""Rule 5, by force: whoever of those that hold a case is killed, nothing of the case lives on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from gridcompute.machine.processes import Child, Children
from tests.support.waiting import wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the processes are looked for in /proc")

root = Path(__file__).parents[2]
entry = "tests.support.case_jobs:run"
limit = 3.0
"""Seconds in which all must be gone: rule 5."""

owner_program = """
import sys, time
from pathlib import Path
from gridcompute.machine.processes import Children

method, work, paused = sys.argv[1], Path(sys.argv[2]), sys.argv[3] == "paused"
children = Children(work=work, entry="tests.support.case_jobs:run", method=method)
child = children.start({"do": "hold_tree", "work": str(work / "case")})
pids = work / "case" / "pids"
while not (pids.exists() and len(pids.read_text().split()) >= 6):
    time.sleep(0.01)
if paused:
    child.pause()
print("ready", flush=True)
time.sleep(1000)
"""


def living(pids: list[int]) -> list[int]:
    found = []
    for pid in pids:
        try:
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(pid)
        except psutil.NoSuchProcess:
            continue
    return found


def noted(work: Path) -> list[int]:
    path = work / "pids"
    wait_for(lambda: path.exists() and len(path.read_text().split()) >= 6, 20.0, "the tree")
    return [int(line) for line in path.read_text().split()]


@pytest.fixture(autouse=True)
def _find_jobs(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(root))


@pytest.fixture
def children(tmp_path):
    with Children(work=tmp_path / "work", entry=entry, method="fork") as children:
        yield children


@pytest.fixture
def held(children) -> Child:
    """A child whose tree of every kind of process stands."""
    child = children.start({"do": "hold_tree"})
    noted(Path(child.job["work"]))
    return child


def ended_of(children: Children, child: Child) -> dict:
    heard: list[dict] = []

    def ended() -> bool:
        heard.extend(message for one, message in children.poll() if one is child)
        return bool(heard) and heard[-1]["kind"] == "ended"

    wait_for(ended, 10.0, "the end is told")
    assert [message["kind"] for message in heard].count("ended") == 1
    return heard[-1]


def keeper_of(child: Child) -> psutil.Process:
    assert child.pid is not None
    keeper = psutil.Process(child.pid).parent()
    assert keeper is not None
    return keeper


def helper_of(child: Child) -> psutil.Process:
    helper = keeper_of(child).parent()
    assert helper is not None and helper.pid != os.getpid()
    return helper


def assert_next_child_works(children: Children) -> None:
    child = children.start({"do": "nothing", "answer": 1})
    heard: list[dict] = []

    def ended() -> bool:
        heard.extend(message for one, message in children.poll() if one is child)
        return bool(heard) and heard[-1]["kind"] == "ended"

    wait_for(ended, 10.0, "the next child ends")
    assert heard[0]["answer"] == 1


@pytest.mark.parametrize("state", ["running", "paused"])
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_killed_owner_takes_its_trees_along(tmp_path, method, state):
    owner = subprocess.Popen(
        [sys.executable, "-c", owner_program, method, str(tmp_path), state], stdout=subprocess.PIPE, text=True
    )
    with owner:
        assert owner.stdout is not None and owner.stdout.readline() == "ready\n"
        family = [process.pid for process in psutil.Process(owner.pid).children(recursive=True)]
        pids = sorted({*noted(tmp_path / "case"), *family})
        assert set(noted(tmp_path / "case")) <= set(living(pids))

        owner.kill()

        wait_for(lambda: not living(pids), limit, lambda: f"alive: {living(pids)}")


@pytest.mark.parametrize("state", ["running", "paused"])
def test_a_killed_helper_takes_its_trees_along_and_is_replaced(children, held, state):
    pids = [*noted(Path(held.job["work"])), keeper_of(held).pid]
    if state == "paused":
        held.pause()

    helper_of(held).kill()

    wait_for(lambda: not living(pids), limit, lambda: f"alive: {living(pids)}")
    assert ended_of(children, held)["lost"]
    assert_next_child_works(children)


@pytest.mark.parametrize("state", ["running", "paused"])
def test_a_killed_keeper_takes_its_tree_along(children, held, state):
    pids = noted(Path(held.job["work"]))
    if state == "paused":
        held.pause()
        wait_for(lambda: psutil.Process(held.pid).status() == psutil.STATUS_STOPPED, 5.0, "the tree stops")

    keeper_of(held).kill()

    wait_for(lambda: not living(pids), limit, lambda: f"alive: {living(pids)}")
    assert ended_of(children, held)["lost"]
    assert_next_child_works(children)


def test_helper_and_keeper_killed_together_leave_nothing(children, held):
    pids = noted(Path(held.job["work"]))
    keeper, helper = keeper_of(held), helper_of(held)

    helper.suspend()  # so that it can't clear up behind its keeper
    keeper.kill()
    helper.kill()

    wait_for(lambda: not living(pids), limit, lambda: f"alive: {living(pids)}")
    assert ended_of(children, held)["lost"]
    assert_next_child_works(children)


def test_a_killed_runner_takes_its_tree_along(children, held):
    pids = noted(Path(held.job["work"]))

    os.kill(held.pid, signal.SIGKILL)

    assert ended_of(children, held) == {"kind": "ended", "exit": None, "signal": 9}
    assert living(pids) == []


def test_a_runner_killed_while_it_waits_is_replaced(children, held):
    (waiting,) = [
        runner
        for keeper in helper_of(held).children()
        if keeper.pid != keeper_of(held).pid
        for runner in wait_for(keeper.children, 5.0, "a runner waits")
    ]

    waiting.kill()

    assert_next_child_works(children)


def test_children_that_are_forgotten_end_with_the_program(tmp_path):
    program = owner_program.replace("time.sleep(1000)", "")
    done = subprocess.run(
        [sys.executable, "-c", program, "fork", str(tmp_path), "running"], capture_output=True, text=True, timeout=30
    )

    assert done.returncode == 0, done.stderr
    pids = noted(tmp_path / "case")
    wait_for(lambda: not living(pids), limit, lambda: f"alive: {living(pids)}")
