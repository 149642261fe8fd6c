"""An application with a head (PEP 723) runs in an environment of its own, made once on each machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gridcompute.daemons.environments import Environments
from gridcompute.errors import EnvironmentMissing
from gridcompute.machine.environments import (
    READY,
    UNUSED,
    Environment,
    Head,
    find_uv,
    head_of,
    parse_head,
    survey,
    unused,
)
from tests.support.commands import agents, run_command, write_files
from tests.support.grids import copy_application
from tests.support.uv import helper, needs_uv, uv_offline, with_a_head
from tests.support.waiting import wait_for


@pytest.fixture(scope="module")
def offline(tmp_path_factory) -> dict[str, str]:
    """Variables by which uv finds NumPy in a folder, and this Python as one of its own, without any network."""
    needs_uv()
    return uv_offline(tmp_path_factory.mktemp("uv"))


def test_its_cases_run_there_and_doctor_shows_it(make_grid, offline, tmp_path: Path):
    scripts = {**copy_application, "process": with_a_head, "helper": helper}
    grid = make_grid(apps={"Needs NumPy": scripts}, machines=["PC-1"])
    (file,) = write_files(tmp_path / "inputs", 1)
    home = tmp_path / "home of PC-1"
    with agents(tmp_path) as start:
        agent = start(grid, "PC-1", **offline)
        submitted = run_command("--machine", "PC-1", "submit", "Needs NumPy", file, home=home.with_name("x"), grid=grid)
        assert submitted.code == 0, submitted.err
        wait_for(lambda: grid.documents(status="processed"), 90, lambda: f"{agent.text}\n{grid.documents()}")
        agent.wait_for_line("The environment of 'Needs NumPy' is there")
        seen = run_command("--machine", "PC-1", "doctor", home=home, grid=grid).out
    assert "ok       environment of Needs NumPy" in seen
    received = run_command(
        "--machine", "PC-1", "agent", "--processes", "0", "--until-idle", home=home.with_name("x"), grid=grid
    )
    assert received.code == 0, received.err
    found = (grid.received / "found.txt").read_text()
    assert found.startswith("6 [9] content 0 ")
    assert str(home / "environments") in found
    assert f"computing in {home / 'environments'}" in str(grid.documents())


def test_where_it_cannot_be_made_the_machine_takes_no_case_and_says_why(make_grid, offline, tmp_path: Path):
    process = with_a_head.replace('["numpy"]', '["no-such-package-anywhere"]')
    grid = make_grid(apps={"Strange": {**copy_application, "process": process, "helper": helper}}, machines=["PC-1"])
    (file,) = write_files(tmp_path / "inputs", 1)
    with agents(tmp_path) as start:
        agent = start(grid, "PC-1", **offline)
        agent.wait_for_line("The environment of the application 'Strange' can't be made on this computer", 60)
        assert "no-such-package-anywhere" in agent.text
        assert run_command("submit", "Strange", file, home=tmp_path / "x", grid=grid).code == 0
        seen = run_command("--machine", "PC-1", "doctor", home=tmp_path / "home of PC-1", grid=grid).out
        assert "error    environment of Strange" in seen
        assert [case["status"] for case in grid.documents()] == ["to process"]
    idle = run_command(
        "--machine", "PC-1", "agent", "--until-idle", home=tmp_path / "home of PC-1", grid=grid, **offline
    )
    assert idle.code == 0, "what this machine can't process keeps it from nothing"


def test_a_failure_in_the_environment_is_the_applications_with_its_traceback(tmp_path: Path):
    application = tmp_path / "App"
    application.mkdir()
    (application / "process.py").write_text("def process_case(files):\n    return files[5]\n")
    answer = ask(application, tmp_path)
    assert answer["error"].startswith("process.py failed with IndexError")
    assert answer["traceback"].splitlines()[1].strip().startswith(f'File "{application}')
    (application / "process.py").write_text("def process_case(files):\n    return 5\n")
    assert ask(application, tmp_path) == {"wrong": "int"}


def test_a_softgrid_computes_there_by_the_program_s_own_files(tmp_path: Path, monkeypatch):
    """Nothing is installed in the reach of this Python, and of the program there is nothing else."""
    application = tmp_path / "App"
    application.mkdir()
    (application / "process.py").write_text(computing_on_a_softgrid)
    monkeypatch.setenv("GRIDCOMPUTE_PROCESSES", "2")
    assert ask(application, tmp_path, "-S") == {"value": ["[0, 1, 4]", "2", "gridcompute.server psutil"]}


computing_on_a_softgrid = """
import importlib
from gridcompute.softgrid import open_softgrid

def square(number):
    return number**2

def process_case(files):
    missing = []
    for name in ("gridcompute.server", "psutil"):
        try:
            importlib.import_module(name)
        except ImportError:
            missing.append(name)
    with open_softgrid() as grid:
        found = grid.schedule_job([(square, [number], None) for number in range(3)])
        return [str(found), str(len(grid.workers)), " ".join(missing)]
"""


def test_a_softgrid_is_refused_by_name_in_an_environment_with_an_old_python(tmp_path: Path):
    application = tmp_path / "App"
    application.mkdir()
    as_of_old = "import sys\nsys.version_info = (3, 8, 10)\n"
    (application / "process.py").write_text(f"{as_of_old}import gridcompute.softgrid\n")
    error = ask(application, tmp_path)["error"]
    assert "needs Python 3.10 or newer" in error
    assert "environment has 3.8" in error


def ask(application: Path, folder: Path, *options: str) -> dict:
    request, answer = folder / "request.json", folder / "answer.json"
    asked = {"application_path": str(application), "files": ["a"], "answer": str(answer), "progress": str(folder / "p")}
    request.write_text(json.dumps(asked))
    program = Path(__file__).parents[2] / "gridcompute" / "daemons" / "in_environment.py"
    subprocess.run([sys.executable, *options, program, request], check=True, timeout=60)
    return json.loads(answer.read_text())


def test_a_head_is_read_as_the_standard_says():
    head = parse_head(with_a_head.replace("\n", "\r\n"))
    assert head == Head(("numpy",), ">=3.10")
    assert parse_head("import numpy\n") is None
    assert parse_head("# /// other\n# a = 1\n# ///\n") is None
    with pytest.raises(EnvironmentMissing, match="is no TOML"):
        parse_head("# /// script\n# dependencies = [\n# ///\n")
    with pytest.raises(EnvironmentMissing, match="no list of texts"):
        parse_head('# /// script\n# dependencies = "numpy"\n# ///\n')


def test_another_head_is_another_environment(tmp_path: Path):
    folders = [
        Environment.of(application, Head(needs, ""), tmp_path).folder
        for application, needs in (("App", ("a", "b")), ("App", ("b", "a")), ("App", ("a",)), ("Other", ("a", "b")))
    ]
    assert folders[0] == folders[1]
    assert len(set(folders)) == 3


def test_a_broken_head_keeps_its_application_from_running_and_says_so_once(tmp_path: Path):
    told: list[dict] = []
    environments = Environments(tmp_path, told.append, lambda: None)
    for _ in range(2):
        environments.want({"Broken": "The head of process.py is no TOML."})
    assert not environments.ready("Broken")
    assert environments.ready("Another")
    assert [event["type"] for event in told] == ["warning", "environments changed"]


def test_one_is_made_again_or_removed_only_while_no_case_runs_in_it(offline, monkeypatch, tmp_path: Path):
    for name, value in offline.items():
        monkeypatch.setenv(name, value)
    application, home = tmp_path / "App", tmp_path / "home"
    application.mkdir()
    (application / "process.py").write_text("# /// script\n# dependencies = []\n# ///\n")
    head = head_of(application)
    assert head == Head((), "")
    made = Environments(home, lambda event: None, lambda: None)
    made.want({"App": head})
    wait_for(lambda: made.ready("App"), 60)
    assert made.python("App") is not None
    (found,) = survey({"App": application}, home)
    assert (found.state, found.asked_anew) == (READY, False)
    assert found.size and found.used and found.folder
    (found.folder / "broken").touch()

    Environment.of("App", head, home).ask_anew()
    made.want({"App": head}, running={"App"})
    assert not made.ready("App"), "no further case begins in it"
    (found,) = survey({"App": application}, home)
    assert found.asked_anew and (found.folder / "broken").exists()
    made.want({"App": head})
    wait_for(lambda: made.ready("App"), 60)
    (found,) = survey({"App": application}, home)
    assert not found.asked_anew and not (found.folder / "broken").exists() and found.used is None

    # another head: what is earlier stays below a case that runs in it
    other = Head((), ">=3.10")
    made.want({"App": other}, running={"App"})
    wait_for(lambda: made.ready("App"), 60)
    made.want({"App": other}, running={"App"})
    assert [one.state for one in unused(home, [Environment.of("App", other, home).folder])] == [UNUSED]
    assert found.folder.is_dir()
    made.want({"App": other})
    assert not found.folder.exists()


def test_no_uv_is_said_with_what_to_do(monkeypatch, tmp_path: Path):
    monkeypatch.setenv("PATH", os.devnull)
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    with pytest.raises(EnvironmentMissing, match="pip install uv"):
        find_uv()
