"""``gridcompute demo`` in a process of its own: a whole grid at work, and nothing left of it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import psutil
import pytest

from gridcompute.commands import demo
from gridcompute.errors import MongodError, UsageError
from gridcompute.grid.cases import Case
from gridcompute.machine.mongod import find_mongod
from tests.support import cantilever
from tests.support.commands import Finished, program
from tests.support.grids import command_environment
from tests.support.services import missing
from tests.support.waiting import wait_for


class Stage:
    """The folders of one demo: nothing that it makes may be elsewhere."""

    def __init__(self, folder: Path):
        self.temporary, self.user = folder / "tmp", folder / "user"
        self.temporary.mkdir()
        self.user.mkdir()
        self.environ = {
            **command_environment(folder / "state"),
            **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(self.temporary)),
            **dict.fromkeys(("HOME", "USERPROFILE"), str(self.user)),
        }

    def start(self, *options: str, **environ: str) -> subprocess.Popen:
        return subprocess.Popen(
            [*program, "demo", *options],
            env={**self.environ, **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *options: str, **environ: str) -> Finished:
        with self.start(*options, **environ) as process:
            out, err = process.communicate(timeout=100)
        return Finished(process.returncode, out, err)

    def check_nothing_else_is_left(self, *results: Path) -> None:
        """The user's home is as clean as before, and of the temporary folder only `results` is left."""
        assert not list(self.user.iterdir())
        left = {path for path in self.temporary.iterdir() if path.name.startswith("gridcompute-demo")}
        assert left == set(results)


@pytest.fixture(scope="module", autouse=True)
def needs_mongod() -> None:
    try:
        find_mongod()
    except MongodError as exc:
        missing(str(exc))


@pytest.fixture
def stage(tmp_path) -> Stage:
    return Stage(tmp_path)


@pytest.fixture(scope="module")
def shown(tmp_path_factory) -> tuple[Stage, Finished]:
    """A demo that was looked at to its end."""
    stage = Stage(tmp_path_factory.mktemp("shown"))
    return stage, stage.run("--cases", "5")


def steps_told(out: str) -> dict[str, list[str]]:
    """Case -> its steps in the order printed, without the moment and the machine."""
    told: dict[str, list[str]] = {}
    for found in re.finditer(r"^ +[\d.]+ s  (.{20}) (\S+)", out, re.MULTILINE):
        told.setdefault(found[1].strip(), []).append(found[2])
    return told


def read_until(part: str, process: subprocess.Popen) -> None:
    """Read what a process prints until a line has `part` in it."""
    assert any(part in line for line in process.stdout), f"the program ended without saying '{part}'"


def results_in(stage: Stage) -> Path:
    [folder] = stage.temporary.glob("gridcompute-demo-results-*")
    return folder


def test_real_cases_go_their_whole_way_and_only_the_results_stay(shown):
    stage, done = shown
    assert done.code == 0, done.out + done.err
    results = results_in(stage)
    told = steps_told(done.out)
    samples = {f"sample {number:02}.txt" for number in range(1, 6)}
    rows = {f"beam row {number:03}" for number in range(1, 11)} if shutil.which("ccx") else set()
    assert told.keys() == samples | rows
    for steps in told.values():
        assert steps[0] == "submitted"
        assert steps[-3:] == ["processing", "processed", "received"]
    number = len(told)
    assert f"{number} of {number} cases received in" in done.out
    lines = (results / demo.OUTPUT_NAME).read_text("utf-8").splitlines()
    assert {line.partition(":")[0] for line in lines} == samples
    assert str(results / demo.OUTPUT_NAME) in done.out
    stage.check_nothing_else_is_left(results)


@pytest.mark.skipif(shutil.which("ccx") is None, reason="ccx is not installed (Debian: calculix-ccx)")
def test_the_study_of_the_beam_agrees_with_theory(shown):
    stage, done = shown
    assert done.code == 0, done.out + done.err
    rows = demo.deflections(results_in(stage) / demo.STUDY)
    assert [load for load, _, _ in rows] == list(cantilever.EXAMPLE_LOADS)
    for load, computed, theory in rows:
        assert theory == pytest.approx(cantilever.Beam().deflection(load))
        assert computed == pytest.approx(theory, rel=0.05)
    assert "deflection of the tip" in done.out


def test_without_ccx_random_counter_is_shown_alone(stage):
    done = stage.run("--cases", "2", GRIDCOMPUTE_CCX="/nowhere/ccx")
    assert done.code == 0, done.out + done.err
    assert "CalculiX    is left out" in done.out
    assert steps_told(done.out).keys() == {"sample 01.txt", "sample 02.txt"}
    assert "deflection" not in done.out


def test_a_grid_that_is_kept_can_be_used_again(stage, tmp_path):
    keep = tmp_path / "my demo"
    done = stage.run("--cases", "2", "--keep", str(keep), GRIDCOMPUTE_CCX="/nowhere/ccx")
    assert done.code == 0, done.out + done.err
    stage.check_nothing_else_is_left()
    assert (keep / "results" / demo.OUTPUT_NAME).is_file()
    again = next(line for line in done.out.splitlines() if "gridcompute serve" in line)
    assert f'--data "{keep / "mongodb"}"' in again
    port, secret = re.search(r"--port (\d+) .*--password=(\S+)", again).groups()
    serving = subprocess.Popen(
        [*program, "serve", "--data", str(keep / "mongodb"), "--host", "127.0.0.1", "--port", port]
        + ["--user-group", "demo", f"--password={secret}"],
        env=stage.environ,
        stdout=subprocess.PIPE,
        text=True,
    )
    with serving:
        read_until("It runs until", serving)
        listed = subprocess.run(
            [*program, "--server", str(keep / "Shared_Folder"), "cases", "--all"],
            env=stage.environ,
            capture_output=True,
            text=True,
            check=False,
        )
        serving.terminate()
    assert listed.stdout.count("received") == 2, listed.stderr


def test_a_folder_that_is_not_empty_is_refused_and_left_alone(stage, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    done = stage.run("--keep", str(tmp_path))
    assert done.code == 2
    assert "is not empty" in done.err
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_in_the_middle_it_ends_all_it_started(stage, number):
    process = stage.start("--cases", "200", GRIDCOMPUTE_CCX="/nowhere/ccx")
    with process:
        read_until("processing", process)
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130, out + err
    assert "stopped; what the demo started is ended" in err
    assert "Traceback" not in err
    stage.check_nothing_else_is_left(*stage.temporary.glob("gridcompute-demo-results-*"))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_stopped_at_its_start_it_ends_too(stage):
    process = stage.start()
    with process:
        wait_for(lambda: list(stage.temporary.glob("gridcompute-demo-*/mongodb/mongod.log")), 40)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130, out + err
    stage.check_nothing_else_is_left()


def test_killed_it_takes_its_programs_with_it(stage):
    process = stage.start("--cases", "200", GRIDCOMPUTE_CCX="/nowhere/ccx")
    with process:
        read_until("processing", process)
        tree = psutil.Process(process.pid).children(recursive=True)
        process.kill()
    assert len(tree) > 5
    wait_for(lambda: not any(map(lives, tree)), 60)


def lives(process: psutil.Process) -> bool:
    """Whether a process runs; it may end between two questions."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_an_agent_that_ends_unasked_fails_the_demo_with_its_last_words(stage):
    process = stage.start("--cases", "200", GRIDCOMPUTE_CCX="/nowhere/ccx")
    with process:
        read_until("processing", process)
        agents = [one for one in psutil.Process(process.pid).children() if "agent" in one.cmdline()]
        assert len(agents) == 2
        agents[0].kill()
        _, err = process.communicate(timeout=40)
    assert process.returncode == 1
    assert "The program of pc-anna ended with code" in err
    stage.check_nothing_else_is_left(*stage.temporary.glob("gridcompute-demo-results-*"))


def test_a_case_that_fails_is_told_and_the_exit_code_says_so(stage, tmp_path):
    solver = tmp_path / "ccx"
    solver.write_text(f"#!{sys.executable}\nprint(' *ERROR in the test')\n")
    solver.chmod(0o755)
    done = stage.run("--cases", "1", GRIDCOMPUTE_CCX=str(solver))
    assert done.code == 1, done.out + done.err
    assert "1 of 11 cases received" in done.out
    assert "*ERROR in the test" in done.out
    assert steps_told(done.out)["beam row 001"][-1].startswith("error")


def test_the_window_that_is_not_there_is_wrong_use(monkeypatch):
    monkeypatch.setattr(demo.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="without --gui"):
        demo.run(cases=1, keep=None, gui=True)


def test_the_way_of_a_case_names_every_attempt():
    start = datetime(2026, 1, 1, tzinfo=timezone.utc)
    moments = [start + timedelta(seconds=number) for number in range(6)]
    document = {
        "_id": 1,
        "status": "error: no luck",
        "origin": {"machine": "A", "user": "anna", "time": {"start": moments[0]}},
        "processors": {
            "processor_list": [
                {"machine": "B", "start": moments[1], "end": moments[2], "outcome": "lost"},
                {"machine": "C", "start": moments[3], "end": moments[4], "outcome": "failed"},
            ]
        },
    }
    assert list(demo.steps_of(Case.of(document))) == [
        (moments[0], "submitted by anna on A"),
        (moments[1], "processing on B"),
        (moments[2], "lost on B"),
        (moments[3], "processing on C"),
        (moments[4], "failed on C"),
        (moments[4], "error: no luck"),
    ]
