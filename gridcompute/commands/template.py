"""The template of a shared folder that comes with the program, and its examples.

It lies at the top of the source, ``template/``, where the documentation has it; `setup.py` copies it into the wheel as
``gridcompute/template``, and the executable carries it beside itself.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import gridcompute
from gridcompute.errors import InputError, UsageError
from gridcompute.machine import program

SHARED_FOLDER = "Shared_Folder"
EXAMPLES = "examples"


def template_folder() -> Path:
    """The folder that holds ``Shared_Folder`` and ``examples``; InputError when this installation has none."""
    places = list(_places())
    for place in places:
        if (place / SHARED_FOLDER / "Settings" / "settings.txt").is_file():
            return place
    raise InputError(
        "The template of a shared folder is not part of this installation; it was looked for in "
        + " and ".join(map(str, places))
        + ". Install GridCompute again."
    )


def copy_template(target: Path) -> None:
    """Make `target` a shared folder like the template; it may be there already, with other things in it.

    UsageError names the first file that is there already and would be overwritten; nothing was written then.
    """
    source = template_folder() / SHARED_FOLDER
    for file in _files(source):
        there = target / file.relative_to(source)
        if there.exists():
            raise UsageError(
                f"Cannot make a shared folder of {target}: {there} is there already. "
                "Name a new folder, or remove the old one's files first."
            )
    # Only the content is copied: a template installed read-only shall not make a read-only shared folder.
    shutil.copytree(source, target, ignore=_ignored, copy_function=shutil.copyfile, dirs_exist_ok=True)


def example(application: str, name: str) -> Path:
    """A file of the examples, such as ``example("CalculiX", "beam.inp")``."""
    return template_folder() / EXAMPLES / application / name


def _places() -> Iterator[Path]:
    package = Path(gridcompute.__file__).resolve().parent
    yield package / "template"  # a wheel
    yield package.parent / "template"  # a clone, installed editable or not at all
    if program.is_frozen():
        yield program.folder() / "template"


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path


_ignored = shutil.ignore_patterns("__pycache__")  # pip compiles what it installs
