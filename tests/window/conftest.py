"""Fixtures of the window's tests: a screen, and windows on a real grid."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pymongo import MongoClient

from gridcompute.config import database_name, version
from gridcompute.machine.mongod import PrivateMongod
from tests.support import grids
from tests.support.grids import Grid
from tests.support.screen import Screen, Window, screen

random_counter = Path(__file__).parents[2] / "template/Shared_Folder/Settings/Applications/Random Counter"


@pytest.fixture
def a_screen() -> Iterator[Screen]:
    with screen() as made:
        yield made


class Desktop:
    """The commands that a desktop has for programs, as far as this screen's has none: they write down what is asked."""

    def __init__(self, folder: Path):
        self.bin, self._told = folder / "bin", folder / "told.txt"
        self.bin.mkdir(parents=True)
        for name in ("xdg-open", "notify-send"):
            command = self.bin / name
            command.write_text(f'#!/bin/sh\necho "{name}|$*" >> "{self._told}"\n')
            command.chmod(0o755)

    def told(self, command: str) -> list[str]:
        """The arguments of each call of `command`."""
        lines = self._told.read_text().splitlines() if self._told.exists() else []
        return [line.partition("|")[2] for line in lines if line.startswith(f"{command}|")]


@pytest.fixture
def desktop(tmp_path: Path) -> Desktop:
    return Desktop(tmp_path / "desktop")


@pytest.fixture
def open_window(a_screen: Screen, tmp_path: Path, desktop: Desktop) -> Iterator[Callable[..., Window]]:
    """Opens windows: ``open_window(grid, machine="PC-1")``; HOME is this test's own too."""
    windows: list[Window] = []

    def open_one(grid: Grid | None, *, machine: str = "PC-1", home: str = "home", **environ: str) -> Window:
        person = tmp_path / "person"
        person.mkdir(exist_ok=True)
        environ = {"PATH": f"{desktop.bin}{os.pathsep}{os.environ['PATH']}", **environ}
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


@pytest.fixture(autouse=True)
def version_allowed(mongod: PrivateMongod) -> Iterator[None]:
    """The database allows this version, as `gridcompute serve` sees to it: no warning of it stands in the window."""
    login = {"username": grids.user_group, "password": grids.password, "authSource": database_name}
    with MongoClient(mongod.address, directConnection=True, **login) as client:
        client[database_name]["versions"].insert_one({"_id": version, "status": "allowed"})
        yield
        client[database_name]["versions"].delete_many({})


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    folder = tmp_path / "inputs"
    folder.mkdir()
    return folder


@pytest.fixture
def counter_grid(make_grid) -> Grid:
    """A grid with the tutorial's demo application."""
    scripts = {path.name: path.read_text("utf-8") for path in random_counter.iterdir() if path.is_file()}
    return make_grid(apps={"Random Counter": scripts}, machines=["PC-1"], instance="tutorial")
