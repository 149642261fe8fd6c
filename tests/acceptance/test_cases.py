"""The main job, as a user's script sees it: submit, process, receive, by the installed command."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.cantilever import Beam, tip_deflection, write_study
from tests.support.commands import agents, run_command, write_files
from tests.support.services import need_programs
from tests.support.waiting import wait_for


@pytest.fixture
def start_agent(tmp_path):
    with agents(tmp_path) as start:
        yield start


def test_a_case_goes_from_submit_to_received_and_leaves_nothing_on_the_share(make_grid, start_agent, tmp_path):
    grid = make_grid()
    start_agent(grid, "PC-1", 1)
    (file,) = write_files(tmp_path / "in", 1)
    done = run_command("submit", "Copy", file, "--wait", "--json", home=tmp_path / "home", grid=grid)
    assert done.code == 0, done.err
    (case,) = done.json["cases"]
    assert case["application"] == "Copy" and case["status"] == "received" and case["files"] == [str(file)]
    assert (grid.received / "0-input 0.txt.out").read_text() == "processed:content 0"
    wait_for(lambda: not grid.archives(), 10, "both archives are removed")


def test_an_agent_of_the_same_person_processes_and_receives_until_nothing_is_left(make_grid, start_agent, tmp_path):
    grid = make_grid()
    home = tmp_path / "home"
    files = write_files(tmp_path / "in", 12)
    done = run_command("--machine", "PC-1", "submit", "Copy", *files, home=home, grid=grid)
    assert done.code == 0 and len(done.out.splitlines()) == 12
    waiting = run_command("cases", "--json", home=home, grid=grid).json["cases"]
    assert [case["status"] for case in waiting] == ["to process"] * 12
    agent = start_agent(grid, "PC-1", 2, "--until-idle", home=home)
    assert agent.process.wait(60) == 0, agent.text
    assert sorted(path.name for path in grid.received.glob("*.out")) == sorted(f"0-{file.name}.out" for file in files)
    assert not grid.archives()
    assert run_command("cases", home=home, grid=grid).out == "All your cases are received.\n"


def test_a_cantilever_study_over_two_machines_agrees_with_beam_theory(make_grid, start_agent, tmp_path):
    """P L^3 / 3 E I within 5 %, ten loads in one table, two agents named as two machines."""
    need_programs("ccx")
    from gridcompute.commands.template import template_folder

    application = template_folder() / "Shared_Folder" / "Settings" / "Applications" / "CalculiX"
    scripts = {path.name: path.read_text(encoding="utf-8") for path in application.iterdir() if path.is_file()}
    grid = make_grid({"CalculiX": scripts}, ["PC-1", "PC-2"])
    start_agent(grid, "PC-1", 1)
    start_agent(grid, "PC-2", 1)
    wait_for(lambda: grid.machines_there() == {"PC-1", "PC-2"}, 30, "both agents look for cases")
    loads = [float(load) for load in range(100, 1100, 100)]
    model = write_study(tmp_path / "study", loads)
    home = tmp_path / "home"
    done = run_command("submit", "CalculiX", model, "--wait", home=home, grid=grid, HOME=str(tmp_path / "user"))
    assert done.code == 0, done.err
    for number, load in enumerate(loads, 1):
        (found,) = (model.parent / "beam_results").glob(f"row {number:0>3}/*.dat") or [Path()]
        deflection = tip_deflection(found.read_text())
        assert abs(deflection) == pytest.approx(abs(Beam().deflection(load)), rel=0.05)
    machines = {document["processors"]["processor_list"][-1]["machine"] for document in grid.documents()}
    assert machines == {"PC-1", "PC-2"}
