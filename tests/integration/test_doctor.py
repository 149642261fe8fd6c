"""``gridcompute doctor`` on grids that are well and on broken ones."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import pytest

from gridcompute.commands import doctor
from gridcompute.errors import DatabaseRefused, DiskFull, ShareAway
from gridcompute.grid.database import Database
from gridcompute.grid.shared_folder import SharedFolder
from gridcompute.machine.home import Home
from gridcompute.machine.mongod import free_port
from tests.support import grids

the_checks = [
    "shared folder",
    "settings.txt",
    "Software_Per_Machine.csv",
    "application Copy",
    "rights on Settings",
    "writing to Cases",
    "writing to Results",
    "space on the share",
    "database",
    "rights in the database",
    "version",
    "pinned applications",
    "MongoDB",
    "this computer's clock",
    "the share's clock",
    "waiting results",
    "waiting cases",
    "space on this computer",
    "running here",
    "log",
]


class Report:
    """What one run of doctor said."""

    def __init__(self, code: int, checks: list[dict[str, str]]):
        self.code, self.checks = code, checks

    def __getitem__(self, name: str) -> tuple[str, str]:
        """State, and what was found with what to do about it, of the one check with this name."""
        [found] = [check for check in self.checks if check["name"] == name]
        return found["state"], f"{found['found']} -> {found['advice']}"

    @property
    def names(self) -> list[str]:
        return [check["name"] for check in self.checks]

    @property
    def errors(self) -> list[str]:
        return [check["name"] for check in self.checks if check["state"] == "error"]


@pytest.fixture
def examine(home_folder, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(grid: grids.Grid | Path | None = None, machine: str = "PC-1") -> Report:
        root = grid.root if isinstance(grid, grids.Grid) else grid
        server = str(root) if root is not None else None
        before = time.monotonic()
        code = doctor.run(server=server, machine=machine, home=Home(home_folder), as_json=True)
        assert time.monotonic() - before < 20
        return Report(code, json.loads(capsys.readouterr().out)["checks"])

    return run


def test_a_grid_that_is_well_has_no_error(make_grid, examine):
    grid = make_grid()
    report = examine(grid)
    assert report.code == 0
    assert not report.errors
    assert report.names == the_checks
    assert "named by the option --server" in report["shared folder"][1]
    assert "PC-1 may process Copy" in report["Software_Per_Machine.csv"][1]
    assert report["writing to Cases"][1].startswith("write ")
    assert report["waiting cases"] == ("ok", "none -> ")
    assert not grid.archives(), "nothing is left on the share"


def test_for_people_it_is_one_line_a_check(make_grid, home_folder, capsys):
    assert doctor.run(server=str(make_grid().root), machine="PC-1", home=Home(home_folder), as_json=False) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("ok       shared folder                ")
    assert lines[-1].endswith("checks are good.") or "0 errors" in lines[-1]


def test_no_grid_is_said_and_this_computer_is_looked_at_all_the_same(examine):
    report = examine(None)
    assert report.code == 2
    assert "No grid is named" in report["shared folder"][1]
    assert report.names == ["shared folder", "space on this computer", "running here", "log"]


def test_a_folder_that_is_not_there_names_who_named_it(examine, tmp_path, monkeypatch):
    report = examine(tmp_path / "nowhere")
    assert report.code == 2
    assert "named by the option --server" in report["shared folder"][1]
    (tmp_path / "server.txt").write_text(str(tmp_path / "nowhere either"))
    assert f"(named by {tmp_path / 'server.txt'})" in examine(None)["shared folder"][1]


def test_without_settings_the_rest_of_the_share_is_looked_at(make_grid, examine):
    grid = make_grid()
    grid.settings_path.unlink()
    report = examine(grid)
    assert report.code == 2
    assert "settings.txt" in report.errors
    assert report["application Copy"][0] == "ok"
    assert "database" not in report.names


def test_a_line_that_is_no_setting_is_a_warning(make_grid, examine):
    report = examine(make_grid(hartbeat_dead="20"))
    assert report.code == 0
    assert report["settings.txt"][0] == "warning"
    assert "hartbeat dead" in report["settings.txt"][1]


def test_a_database_that_is_away_leaves_the_other_checks(make_grid, examine):
    report = examine(make_grid(server=f"127.0.0.1:{free_port()}"))
    assert report.code == 2
    assert report.errors == ["database"]
    assert "does not answer" in report["database"][1]
    assert report["writing to Results"][0] == "ok"


def test_a_database_that_takes_the_call_and_says_nothing_ends_in_time(make_grid, examine, make_proxy, mongod):
    proxy = make_proxy(mongod.address)
    grid = make_grid(server=proxy.address)
    proxy.blackhole()
    report = examine(grid)
    proxy.clear()
    assert report.code == 2
    assert report.errors == ["database"]


def test_a_wrong_password_is_said(make_grid, examine):
    report = examine(make_grid(password="wrong"))
    assert report.code == 2
    assert "refuses user group" in report["database"][1]


def test_a_password_that_is_nowhere_is_said_and_the_rest_is_looked_at(make_grid, examine, monkeypatch):
    monkeypatch.delenv("GRIDCOMPUTE_PASSWORD", raising=False)
    grid = make_grid()
    del grid.lines["password"]
    grid.write_settings()
    report = examine(grid)
    assert (report.code, report.errors) == (2, ["database"])
    assert "is missing" in report["database"][1] and "Run 'gridcompute password'" in report["database"][1]
    assert "space on this computer" in report.names


def test_a_share_that_hangs_is_left_and_the_rest_goes_on(make_grid, examine, monkeypatch):
    grid, wake = make_grid(), threading.Event()
    monkeypatch.setattr(SharedFolder, "read_software", lambda self: wake.wait(60))
    monkeypatch.setattr(doctor, "share_patience", 0.5)
    report = examine(grid)
    wake.set()
    assert report.code == 1
    [hung] = [check for check in report.checks if check["state"] == "error"]
    assert hung["found"] == "the shared folder did not answer within 0.5 s"
    assert report["database"][0] == "ok"


def test_a_share_that_takes_no_files_is_an_error_for_each_area(make_grid, examine, monkeypatch):
    errors = {"Cases": DiskFull("Cannot write: no space is left. Free some."), "Results": ShareAway("Gone. Wait.")}

    def prepare(self, area, *_, **__):
        raise errors[area]

    monkeypatch.setattr(SharedFolder, "prepare", prepare)
    report = examine(make_grid())
    assert report.code == 1
    assert report["writing to Cases"] == ("error", "Cannot write: no space is left -> Free some.")
    assert report["writing to Results"][0] == "error"


def test_a_machine_that_is_not_listed_is_a_warning_and_one_listed_twice_an_error(make_grid, examine):
    grid = make_grid()
    report = examine(grid, "PC-9")
    assert (report.code, report["Software_Per_Machine.csv"][0]) == (0, "warning")
    assert "add a row for PC-9" in report["Software_Per_Machine.csv"][1]
    table = grid.root / "Settings" / "Software_Per_Machine.csv"
    table.write_text(table.read_text() + "pc-1,1\n")
    report = examine(grid)
    assert (report.code, report["Software_Per_Machine.csv"][0]) == (1, "error")
    table.write_text("Computer,Copy\nPC-1,1\n")
    assert "no column 'Machine name'" in examine(grid)["Software_Per_Machine.csv"][1]


@pytest.mark.parametrize(
    ("scripts", "words"),
    [
        ({"process": "def process_case(input_files)\n    pass\n"}, "line 1 of process.py has a syntax error"),
        ({"send": "def select_inputs(path):\n    pass\n"}, "send.py does not define the function 'select_input_files'"),
        ({"receive": "x = '\0'"}, "receive.py has a syntax error"),
        ({"application.txt": "time limit: soon"}, "'time limit'"),
    ],
)
def test_an_application_that_is_broken_is_an_error(make_grid, examine, scripts, words):
    grid = make_grid()
    grid.write_application("Copy", scripts)
    report = examine(grid)
    assert report.code == 1
    assert report["application Copy"][0] == "error"
    assert words in report["application Copy"][1]


def test_a_function_may_come_from_a_neighbour(make_grid, examine):
    grid = make_grid()
    grid.write_application("Copy", {"process": "from helper import work as process_case\n", "helper": ""})
    assert examine(grid)["application Copy"][0] == "ok"


def test_what_is_odd_about_the_applications_is_a_warning(make_grid, examine):
    grid = make_grid()
    grid.write_application("Version 2.0", {"send": ""})
    grid.write_application("Lonely", grids.copy_application)
    grid.write_application("Half", {"send": grids.send_each_file})
    grid.write_machines({"PC-1": ["Copy", "Half", "Typo"]})
    report = examine(grid)
    assert report.code == 0
    assert "has a dot" in report["applications"][1]
    assert "no machine may process it" in report["application Lonely"][1]
    assert "without process.py, receive.py" in report["application Half"][1]
    assert "there is no such application" in report["application Typo"][1]


def test_what_waits_is_told(make_grid, examine, home_folder, tmp_path):
    from gridcompute.server import Server

    grid = make_grid()
    grid.write_application("Lonely", grids.copy_application)
    (tmp_path / "a.txt").write_text("a")
    with Server(folder=str(grid.root), machine="PC-1", home=Home(home_folder)) as server:
        server.connect()
        for application in ("Copy", "Lonely"):
            server.submit_to_server([[tmp_path / "a.txt"]], application)
        server.submit_to_server([[tmp_path / "a.txt"]], "Copy")
    with grid.database() as database:
        one = database["cases"].find_one({"instance": grid.instance, "application": "Copy"})
        update = {"status": "processed", "result": {"path": "x", "size": 2_500_000, "sha256": ""}}
        database["cases"].update_one({"_id": one["_id"]}, {"$set": update})
    report = examine(grid)
    assert "on PC-1 has 1 result to receive, 2.5 MB" in report["waiting results"][1]
    waiting = {check["found"]: check["state"] for check in report.checks if check["name"] == "waiting cases"}
    assert waiting == {"1 of Copy": "ok", "1 of Lonely, which no machine may process": "warning"}


def test_a_user_who_may_only_read_and_an_old_or_standalone_server_are_said(make_grid, examine, monkeypatch):
    def refuse(self, *_):
        raise DatabaseRefused("Cannot write: not authorized. Check it.")

    monkeypatch.setattr(Database, "tell_progress", refuse)
    monkeypatch.setattr(Database, "describe", lambda self: {"version": "4.2.1", "change_streams": False})
    report = examine(make_grid())
    assert report.code == 1
    assert report.errors == ["rights in the database", "MongoDB"]
    monkeypatch.setattr(Database, "describe", lambda self: {"version": "7.0.1", "change_streams": False})
    assert "standalone" in examine(make_grid())["MongoDB"][1]


@pytest.mark.parametrize(("status", "state"), [("allowed", "ok"), ("warning", "warning"), ("refused", "error")])
def test_the_version_is_judged_as_the_database_says(make_grid, examine, monkeypatch, status, state):
    entry = {"_id": "0.3.0", "status": status, "message": "Beta. Be careful."}
    monkeypatch.setattr(Database, "check_version", _check_version(entry))
    report = examine(make_grid())
    assert report["version"][0] == state
    assert report.code == int(state == "error")


def _check_version(entry):
    from gridcompute.errors import VersionRefused

    def check(self):
        if entry["status"] == "refused":
            raise VersionRefused(f"The database refuses it: {entry['message']}")
        return entry["message"] if entry["status"] == "warning" else None

    return check


def test_a_clock_that_is_wrong_is_a_hint(make_grid, examine, monkeypatch):
    from datetime import timedelta

    from gridcompute import clock

    now = clock.utcnow
    monkeypatch.setattr(clock, "utcnow", lambda: now() + timedelta(hours=1))
    report = examine(make_grid())
    assert report.code == 0
    assert report["this computer's clock"][0] == "warning"
    assert "ahead of the database's" in report["this computer's clock"][1]
    assert report["the share's clock"][0] == "ok"


def test_a_full_disk_and_the_agent_that_runs_are_told(make_grid, examine, monkeypatch, home_folder):
    monkeypatch.setattr(SharedFolder, "free_bytes", lambda self: 50_000_000)
    with Home(home_folder).lock("agent", "PC-1"):
        report = examine(make_grid())
    assert report.errors == ["space on the share"]
    assert "agent for PC-1" in report["running here"][1]


def test_a_check_that_fails_itself_is_told_and_stops_no_other(make_grid, examine, monkeypatch):
    monkeypatch.setattr(Database, "held_by_origins", lambda self: 1 / 0)
    report = examine(make_grid())
    assert report.code == 1
    assert "ZeroDivisionError" in report["doctor"][1]
    assert report["waiting cases"][0] == "ok"


def test_settings_that_an_ordinary_user_may_change_are_a_warning(make_grid, examine, monkeypatch):
    grid = make_grid()
    monkeypatch.setattr(doctor, "_is_administrator_of", lambda path: False)
    assert examine(grid)["rights on Settings"][0] == "warning"
    monkeypatch.setattr(doctor, "may_write", lambda path: False)
    assert examine(grid)["rights on Settings"][0] == "ok"


@pytest.mark.skipif(os.name != "posix", reason="other systems give rights by lists")
def test_a_script_that_every_user_may_change_is_warned_of(make_grid, examine):
    grid = make_grid(apps={"Copy": grids.copy_application}, machines=["PC-1"])
    script = grid.applications_path / "Copy" / "process.py"
    for path in (grid.settings_path.parent, *grid.settings_path.parent.rglob("*")):
        path.chmod(path.stat().st_mode & ~0o002)
    assert examine(grid)["rights on Settings"][0] == "ok"

    script.chmod(0o666)
    state, said = examine(grid)["rights on Settings"]
    assert state == "warning"
    assert f"every user may change {script}" in said
    assert "chmod -R o-w" in said
