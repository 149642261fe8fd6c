"""``gridcompute init``, on the run's MongoDB and on none."""

from __future__ import annotations

import csv
import errno
import os
import time
from pathlib import Path

import pytest

from gridcompute.commands import new_grid
from gridcompute.errors import DiskFull, ShareError, UsageError
from gridcompute.grid.settings import parse_settings, software_of
from gridcompute.grid.shared_folder import SharedFolder
from gridcompute.machine.mongod import free_port
from tests.support import grids


@pytest.fixture
def init(mongod):
    def run(folder, **changes):
        values = {
            "mongodb_server": mongod.address,
            "user_group": grids.user_group,
            "password": grids.password,
            "instance": "0",
            "machine": "PC-1",
        }
        return new_grid.run(str(folder), **{**values, **changes})

    return run


def everything_in(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_folder_is_a_grid_that_is_ready_to_use(tmp_path, init, mongod, capsys):
    folder = tmp_path / "not there yet" / "Shared Folder ü"
    assert init(folder) == 0
    share = SharedFolder(folder)
    share.check()
    settings = share.read_settings()
    assert settings.documented() == {
        "mongodb server": mongod.address,
        "user group": grids.user_group,
        "password": grids.password,
        "instance": "0",
    }
    assert {"Random Counter"} <= software_of(share.read_software(), "pc-1") <= {"Random Counter", "CalculiX"}
    out, err = capsys.readouterr()
    assert "The database answers" in out
    assert "PC-1 may process Random Counter" in out
    assert f'gridcompute --server "{folder}" --machine "PC-1" doctor' in out
    assert grids.password not in out + err
    assert not err


def test_settings_txt_keeps_the_templates_explanations(tmp_path, init):
    init(tmp_path / "grid")
    text = (tmp_path / "grid" / "Settings" / "settings.txt").read_text("utf-8")
    assert text.startswith("# Settings of this grid.")
    assert "# heartbeat dead: 60" in text
    assert text.count("password:") == 1


def test_a_relative_folder_starts_at_the_current_one(tmp_path, init, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert init("grid") == 0
    SharedFolder(tmp_path / "grid").check()


@pytest.mark.parametrize("password", [" p", "p ", '"p"', "#p", "a:b", "pä ß€", "mongodb://x@y"])
def test_any_password_is_read_as_it_was_given(tmp_path, init, password):
    init(tmp_path / "grid", mongodb_server=f"127.0.0.1:{free_port()}", password=password)
    assert SharedFolder(tmp_path / "grid").read_settings().password == password


@pytest.mark.parametrize(
    "changes",
    [{"password": "two\nlines"}, {"user_group": ""}, {"instance": ""}, {"mongodb_server": "mongodb://[broken"}],
)
def test_values_that_settings_txt_cannot_hold_are_refused_before_anything_is_made(tmp_path, init, changes):
    with pytest.raises(UsageError):
        init(tmp_path / "grid", **changes)
    assert not (tmp_path / "grid").exists()


def test_a_folder_that_holds_a_grid_is_left_as_it_is(tmp_path, init):
    init(tmp_path / "grid")
    before = everything_in(tmp_path / "grid")
    with pytest.raises(UsageError, match="holds a grid already; nothing was changed"):
        init(tmp_path / "grid", instance="other")
    assert everything_in(tmp_path / "grid") == before


def test_a_folder_that_is_not_empty_is_left_as_it_is(tmp_path, init):
    (tmp_path / "my thesis.docx").write_text("years of work")
    with pytest.raises(UsageError, match=r"not empty \(my thesis.docx\)"):
        init(tmp_path)
    assert everything_in(tmp_path) == {"my thesis.docx": b"years of work"}


def test_a_file_is_no_folder(tmp_path, init):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="that is a file"):
        init(tmp_path / "file")
    with pytest.raises((UsageError, ShareError)):
        init(tmp_path / "file" / "grid")


def test_an_empty_folder_with_what_a_file_manager_left_will_do(tmp_path, init):
    folder = tmp_path / "grid"
    folder.mkdir()
    (folder / ".DS_Store").touch()
    assert init(folder) == 0


def test_without_a_database_the_folder_is_made_and_it_is_said(tmp_path, init, capsys):
    before = time.monotonic()
    assert init(tmp_path / "grid", mongodb_server=f"127.0.0.1:{free_port()}") == 0
    assert time.monotonic() - before < 10
    assert "does not answer" in capsys.readouterr().err
    SharedFolder(tmp_path / "grid").check()


def test_a_wrong_password_is_said(tmp_path, init, capsys):
    assert init(tmp_path / "grid", password="wrong") == 0
    assert "refuses user group" in capsys.readouterr().err


def test_an_address_of_this_computer_alone_is_said(tmp_path, init, capsys):
    init(tmp_path / "grid")
    assert "is this computer alone" in capsys.readouterr().out


def test_where_ccx_is_missing_calculix_has_a_zero(tmp_path, init, monkeypatch, capsys):
    monkeypatch.setenv("GRIDCOMPUTE_CCX", "/nowhere/ccx")
    init(tmp_path / "grid", machine="Prüfstand 1")
    assert "CalculiX has a 0: The variable GRIDCOMPUTE_CCX names /nowhere/ccx" in capsys.readouterr().out
    with (tmp_path / "grid/Settings/Software_Per_Machine.csv").open(encoding="utf-8-sig", newline="") as file:
        [row] = csv.DictReader(file)
    assert row == {"Machine name": "Prüfstand 1", "CalculiX": "0", "Random Counter": "1"}


@pytest.mark.parametrize("there", [True, False])
def test_a_disk_that_fills_meanwhile_leaves_nothing(tmp_path, init, monkeypatch, there):
    folder = tmp_path / "grid"
    if there:
        folder.mkdir()

    def full(self, *_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(DiskFull, match="No space left"):
        init(folder)
    assert folder.exists() == there
    assert not there or not list(folder.iterdir())


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the administrator may write everywhere")
def test_a_place_where_this_user_may_not_write_is_said(tmp_path, init):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(ShareError, match="may write"):
            init(tmp_path / "grid")
    finally:
        tmp_path.chmod(0o700)


def test_heartbeats_of_other_lengths_get_their_lines(tmp_path):
    text = "mongodb server: a:1\nuser group: g\npassword: p\ninstance: 0\nheartbeat dead: 6\nheartbeat frequency: 1\n"
    settings = parse_settings(text, "a test")
    share = new_grid.make_shared_folder(tmp_path / "grid", settings, {"A": [], "B": ["Random Counter"]})
    assert share.read_settings() == settings
    assert share.read_software() == {"A": frozenset(), "B": frozenset({"Random Counter"})}
