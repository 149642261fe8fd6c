"""pyrep repositories travel, and their absence is told."""

from __future__ import annotations

import sys
import warnings

import pytest

from gridcompute.softgrid import Addons
from gridcompute.softgrid.errors import SoftgridError

from .conftest import launch

with warnings.catch_warnings():  # by its import pyrep has every warning shown
    from pyrep import Repository

# pyrep itself uses what Python has since declared old.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
kwargs_of = Addons.RepositoryTransfer.get_repository_transfer_kwargs


@pytest.fixture
def repository(tmp_path):
    made = Repository()
    made.create_repository(str(tmp_path / "local"), info={"owner": "me"})
    made.dump_file([1, {"a": 2}], "sub/value", description="a value")
    made.dump_file("text", "second")
    return made


def test_files_of_a_repository_go_to_a_manager_which_makes_the_repository(make_grid, repository, tmp_path):
    grid = make_grid()
    (manager,) = launch(grid, "manager")
    place = tmp_path / "there"
    (status,) = grid.transfer(kwargs_of(repository, ["sub/value", "second"], str(place)), manager, collect=True)
    assert status and status.data == str(place)
    there = Repository().load_repository(str(place))
    assert there.info == {"owner": "me"} and there.pull_file("sub/value") == [1, {"a": 2}]
    assert there.get_file_info("sub/value")[0]["description"] == "a value"
    template = kwargs_of(str(tmp_path / "local"), "second", str(place), remoteRepoReplaceFiles=False)
    (status,) = grid.transfer(template, manager, collect=True)
    assert not status and "'second' is in" in status.error
    (status,) = grid.transfer(
        kwargs_of(repository, "second", ("temporary", "a/b"), remoteRepoInfo="other"), manager, collect=True
    )
    assert status and "softgrid-" in status.data
    assert Repository().load_repository(status.data).info == "other"
    (status,) = grid.transfer(
        kwargs_of(repository, "second", str(place), remoteRepoReplace=True), manager, collect=True
    )
    assert status
    assert not Repository().load_repository(str(place)).is_repository_file("sub/value")[0]


@pytest.mark.parametrize("place", [("temporary", "../out"), ("nowhere", "a")])
def test_a_place_that_is_not_allowed_is_a_failed_status(make_grid, repository, place):
    grid = make_grid()
    (manager,) = launch(grid, "manager")
    (status,) = grid.transfer(kwargs_of(repository, "second", place), manager, collect=True)
    assert not status and repr(place[0] if place[0] == "nowhere" else place[1]) in status.error


def test_a_folder_that_is_no_repository_is_left_alone(repository, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    files = kwargs_of(repository, "second", "x")["kwargs"]["files"]
    status = Addons.RepositoryTransfer.dump(None, str(tmp_path / "mine"), None, True, files, True)
    assert not status and "is no pyrep repository" in status.error
    with pytest.raises(ValueError, match="has no file 'third'"):
        kwargs_of(repository, "third", "x")
    with pytest.raises(ValueError, match="no pyrep repository at"):
        kwargs_of(str(tmp_path / "mine"), "third", "x")


def test_the_import_of_pyrep_leaves_the_programs_warnings_alone(monkeypatch):
    monkeypatch.delitem(sys.modules, "pyrep.Repository")
    monkeypatch.delitem(sys.modules, "pyrep")
    before = list(warnings.filters)
    assert Addons._repository_class() is not Repository
    assert warnings.filters == before


def test_without_pyrep_both_sides_say_so(repository, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pyrep", None)
    with pytest.raises(SoftgridError, match="pip install pyrep"):
        kwargs_of(repository, "second", "x")
    status = Addons.RepositoryTransfer.dump(None, str(tmp_path / "new"), None, False, {}, True)
    assert not status and "pip install pyrep" in status.error
