"""The executable, copied to an empty folder and run with an empty environment, does what a user does with it."""

from __future__ import annotations

import configparser
import contextlib
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from admin.executable import definition
from gridcompute import config
from gridcompute.machine import libraries, licences
from gridcompute.machine.mongod import find_mongod
from tests.support.grids import Grid, copy_application
from tests.support.screen import Screen, screen
from tests.support.uv import helper, uv_offline, with_a_head
from tests.support.waiting import wait_for

pictures = Path(__file__).parents[2] / ("docs/pictures" if os.environ.get("GRIDCOMPUTE_PICTURES") else ".made/pictures")

process_with_the_library = """
import ctypes
import decimal
import multiprocessing
import sqlite3
import xml.etree.ElementTree as tree
from importlib import import_module
from pathlib import Path

def double(number):
    return 2 * number

def process_case(input_files):
    missing = []
    for name in Path(input_files[0]).read_text().split():
        try:
            import_module(name)
        except ImportError as exc:
            missing.append(f"{name}: {exc}")
    database = sqlite3.connect("numbers.db")
    database.execute("create table numbers (number integer)")
    database.executemany("insert into numbers values (?)", [(1,), (2,), (3,)])
    total = database.execute("select sum(number) from numbers").fetchone()[0]
    database.close()
    root = tree.fromstring("<case><load>1.10</load></case>")
    load = decimal.Decimal(root.findtext("load")) * 3
    length = ctypes.CDLL(None).strlen(b"twelve bytes")
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        doubled = pool.map(double, [1, 2, 3])
    Path("found.txt").write_text(f"{missing} {total} {load} {length} {doubled}")
    return ["found.txt"]
"""


process_on_a_softgrid = """
import os
import sys
import time
from pathlib import Path
from gridcompute.softgrid import open_softgrid

def times(number, factor):
    time.sleep(0.01)
    return number * factor, os.getpid(), sys.executable

def process_case(input_files):
    factor = int(Path(input_files[0]).read_text())
    with open_softgrid() as grid:
        found = grid.schedule_job([(times, [number, factor], None) for number in range(100)])
    values, pids, programs = zip(*found)
    Path("found.txt").write_text(f"{sum(values)}\\n{len(set(pids))}\\n{sorted(set(programs))}")
    return ["found.txt"]
"""


def whole_library() -> list[str]:
    """What an application may import: all of the standard library that this Python has, but games and tests."""
    names = sys.stdlib_module_names - definition.left_out_of_library
    return [
        name
        for name in sorted(names)
        if not name.startswith(("_", "idlelib")) and importlib.util.find_spec(name) is not None
    ]


def is_seen(a_screen: Screen, name: str) -> bool:
    """Whether a visible window has a title that matches."""
    try:
        return bool(a_screen.do("search", "--onlyvisible", "--name", name))
    except subprocess.CalledProcessError:  # xdotool's word for none
        return False


def press_until(
    a_screen: Screen, key: str, condition: Callable[[], object], message: Callable[[], str], timeout: float = 30
) -> None:
    """Press a key, again where the window was not ready for it."""

    def pressed() -> object:
        a_screen.key(key)
        with contextlib.suppress(AssertionError):
            return wait_for(condition, 3)

    wait_for(pressed, timeout, message)


def choose_file(a_screen: Screen, file: Path) -> bool:
    """Add a file by the dialog, once; False where keys were lost, as on a busy machine: the dialog is closed then."""
    with contextlib.suppress(AssertionError):
        press_until(a_screen, "ctrl+o", lambda: is_seen(a_screen, "^Add cases"), str)
        a_screen.key("ctrl+a", "Delete")
        a_screen.type(str(file))
        a_screen.key("Return")
        return wait_for(lambda: not is_seen(a_screen, "^Add cases"), 5)
    a_screen.key("Escape", "Escape")
    return False


def ask_to_submit(a_screen: Screen) -> bool:
    """Press the key until the question is there; False where it broke off the look at the file instead."""
    with contextlib.suppress(AssertionError):
        wait_for(lambda: windows(a_screen) == 1, 10)  # the progress window has gone
        press_until(a_screen, "ctrl+Return", lambda: is_seen(a_screen, "^Submit"), str, 7)
        return True
    return False


def windows(a_screen: Screen) -> int:
    """How many windows of the program are seen, a moment long."""
    time.sleep(0.3)  # one that is about to open, not a result
    try:
        return len(a_screen.do("search", "--onlyvisible", "--name", config.title_windows).split())
    except subprocess.CalledProcessError:  # one went while xdotool looked at it
        return 0


def test_a_user_submits_in_its_window_and_its_agent_processes(executable, make_grid, tmp_path: Path):
    grid: Grid = make_grid(apps={"Copy": copy_application}, machines=["PC-2"])
    file = tmp_path / "input.txt"
    file.write_text("content")
    with screen() as a_screen:
        anna, ben = executable("anna", DISPLAY=a_screen.display), executable("ben")
        window = anna.start("GridCompute", "--server", grid.root, "--machine", "PC-1")
        wait_for(lambda: is_seen(a_screen, "^GridCompute"), 30, anna.log_end)
        wait_for(lambda: "Connected to" in anna.log_end(), 30, anna.log_end)

        wait_for(lambda: choose_file(a_screen, file) and ask_to_submit(a_screen), 60, anna.log_end)
        press_until(a_screen, "Return", grid.documents, anna.log_end)

        agent = ben.start("gridcompute-cli", "--server", grid.root, "--machine", "PC-2", "agent", "--processes", "1")
        wait_for(lambda: grid.documents(status="received"), 60, lambda: anna.log_end() + ben.log_end())
        a_screen.picture(pictures / "executable.png")

        for case in grid.documents(status="received"):
            assert [one["machine"] for one in case["processors"]["processor_list"]] == ["PC-2"]
        assert (grid.received / "0-input.txt.out").read_bytes() == b"processed:content"
        window.terminate()
        agent.terminate()
        assert (window.wait(20), agent.wait(20)) == (0, 0)


def test_an_application_may_import_the_whole_standard_library(executable, make_grid, tmp_path: Path):
    scripts = {**copy_application, "process": process_with_the_library}
    grid: Grid = make_grid(apps={"Library": scripts}, machines=["PC-2"])
    names = tmp_path / "names.txt"
    names.write_text("\n".join(whole_library()))
    anna, ben = executable("anna"), executable("ben")
    anna_is = ("--server", grid.root, "--machine", "PC-1")

    submitted = anna.run(*anna_is, "submit", "Library", names)
    assert submitted.code == 0, submitted.err
    worked = ben.run("--server", grid.root, "--machine", "PC-2", "agent", "--processes", "1", "--until-idle")
    assert worked.code == 0, worked.err
    assert all(line.startswith("gridcompute: ") for line in worked.err.splitlines()), worked.err
    received = anna.run(*anna_is, "agent", "--processes", "0", "--until-idle")
    assert received.code == 0, received.err

    assert (grid.received / "found.txt").read_text() == "[] 6 3.30 12 [2, 4, 6]", grid.documents()


def test_an_application_computes_on_a_softgrid_of_executables(executable, make_grid, tmp_path: Path):
    scripts = {**copy_application, "process": process_on_a_softgrid, "application.txt": "processes: 2\n"}
    grid: Grid = make_grid(apps={"Wide": scripts}, machines=["PC-2"])
    points = tmp_path / "points.txt"
    points.write_text("7")
    ben = executable("ben")
    ben_is = ("--server", grid.root, "--machine", "PC-2")

    submitted = ben.run(*ben_is, "submit", "Wide", points)
    assert submitted.code == 0, submitted.err
    worked = ben.run(*ben_is, "agent", "--processes", "2", "--until-idle")

    assert worked.code == 0, worked.err
    assert (grid.received / "found.txt").exists(), grid.documents()
    value, workers, programs = (grid.received / "found.txt").read_text().splitlines()
    assert (value, workers) == (str(sum(7 * number for number in range(100))), "2")
    assert programs == str([str(ben.folder / "gridcompute-cli")])


def test_an_application_that_needs_numpy_has_an_environment_made_by_the_uv_inside(
    executable, make_grid, tmp_path: Path
):
    scripts = {**copy_application, "process": with_a_head, "helper": helper}
    grid: Grid = make_grid(apps={"Needs NumPy": scripts}, machines=["PC-2"])
    file = tmp_path / "input.txt"
    file.write_text("content")
    (tmp_path / "uv").mkdir()
    anna, ben = executable("anna"), executable("ben", **uv_offline(tmp_path / "uv"))
    anna_is = ("--server", grid.root, "--machine", "PC-1")

    submitted = anna.run(*anna_is, "submit", "Needs NumPy", file)
    assert submitted.code == 0, submitted.err
    worked = ben.run("--server", grid.root, "--machine", "PC-2", "agent", "--processes", "1", "--until-idle")
    assert worked.code == 0, worked.err + ben.log_end()
    received = anna.run(*anna_is, "agent", "--processes", "0", "--until-idle")
    assert received.code == 0, received.err

    found = (grid.received / "found.txt").read_text()
    assert found.startswith("6 [9] content "), found
    assert str(ben.home / "environments") in found


def test_the_single_file_unpacks_once_and_finds_the_server_file_beside_it(built_executable, executable, make_grid):
    grid: Grid = make_grid(apps={"Copy": copy_application}, machines=["PC-1"])
    anna = executable("anna")
    (source,) = built_executable.parent.glob("*.run")
    program = anna.person / "My programs" / source.name
    program.parent.mkdir()
    shutil.copy(source, program)
    (program.parent / "server.txt").write_text(str(grid.root))

    for _ in range(2):
        found = anna.run("--machine", "PC-1", "doctor", program=program)
        assert f"ok       shared folder                {grid.root}" in found.out, found.out + found.err
    (unpacked,) = (anna.person / ".cache" / "GridCompute").iterdir()
    assert (unpacked / "GridCompute").is_file()


def test_everything_a_user_needs_lies_beside_the_programs(carried_away: Path):
    there = {path.name for path in carried_away.iterdir()}
    assert {"GridCompute", "gridcompute-cli", "template", "licences", "LICENSE", "server.txt"} <= there
    assert {"GridCompute.png", "GridCompute.desktop", "uv"} <= there
    assert (carried_away / "template" / "Shared_Folder" / "Settings" / "settings.txt").is_file()


def test_the_licence_of_every_part_lies_beside_it(carried_away: Path):
    parts = licences.read(carried_away / "licences")
    names = {licences.normal_name(part.name) for part in parts}
    assert all(len(part.text) > 40 and part.licence for part in parts)

    carried, unknown = libraries.of_files(definition.shared_objects(carried_away))
    assert not unknown
    assert {"Tcl/Tk", "OpenSSL"} <= {one.name for one in carried} <= {part.name for part in parts}

    with zipfile.ZipFile(carried_away / "lib" / "library.zip") as archive:
        inside = {name.split("/")[0].split(".")[0] for name in archive.namelist() if not name.endswith("METADATA")}
    inside |= {path.name.split(".")[0] for path in (carried_away / "lib").iterdir() if path.name[:3] != "lib"}
    owners = metadata.packages_distributions()
    foreign = {name for name in inside if name in owners} - set(sys.stdlib_module_names)
    assert {"pymongo", "PIL", "ttkbootstrap"} <= foreign
    for module in foreign:
        assert {licences.normal_name(owner) for owner in owners[module]} & names, f"{module} is shipped without licence"


def test_the_entry_of_the_desktop_starts_the_program_beside_it(executable):
    anna = executable("anna")
    entry = configparser.RawConfigParser()
    entry.read(anna.folder / "GridCompute.desktop")
    command = entry["Desktop Entry"]["Exec"].replace("\\\\", "\\")  # a string's own escapes come before the quotes
    entry_path = str(anna.folder / "GridCompute.desktop")
    words = [word.replace("\\$", "$").replace("%k", entry_path) for word in shlex.split(command)]
    found = subprocess.run(words, env=anna.environ, capture_output=True, text=True, check=False)
    assert found.stderr.startswith("gridcompute: There is no screen to show the window on."), found


def test_no_machine_of_the_build_is_named_inside(carried_away: Path):
    found = subprocess.run(["grep", "-rlF", str(definition.top), carried_away], capture_output=True, check=False)
    assert found.stdout.decode().split() == []


def test_the_demo_runs_on_a_mongodb_that_was_put_beside_the_executable(executable, mongod, tmp_path: Path):
    anna = executable("anna", TMPDIR=str(tmp_path))
    without = anna.run("demo", "--cases", "2")
    assert without.code == 2
    assert "No MongoDB server was found on this computer" in without.err

    unpacked = anna.folder / "mongodb"
    (unpacked / "bin").mkdir(parents=True)
    try:
        (unpacked / "bin" / "mongod").symlink_to(find_mongod())
        done = anna.run("demo", "--cases", "2")
    finally:
        shutil.rmtree(unpacked)
    assert done.code == 0, done.out + done.err
    assert "sample 02.txt        received" in done.out
