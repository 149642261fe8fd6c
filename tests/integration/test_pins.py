"""Pinned applications: a machine runs what the administrator saw, refuses all else, and says so."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gridcompute.errors import ApplicationRefused
from gridcompute.grid import pins
from tests.support.commands import agents, run_command, write_files
from tests.support.grids import Grid, copy_application, password, user_group
from tests.support.waiting import wait_for

script = Path(__file__).parents[2] / "admin" / "database_management.py"


def manage(grid: Grid, *arguments: str | Path) -> str:
    options = ["--mongodb-server", grid.lines["mongodb server"], "--user-group", user_group, "--password", password]
    done = subprocess.run(
        [sys.executable, script, *options, "--instance", grid.instance, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_machine_refuses_code_that_differs_and_runs_it_when_it_is_pinned_anew(make_grid, tmp_path: Path):
    grid = make_grid(apps={"Copy": copy_application}, machines=["PC-1"])
    folder = grid.applications_path / "Copy"
    assert pins.digests(folder)["process.py"] in manage(grid, "--pin", folder)
    home = tmp_path / "home of PC-1"
    first, second = write_files(tmp_path / "inputs", 2)
    submit = ("--machine", "PC-1", "submit", "Copy")

    with agents(tmp_path) as start:
        agent = start(grid, "PC-1")
        assert run_command(*submit, first, home=tmp_path / "other", grid=grid).code == 0
        wait_for(
            lambda: (grid.documents() or [{}])[0].get("status") in ("processed", "received"), 60, lambda: agent.text
        )

        process = folder / "process.py"
        process.write_text(process.read_text() + "\nimport os\n")
        agent.wait_for_line("process.py differs", 40)
        assert run_command(*submit, second, home=tmp_path / "other", grid=grid).code != 0  # send.py lies beside it
        seen = run_command("--machine", "PC-1", "doctor", home=home, grid=grid).out
        assert "error    pinned applications" in seen
        assert "process.py differs" in seen

        manage(grid, "--pin", folder)
        submitted = run_command(*submit, second, home=tmp_path / "other", grid=grid)
        assert submitted.code == 0, submitted.err
        wait_for(
            lambda: grid.documents()[-1]["status"] in ("processed", "received") and len(grid.documents()) == 2,
            60,
            lambda: agent.text,
        )


def test_an_application_that_nobody_pinned_is_refused_where_others_are(make_grid, tmp_path: Path):
    grid = make_grid(apps={"Copy": copy_application, "New": copy_application}, machines=["PC-1"])
    manage(grid, "--pin", grid.applications_path / "Copy")
    (file,) = write_files(tmp_path / "inputs", 1)

    refused = run_command("submit", "New", file, home=tmp_path / "home", grid=grid)
    assert refused.code == 2
    assert "'New' is refused" in refused.err
    assert "it is not among the pinned ones" in refused.err
    assert not grid.documents()

    assert "no longer pinned" in manage(grid, "--unpin-all")
    assert run_command("submit", "New", file, home=tmp_path / "home", grid=grid).code == 0


def test_only_what_was_checked_is_copied(tmp_path: Path):
    folder = tmp_path / "App"
    (folder / "parts").mkdir(parents=True)
    (folder / "process.py").write_text("1")
    (folder / "parts" / "table.csv").write_text("2")
    pinned = pins.digests(folder)
    assert set(pinned) == {"process.py", "parts/table.csv"}
    assert not pins.refusal("App", folder, {"App": pinned})
    copy = pins.copy_checked("App", folder, pinned, tmp_path / "work")
    assert (copy / "parts" / "table.csv").read_text() == "2"
    assert pins.digests(copy) == pinned

    (folder / "json.py").write_text("3")  # it would come before the standard library's
    with pytest.raises(ApplicationRefused, match=r"json\.py is new"):
        pins.copy_checked("App", folder, pinned, tmp_path / "other")
    assert not (tmp_path / "other" / "App" / "json.py").exists()
    (folder / "json.py").unlink()
    (folder / "process.py").unlink()
    assert "process.py is missing" in pins.refusal("App", folder, {"App": pinned})
