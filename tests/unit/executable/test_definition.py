"""What the executable is made of, for the systems that are not at hand too."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import runpy
from pathlib import Path

import pytest

from admin.executable import build, definition, single_file
from gridcompute import config
from gridcompute.machine import libraries, licences, program
from gridcompute.softgrid import launch

needs_parts = pytest.mark.skipif(importlib.util.find_spec("cx_Freeze") is None, reason="pip install .[executable]")


def test_windows_gets_a_program_without_a_console_and_one_with_it():
    window, console = definition.executables("win32")
    assert (window["target_name"], window["base"]) == ("GridCompute.exe", "gui")
    assert (console["target_name"], console["base"]) == ("gridcompute-cli.exe", "console")
    assert Path(window["icon"]).with_suffix(".ico").is_file()
    assert window["shortcut_dir"] == "ProgramMenuFolder"
    assert window["script"] == console["script"] == str(definition.top / "gridcompute" / "__main__.py")


def test_the_installer_of_windows_needs_no_administrator_and_replaces_the_older_version():
    options = definition.msi_options()
    assert options["all_users"] is False
    assert "LocalAppData" in options["initial_target_dir"]
    assert options["upgrade_code"] == "{5B1E0F0C-6A0B-4E0B-9E0E-0C2B6B7C9D11}", "a changed one leaves the old program"


def test_the_bundle_of_macos_has_the_version():
    items = dict(definition.mac_options()["plist_items"])
    assert items["CFBundleShortVersionString"] == config.version


def test_the_bundle_of_macos_has_an_icon(tmp_path):
    build.write_mac_icon(tmp_path / "icon.icns")
    assert (tmp_path / "icon.icns").read_bytes().startswith(b"icns")


@pytest.mark.parametrize(
    ("executable", "folder", "ours"),
    [
        (
            "/Applications/GridCompute.app/Contents/MacOS/GridCompute",
            "Resources",
            "/Applications/GridCompute.app/Contents",
        ),
        ("/opt/GridCompute/gridcompute-cli", "GridCompute", "/opt/GridCompute"),
    ],
)
def test_what_belongs_to_the_program_is_found_in_a_bundle_too(executable, folder, ours, monkeypatch):
    monkeypatch.setattr("sys.frozen", True, raising=False)
    monkeypatch.setattr("sys.executable", executable)
    assert program.folder().name == program.place().name == folder
    environ = {"TCL_LIBRARY": f"{ours}/lib/tcl8.6", "HOME": "/Users/anna"}
    assert program.environment_for_others(environ) == {"HOME": "/Users/anna"}


def test_the_runtime_of_windows_goes_beside_the_programs_or_the_build_ends(tmp_path):
    python, target = tmp_path / "python", tmp_path / "target"
    python.mkdir()
    target.mkdir()
    with pytest.raises(SystemExit, match=r"no vcruntime140\.dll"):
        build.add_runtime(target, definition.runtime_of_windows(python))
    for name in ("vcruntime140.dll", "vcruntime140_1.dll", "python3.dll"):
        (python / name).write_text(name)
    build.add_runtime(target, definition.runtime_of_windows(python))
    assert sorted(path.name for path in target.iterdir()) == ["vcruntime140.dll", "vcruntime140_1.dll"]


@needs_parts
@pytest.mark.parametrize("system", ["linux", "win32", "darwin"])
def test_cx_freeze_knows_each_option(system):
    for command, given in definition.options(system).items():
        module = importlib.import_module(f"cx_Freeze.command.{command}")
        known = {
            name.rstrip("=").replace("-", "_")
            for name, _, words in getattr(module, command).user_options
            if not words.startswith("[")  # [removed] ends the build
        }
        assert given.keys() <= known, command
    known = inspect.signature(importlib.import_module("cx_Freeze").Executable).parameters
    assert all(one.keys() <= known.keys() for one in definition.executables(system))


@needs_parts
@pytest.mark.parametrize("system", ["linux", "win32", "darwin"])
def test_every_system_gets_template_licence_and_server_file_beside_the_programs(system):
    files = {target: source for source, target in definition.files(system)}
    assert {"template", "LICENSE", "server.txt"} <= files.keys()
    assert all(source.exists() for source in files.values())
    assert ("GridCompute.desktop" in files) == (system == "linux")
    assert set(definition.options(system)) == {
        "build_exe",
        *({"bdist_msi"} if system == "win32" else {"bdist_mac"} if system == "darwin" else ()),
    }


@needs_parts
def test_only_what_the_program_requires_goes_inside():
    own, others = definition.modules_of(definition.inside())
    assert {"gridcompute", "pymongo", "keyring", "PIL"} <= set(own)
    assert {"pytest", "cx_Freeze"} <= set(others)
    excluded = set(definition.build_options()["excludes"])
    assert "pytest" in excluded
    assert not excluded & {"sqlite3", "distutils", "unittest"}


def test_what_softgrid_sends_to_executors_goes_inside_as_source():
    names = {target for _, target in definition.files()}
    place = "lib/gridcompute/softgrid/sources"
    assert {f"{place}/errors.py", f"{place}/softgrid/bootstrap.py", f"{place}/softgrid/Core/__init__.py"} <= names


def test_the_executable_knows_the_line_that_starts_an_executor():
    assert program.executor_line == launch.STUB


def test_the_whole_standard_library_goes_inside_but_games_and_tests():
    packages, modules = definition.standard_library()
    assert {"sqlite3", "xml", "ctypes", "asyncio", "curses", "unittest"} <= set(packages)
    assert {"decimal", "statistics", "wave", "turtle"} <= set(modules)
    assert not {"test", "idlelib", "ensurepip"} & {*packages, *modules}


def test_a_library_whose_licence_nobody_looked_up_is_named():
    carried, unknown = libraries.of_files(["libssl-3.dll", "libtk8.6.so", "libmystery.so.1"])
    assert [one.name for one in carried] == ["Tcl/Tk", "OpenSSL"]
    assert unknown == ["libmystery.so.1"]
    assert all(one.text for one in libraries.libraries)


def test_licences_are_read_as_they_were_written(tmp_path):
    parts = [
        licences.Part("gridcompute", "1", "GPL-3.0-only", "all\n\nof it"),
        licences.Part("Tcl/Tk", "", "TCL", "text"),
    ]
    licences.write(parts, tmp_path)
    assert licences.read(tmp_path) == parts


def test_what_a_distribution_requires_is_followed_with_its_extras():
    found = licences.required("gridcompute")
    assert {"gridcompute", "pymongo", "dnspython", "et-xmlfile"} <= found.keys()
    assert not {"pytest", "cx-freeze"} & found.keys()


def test_setup_py_says_what_is_missing_without_cx_freeze(monkeypatch):
    monkeypatch.setattr("sys.argv", ["setup.py", "build"])
    monkeypatch.setitem(__import__("sys").modules, "cx_Freeze", None)
    monkeypatch.chdir(definition.top)
    with pytest.raises(SystemExit, match=r"pip install --editable \.\[executable\]"):
        runpy.run_path("setup.py")


def test_the_head_of_the_single_file_counts_its_own_lines():
    text = single_file.head_of("1.2.3-abc")
    assert f"tail -n +{text.count(chr(10)) + 1} " in text
    assert text.startswith("#!/bin/sh\n")
