"""The template is found, copied, and what the documentation says of it."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

import gridcompute
from gridcompute.commands import template
from gridcompute.commands.template import copy_template, example, template_folder
from gridcompute.errors import InputError, UsageError
from tests.support import cantilever

ROOT = Path(__file__).resolve().parents[3]

DOCUMENTED = [
    "Cases",
    "Results",
    "Settings/settings.txt",
    "Settings/Software_Per_Machine.csv",
    *(
        f"Settings/Applications/{application}/{script}.py"
        for application in ("Random Counter", "CalculiX")
        for script in ("send", "process", "receive")
    ),
]


def test_the_template_holds_what_the_documentation_names():
    for name in DOCUMENTED:
        assert (template_folder() / "Shared_Folder" / name).exists(), name


def test_a_copy_is_whole_and_has_no_compiled_files(tmp_path, monkeypatch):
    source = tmp_path / "template"
    monkeypatch.setattr(template, "_places", lambda: iter([source]))
    settings = source / "Shared_Folder" / "Settings"
    (settings / "Applications" / "A" / "__pycache__").mkdir(parents=True)
    (settings / "Applications" / "A" / "__pycache__" / "send.pyc").touch()
    (settings / "settings.txt").write_text("instance: 0\n")
    (settings / "settings.txt").chmod(0o444)
    target = tmp_path / "new" / "grid"

    copy_template(target)

    made = sorted(path.relative_to(target).as_posix() for path in target.rglob("*"))
    assert made == ["Settings", "Settings/Applications", "Settings/Applications/A", "Settings/settings.txt"]
    assert (target / "Settings" / "settings.txt").stat().st_mode & 0o200  # may be edited though the source may not


def test_a_copy_never_overwrites(tmp_path):
    there = tmp_path / "Settings" / "settings.txt"
    there.parent.mkdir()
    there.write_text("mine")

    with pytest.raises(UsageError, match=r"settings\.txt is there already"):
        copy_template(tmp_path)

    assert there.read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["Settings"]


def test_a_wheels_template_comes_before_the_folder_beside_the_package(tmp_path, monkeypatch):
    package = tmp_path / "site-packages" / "gridcompute"
    monkeypatch.setattr(gridcompute, "__file__", str(package / "__init__.py"))
    for place in (package / "template", package.parent / "template"):
        copy_settings(place)

    assert template_folder() == package / "template"


def test_an_executable_finds_the_template_beside_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(gridcompute, "__file__", str(tmp_path / "lib" / "library.zip" / "gridcompute" / "__init__.pyc"))
    monkeypatch.setattr("sys.frozen", True, raising=False)
    monkeypatch.setattr("sys.executable", str(tmp_path / "GridCompute"))
    copy_settings(tmp_path / "template")

    assert template_folder() == tmp_path / "template"


def test_a_missing_template_is_said_in_words(tmp_path, monkeypatch):
    monkeypatch.setattr(gridcompute, "__file__", str(tmp_path / "gridcompute" / "__init__.py"))
    with pytest.raises(InputError, match="Install GridCompute again"):
        template_folder()


def test_the_example_is_the_beam_that_the_tests_know(tmp_path):
    made = cantilever.write_study(tmp_path)
    for name in ("beam.inp", "beam.csv"):
        assert example("CalculiX", name).read_text() == (made.parent / name).read_text()
    assert len(cantilever.EXAMPLE_LOADS) >= 8


def test_the_build_puts_the_template_beside_the_modules(tmp_path, monkeypatch):
    setuptools = pytest.importorskip("setuptools")
    given: dict = {}
    monkeypatch.setattr(setuptools, "setup", lambda **keywords: given.update(keywords))
    monkeypatch.chdir(ROOT)
    runpy.run_path("setup.py")

    command = given["cmdclass"]["build_py"](setuptools.Distribution({"packages": []}))
    command.build_lib = str(tmp_path)
    command.ensure_finalized()
    command.run()

    built = tmp_path / "gridcompute" / "template"
    assert files(built) == files(ROOT / "template")


def files(folder: Path) -> list[str]:
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in found if "__pycache__" not in name)


def copy_settings(place: Path) -> None:
    settings = place / "Shared_Folder" / "Settings"
    settings.mkdir(parents=True)
    (settings / "settings.txt").touch()
