"""Objects, data, files, functions and packages, kept here and at other executors."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
from pathlib import Path

import pytest

from gridcompute.softgrid.Collections import SoftgridStatus, read_files

from .conftest import Door, call, launch, pid_of, poll


class Point:
    """A class of the user's own, which the far side can't import."""

    def __init__(self, x):
        self.x = x

    def double(self):
        return Point(2 * self.x)


@pytest.fixture
def grid(two_workers):
    return two_workers


def test_objects_travel_with_their_classes(grid):
    assert all(grid.transfer_add_object("p", Point(4), grid.workers))
    found = grid.transfer_get_object("p", grid.workers)
    assert [point.double().x for point in found] == [8, 8]
    assert not grid.transfer_add_object("p", 1, grid.workers[0], replace=False)[0]
    assert call(grid, lambda e: e.get_object("p").double().x, grid.workers[0], first=True) == [8]
    assert grid.transfer_pop_object("p", grid.workers[0])[0].x == 4
    assert grid.transfer_pop_object("p", grid.workers[0], default=7) == [7]
    assert grid.transfer_get_object("p", grid.workers[0], default=8, mustExist=False) == [8]
    assert not grid.transfer_get_object("p", grid.workers[0])[0]
    for name in ("pickle", "cPickle", "cloudpickle", "dill"):
        assert grid.transfer_add_object(name, {"a": 1}, grid.workers[0], dumps=name)[0]
        assert grid.transfer_get_object(name, grid.workers[0]) == [{"a": 1}]


def test_what_only_dill_can_write_goes_by_dill_where_both_sides_have_it(make_grid, monkeypatch):
    grid = make_grid()
    launch(grid, "worker", 2)
    lock = threading.Lock()
    assert all(grid.transfer_add_object("lock", lock, grid.workers))
    assert call(grid, lambda e: e.get_object("lock").acquire(False), grid.workers, first=True) == [True, True]
    (there,) = call(grid, "get_object", grid.workers[0], "lock", kwargs={"serialize": True})
    assert there["loads"] == "dill"
    # a far side without it
    call(grid, "import sys\ndef hide(): sys.modules['dill'] = None", grid.workers[0])
    missing, works = grid.transfer_add_object("lock", lock, grid.workers)
    assert works and not missing and "'dill' is not installed" in missing.error
    # and without it here
    monkeypatch.setitem(sys.modules, "dill", None)
    for named in ("dill", None):
        status = grid.transfer_add_object("lock", lock, grid.workers, dumps=named)
        assert not status and "'dill' is not installed" in str(status)


def test_objects_here(make_grid):
    grid = make_grid()
    assert grid.add_object("o", pickle.dumps([1]))
    assert grid.get_object("o") == [1]
    assert grid.get_object("o", serialize=True)["loads"] == "pickle"
    assert grid.add_object("o", {"object": pickle.dumps(2), "loads": "cPickle"})
    assert not grid.add_object("o", b"", replace=False)
    assert not grid.add_object("x", 5)
    assert grid.pop_object("o", serialize=True) == {"object": pickle.dumps(2), "loads": "cPickle"}
    assert grid.add_object("o", pickle.dumps(2))
    assert grid.pop_object("o") == 2
    assert grid.pop_object("o", default=3) == 3
    assert not grid.pop_object("o", mustExist=True)
    assert not grid.get_object("o")
    assert grid.get_object("o", default=9, mustExist=False) == 9


def test_data_travels_and_waits_for_nobody(grid, tmp_path):
    assert all(grid.transfer_add_data("d", {"a": [1, 2]}, grid.workers))
    door = Door(grid, grid.workers[0], tmp_path)
    assert grid.transfer_get_data("d", grid.workers, timeout=30) == [{"a": [1, 2]}] * 2  # beside what runs
    door.open()
    assert grid.transfer_get_data("d", grid.workers[1], timeout=None) == [{"a": [1, 2]}]
    assert grid.transfer_add_data("d", 2, grid.workers[1], timeout=None) is None
    poll(lambda: grid.transfer_get_data("d", grid.workers[1]) == [2])
    assert not grid.transfer_add_data("d", 3, grid.workers[1], replace=False)[0]
    assert grid.transfer_pop_data("d", grid.workers) == [{"a": [1, 2]}, 2]
    assert grid.transfer_get_data("d", grid.workers[0], default=5, mustExist=False) == [5]
    assert isinstance(grid.transfer_get_data("d", grid.workers[0])[0], SoftgridStatus)
    assert not grid.transfer_pop_data("d", grid.workers[0], mustExist=True)[0]
    assert grid.transfer_pop_data("d", grid.workers, default=6) == [6, 6]
    assert isinstance(grid.pop_data("never", mustExist=True), SoftgridStatus)
    assert grid.pop_data("never", default=7) == 7


def test_every_answer_of_a_store_is_waited_for_as_long_as_its_timeout_says(grid):
    worker, other = grid.workers
    os.kill(pid_of(worker), signal.SIGSTOP)
    try:
        found = [
            grid.transfer_add_object("x", 1, worker, timeout=0.05),
            grid.transfer_get_object("x", worker, timeout=0.05),
            grid.transfer_pop_object("x", worker, timeout=0.05),
            grid.transfer_add_data("x", 1, worker, timeout=0.05),
            grid.transfer_get_data("x", worker, timeout=0.05),
            grid.transfer_pop_data("x", worker, timeout=0.05),
            grid.transfer_add_udf("x", abs, False, worker, timeout=0.05),
            grid.transfer_get_udf("x", worker, timeout=0.05),
            grid.transfer_pop_udf("x", worker, timeout=0.05),
            grid.transfer_add_package(__file__, worker, timeout=0.05),
        ]
    finally:
        os.kill(pid_of(worker), signal.SIGCONT)
    assert all("within 0.05 s" in status.error for (status,) in found)
    # None says that no answer is awaited
    assert grid.transfer_add_object("x", 1, other, timeout=None) is None
    poll(lambda: grid.transfer_get_object("x", other, mustExist=False) == [1])
    assert grid.transfer_pop_object("x", other, timeout=None) is None
    poll(lambda: grid.transfer_get_object("x", other, mustExist=False) == [None])


def test_data_bounces_from_a_manager_to_its_workers(make_grid):
    grid = make_grid()
    (manager,) = launch(grid, "manager")
    workers = launch(grid, "worker", 2, upgrid=manager)
    assert len(grid.transfer_add_data("b", 1, manager, bounce=[workers])) == 2
    assert grid.transfer_get_data("b", workers) == [1, 1]


def test_functions_are_called_by_their_name_where_they_were_added(grid):
    factor = 3

    def triple(executor, x):
        return executor.role, factor * x

    assert all(grid.transfer_add_udf("triple", triple, True, grid.workers))
    assert call(grid, "triple", grid.workers, 5) == [("worker", 15)] * 2
    assert all(grid.transfer_add_udf("plain", "def plain(x):\n    return -x", False, grid.workers))
    assert call(grid, "plain", grid.workers[0], 5) == [-5]
    assert not grid.transfer_add_udf("wrong", "def other(): pass", False, grid.workers)[0]
    assert grid.transfer_get_udf("plain", grid.workers[0])[0](1) == -1
    assert not grid.transfer_add_udf("plain", triple, True, grid.workers, replace=False)[0]
    assert [plain(2) for plain in grid.transfer_pop_udf("plain", grid.workers)] == [-2, -2]
    assert not grid.transfer_pop_udf("plain", grid.workers[0], mustExist=True)[0]
    assert grid.transfer_pop_udf("plain", grid.workers[0], default=1) == [1]
    assert not call(grid, "plain", grid.workers[0], 5)[0]
    assert grid.transfer_get_udf("plain", grid.workers[0], default=0, mustExist=False) == [0]


def test_files_are_written_and_read_below_their_roots_only(make_grid, tmp_path):
    grid = make_grid(permanentDir=str(tmp_path / "permanent"))
    assert grid.add_file("f", "sub/f.txt", "grüße")
    assert grid.get_file("f") == "grüße"
    assert not grid.add_file("g", "../escape.txt", "x")
    assert not grid.add_file("g", "relative.txt", "x", root=None)
    assert not grid.add_file("f", "other.txt", "x", replace=False)
    assert not grid.add_file("g", "not-there.txt", None)
    assert grid.add_file("same", "sub/f.txt", None)
    assert grid.add_file("again", "sub/f.txt", b"\xff\x00")  # replaces what other names pointed to
    assert not grid.get_file("f") and not grid.get_file("same")
    assert grid.get_file("again") == b"\xff\x00"
    assert grid.get_file("f", default=1, mustExist=False) == 1
    write = "import pathlib\ndef write(data, path, end):\n    pathlib.Path(path).write_text(data + end)"
    read = "import pathlib\ndef read(path, times):\n    return pathlib.Path(path).read_text() * times"
    assert grid.add_file("w", "w.txt", "a", "permanent", write, ["b"], None, read)
    assert (tmp_path / "permanent" / "w.txt").read_text() == "ab"
    assert grid.get_file("w", rargs=[3]) == "ababab"
    popped = grid.pop_file("w", rargs=[2], delete=True)
    assert popped["data"] == "abab" and not Path(popped["path"]).exists()
    assert not grid.pop_file("w") and grid.pop_file("w", default=4, mustExist=False) == 4
    absolute = tmp_path / "absolute.bin"
    assert grid.add_file("abs", str(absolute), b"1", root="")
    assert absolute.read_bytes() == b"1"


def test_files_go_to_others_by_the_methods_names(grid):
    statuses = call(grid, "add_file", grid.workers, "f", "f.txt", "text")
    assert all(statuses)
    assert call(grid, "get_file", grid.workers, "f") == ["text", "text"]
    assert len({status.data for status in statuses}) == 2


@pytest.fixture
def package(tmp_path):
    folder = tmp_path / "sg_sample"
    for path, text in {
        "__init__.py": "from .inner.deep import value\n",
        "inner/__init__.py": "",
        "inner/deep.py": "value = 42\n",
        "inner/table.dat": "1 2 3",
        "docs/readme.py": "",
        ".hidden/x.py": "",
        "__pycache__/x.py": "",
        "lib.so": "",
        "9lives.py": "",
    }.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


def test_the_files_of_a_package_are_chosen_by_its_filters(package):
    names = set(read_files(str(package)))
    assert names == {"sg_sample/__init__.py", "sg_sample/inner/__init__.py", "sg_sample/inner/deep.py"}
    assert "sg_sample/inner/table.dat" in read_files(str(package), dataFiles=["inner/table.dat"])
    assert "sg_sample/docs/readme.py" in read_files(str(package), rejectFolders=())
    with pytest.raises(ValueError, match="outside"):
        read_files(str(package), dataFiles=["../x"])
    with pytest.raises(FileNotFoundError):
        read_files(str(package / "nowhere"))


@pytest.mark.parametrize("place", ["temporary", "permanent", "user", "memory"])
def test_a_package_becomes_importable_there(make_grid, package, place, tmp_path, monkeypatch):
    """Two workers of one machine: what is permanent or the user's own is one place for both."""
    monkeypatch.setenv("HOME", str(tmp_path))
    grid = make_grid()
    launch(grid, "worker", 2)

    def use():
        import sg_sample

        return sg_sample.value

    assert not call(grid, use, grid.workers[0])[0]
    assert all(grid.transfer_add_package(str(package), grid.workers, sitePackages=place))
    assert call(grid, use, grid.workers) == [42, 42]
    (again,) = grid.transfer_add_package(str(package), grid.workers[0], sitePackages=place)
    assert not again and "exists already" in again.error
    (package / "inner" / "deep.py").write_text("value = 43\n")
    assert all(grid.transfer_add_package(str(package), grid.workers, sitePackages=place, replace=True))
    assert call(grid, use, grid.workers) == [43, 43]
    if place in ("permanent", "user"):
        (late,) = launch(grid, "worker")  # finds what the others put there
        assert place == "user" or call(grid, use, late) == [43]
        assert all(grid.transfer_add_package(str(package), late, sitePackages=place))
        assert call(grid, use, late) == [43]
        (package / "inner" / "deep.py").write_text("value = 44\n")
        (other,) = launch(grid, "worker")
        (refused,) = grid.transfer_add_package(str(package), other, sitePackages=place)
        assert not refused and "exists already" in refused.error


def test_of_many_that_add_a_permanent_package_at_once_none_fails(make_grid, tmp_path):
    grid = make_grid()
    launch(grid, "worker", 3, executorKwargs={"permanentDir": str(tmp_path / "permanent")})
    files = {f"sg_many/m{number}.py": b"x = 1\n" * 1000 for number in range(200)} | {"sg_many/__init__.py": b""}
    assert all(call(grid, "add_package", grid.workers, files, priority=None, kwargs={"sitePackages": "permanent"}))
    assert call(grid, "import sg_many.m7\ndef f(): return sg_many.m7.x", grid.workers) == [1, 1, 1]


def test_a_package_cannot_leave_its_folder(make_grid):
    grid = make_grid()
    assert not grid.add_package({"../evil.py": b""})
    assert not grid.add_package({"a.py": b""}, relativeRoot="..")
    assert not grid.add_package({"a.py": b""}, sitePackages="elsewhere")
    assert not grid.add_package({})
