"""Fixtures of the window's tests: a screen, and windows on a real grid."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.grids import Grid
from tests.support.screen import Screen, Window, screen

random_counter = Path(__file__).parents[2] / "template/Shared_Folder/Settings/Applications/Random Counter"


@pytest.fixture
def a_screen() -> Iterator[Screen]:
    with screen() as made:
        yield made


@pytest.fixture
def open_window(a_screen: Screen, tmp_path: Path) -> Iterator[Callable[..., Window]]:
    """Opens windows: ``open_window(grid, machine="PC-1")``; HOME is this test's own too."""
    windows: list[Window] = []

    def open_one(grid: Grid | None, *, machine: str = "PC-1", home: str = "home", **environ: str) -> Window:
        person = tmp_path / "person"
        person.mkdir(exist_ok=True)
        place = ["--server", str(grid.root)] if grid is not None else []
        windows.append(
            Window(
                a_screen,
                tmp_path / "window",
                *place,
                "--machine",
                machine,
                home=tmp_path / home,
                HOME=str(person),
                **environ,
            )
        )
        return windows[-1]

    yield open_one
    for window in windows:
        window.end()


@pytest.fixture
def counter_grid(make_grid) -> Grid:
    """A grid with the tutorial's demo application."""
    scripts = {path.name: path.read_text("utf-8") for path in random_counter.iterdir() if path.is_file()}
    return make_grid(apps={"Random Counter": scripts}, machines=["PC-1"], instance="tutorial")
