"""The executable, built once for all its tests, in a folder that knows nothing of where it was built."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.executable.support import Executable
from tests.support.processes import marker
from tests.support.services import missing

top = Path(__file__).resolve().parents[2]
built = top / "build" / "GridCompute"


@pytest.fixture(scope="session")
def built_executable() -> Path:
    """The folder that ``python setup.py build`` makes; made again where a source is newer."""
    if not sys.platform.startswith("linux"):
        missing("the executable of this system was not tested yet: see docs/windows.md")
    if not _is_fresh():
        if importlib.util.find_spec("cx_Freeze") is None:
            missing("cx_Freeze is not installed: make executable")
        done = subprocess.run(
            [sys.executable, "setup.py", "build"], cwd=top, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        print(*done.stdout.splitlines()[-6:], sep="\n")
    return built


def _is_fresh() -> bool:
    sources = [top / "setup.py", top / "pyproject.toml", *(top / "admin" / "executable").iterdir()]
    for folder in ("gridcompute", "template"):
        sources += (path for path in (top / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    try:
        made = max(path.stat().st_mtime for path in built.parent.glob("*.run"))  # the last that the build writes
    except ValueError:
        return False
    return all(path.stat().st_mtime < made for path in sources if path.is_file())


@pytest.fixture(scope="session")
def carried_away(built_executable: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the executable's folder in an empty one, with a blank in its name."""
    place = tmp_path_factory.mktemp("somewhere else") / "Grid Compute"
    shutil.copytree(built_executable, place)
    yield place
    shutil.rmtree(place, ignore_errors=True)


@pytest.fixture
def executable(carried_away: Path, tmp_path: Path) -> Iterator[Callable[..., Executable]]:
    """Makes the executable of a person: ``executable("anna", DISPLAY=":1")``; nothing else is in its environment."""
    people: list[Executable] = []

    def make(person: str, **environ: str) -> Executable:
        mark = {marker: os.environ[marker]}  # by which a test sees what it left running
        people.append(Executable(carried_away, tmp_path / person, {**mark, **environ}))
        return people[-1]

    yield make
    for person in people:
        person.end()
