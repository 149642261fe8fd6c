"""Whoever follows a page of the documentation, or the README, gets what it shows."""

from __future__ import annotations

import re
import shlex
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gridcompute import config
from gridcompute.commands import cli, new_grid
from gridcompute.grid.database import Database
from gridcompute.grid.settings import parse_settings
from gridcompute.machine.mongod import PrivateMongod, administrator, free_port
from gridcompute.softgrid.certificate import make_certificate
from tests.docs.fences import fences_of, pages, reasons, root, runnable
from tests.docs.stage import Stage
from tests.support import grids
from tests.support.services import need_mongod

every_fence = [fence for page in pages for fence in fences_of(page)]
files = ["my_file.txt", "other_file.txt"]
"""What a page takes for the reader's own files."""


@pytest.fixture(scope="module")
def mongod_of_the_pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateMongod]:
    """One MongoDB for all pages that start none themselves; it allows this version of the program, as `serve` does."""
    need_mongod()
    data = tmp_path_factory.mktemp("mongod-of-the-pages")
    with PrivateMongod(data, user_group=grids.user_group, password=grids.password) as server:
        database = Database(parse_settings(grids.settings_text(grids.settings_lines(server)), "settings of the pages"))
        database.set_versions([{"_id": config.version, "status": "allowed"}])
        database.close()
        yield server


@pytest.fixture
def make_stage(tmp_path: Path, mongod_of_the_pages: PrivateMongod) -> Iterator[Callable[..., Stage]]:
    """Makes the stage of a page, on a grid that is there unless the page makes one itself."""
    mongod = mongod_of_the_pages
    stages: list[Stage] = []

    def make(makes_its_own: bool) -> Stage:
        share = tmp_path / "Shared_Folder"
        password = (mongod.data / "administrator-password").read_text("ascii").strip()
        port = str(free_port())
        stage = Stage(
            tmp_path,
            {
                "gridcompute serve": f"gridcompute serve --port {port}",
                "//server/grid/Shared_Folder": str(share),
                "//server/grid/ca.pem": str(certificate(tmp_path)),
                "thatpc:27017": f"localhost:{port}",
                ":27017": f":{port}",
                "port 27017": f"port {port}",
                "PC-ANNA": socket.gethostname(),
            },
            f"mongodb://{administrator}:{password}@{mongod.address}/?directConnection=true",
        )
        stages.append(stage)
        for name in files:
            (stage.here / name).write_text(f"the content of {name}\n")
        if not makes_its_own:
            settings = new_grid.checked_settings(mongod.address, grids.user_group, grids.password, tmp_path.name)
            new_grid.make_shared_folder(share, settings, {socket.gethostname(): ["Random Counter"]})
            (stage.here / "server.txt").write_text(str(share))
        return stage

    yield make
    for stage in stages:
        stage.end()


def certificate(folder: Path) -> Path:
    """A certificate in a file, as an administrator has one who encrypts connections."""
    path = folder / "ca.pem"
    path.write_text("".join(make_certificate()), encoding="ascii")
    return path


@pytest.mark.parametrize("page", [page for page in pages if any(f.runs for f in fences_of(page))], ids=lambda p: p.stem)
def test_a_page_does_what_it_says(page, make_stage):
    fences = [fence for fence in fences_of(page) if fence.runs]
    stage = make_stage(any("gridcompute init" in fence.text for fence in fences))
    for fence in fences:
        stage.run(fence)
    stage.end()


@pytest.mark.parametrize("fence", every_fence, ids=lambda fence: fence.where)
def test_a_block_is_run_or_says_why_not(fence):
    if fence.runs:
        assert fence.language in runnable or "file" in fence.options, f"{fence.where}: a test can't run this"
    else:
        assert fence.options["not-run"] in reasons, f"{fence.where}: no such reason in tests/docs/fences.py"


def test_each_reason_is_used():
    assert {fence.options["not-run"] for fence in every_fence if not fence.runs} == set(reasons)


def test_commands_that_others_start_are_the_program_s():
    started = [
        command
        for fence in every_fence
        if not fence.runs
        for command in re.findall(r"(?:^\$ |ExecStart=)(?:\S*/)?gridcompute(?: (.*))?$", fence.text, re.MULTILINE)
    ]
    assert len(started) > 2
    for command in started:
        cli.parse(shlex.split(command, comments=True))


def test_each_picture_is_taken_by_a_test_and_shown_by_a_page():
    there = {path.stem for path in (root / "docs" / "pictures").glob("*.png")}
    sources = "\n".join(path.read_text("utf-8") for path in (root / "tests" / "window").glob("*.py"))
    assert set(re.findall(r"\.picture\(\"([\w-]+)\"\)", sources)) == there
    shown = {
        Path(path).stem for page in pages for path in re.findall(r"!\[[^]]+\]\(([^)]+)\)", page.read_text("utf-8"))
    }
    assert shown == there


def test_each_example_of_softgrid_is_shown():
    folder = root / "docs" / "softgrid"
    shown = re.findall(r"\{literalinclude\} examples/(\w+\.py)", (folder / "examples.md").read_text("utf-8"))
    assert sorted(shown) == sorted(path.name for path in (folder / "examples").glob("*.py"))


def test_each_module_has_its_place_in_the_pages_of_the_api():
    modules = {
        ".".join(path.relative_to(root).with_suffix("").parts)
        for path in (root / "gridcompute").rglob("[!_]*.py")
        if "carried" not in path.parts and "template" not in path.parts
    }
    text = "\n".join(path.read_text("utf-8") for path in (root / "docs" / "api").glob("*.md"))
    described = re.findall(r"^\.\. automodule:: (gridcompute\.\S+)$", text, re.MULTILINE)
    assert len(described) == len(set(described))
    assert modules - set(described) == set(), "add them to a page of docs/api"
    assert {name for name in described if name not in modules} == {
        "gridcompute.softgrid",
        "gridcompute.softgrid.transport",
        "gridcompute.grid.database",
        "gridcompute.machine.forking",
        "gridcompute.machine.mongod",
    }
