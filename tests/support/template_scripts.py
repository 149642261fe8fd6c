"""The template's scripts, called as the grid calls them, and fixtures for unit and integration tests."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from gridcompute.commands.template import template_folder
from gridcompute.grid.applications import Function, load


def script(application: str, function: Function) -> Callable:
    """A plugin function of the template: ``script("CalculiX", "send")`` is its select_input_files."""
    return load(application_folder(application), function)


def application_folder(application: str) -> Path:
    """Where an application of the template lies."""
    return template_folder() / "Shared_Folder" / "Settings" / "Applications" / application


def arrive(files: Sequence[str], folder: Path) -> list[str]:
    """Copy `files` into `folder` as the grid does: side by side, a second one of the same name in a sub-folder."""
    folder.mkdir(parents=True, exist_ok=True)
    places: list[str] = []
    for number, file in enumerate(files, 1):
        place = folder / Path(file).name
        if place.exists():
            place = folder / str(number) / Path(file).name
            place.parent.mkdir()
        places.append(str(shutil.copyfile(file, place)))
    return places


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder of its own for each test, so that none touches the developer's."""
    folder = tmp_path / "home"
    folder.mkdir()
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(folder))
    monkeypatch.setenv("GRIDCOMPUTE_HOME", str(tmp_path / "state"))
    return folder


@pytest.fixture
def study(tmp_path: Path, home: Path) -> Path:
    """The user's folder with an input file that has two placeholders and includes two files of one name."""
    folder = tmp_path / "my study ü"
    for name, text in STUDY.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


STUDY = {
    "plate.inp": '*INCLUDE, INPUT="parts one/mesh.inp"\n** {{thickness}} {{unknown}}\n'
    "* include , input = two/mesh.inp\r\n*STEP\n*STATIC\n0.1, 4.\n{{ Load }}, {{thickness}}\n*END STEP\n",
    "plate.csv": "\ufeffload;Thickness;note\n1,5;10;light\n\n2;20;heavy\n",
    "parts one/mesh.inp": "** mesh one\n",
    "two/mesh.inp": "** mesh two\n*AMPLITUDE\n{{load}}\n",
}
