"""What travels needs nothing installed, and functions reach another version of Python as source text."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gridcompute.softgrid import launch as launch_module
from gridcompute.softgrid import travel

from .conftest import call, launch

GLOBAL_FACTOR = 10
HERE = [sys.version_info[0], sys.version_info[1]]


@functools.cache
def other_python() -> str | None:
    """A Python of another minor version on this desk, 3.10 or newer."""
    names = [f"python3.{minor}" for minor in range(10, 16) if minor != HERE[1]]
    found = [shutil.which(name) for name in names] + ["/usr/bin/python3"]
    found += [str(path) for path in Path.home().glob(".pyenv/versions/3.1*/bin/python3")]
    for path in found:
        if path and Path(path).exists():
            done = subprocess.run(
                [path, "-c", "import sys, ssl; print(*sys.version_info[:2])"], capture_output=True, text=True
            )
            if done.returncode == 0 and (3, 10) <= tuple(map(int, done.stdout.split())) != tuple(HERE):
                return path
    return None


def scaled(x):
    return helper(x) * GLOBAL_FACTOR


def helper(x):
    return x + 1


class Pair:
    def __init__(self, one, two):
        self.one, self.two = one, two

    def sum(self):
        return self.one + helper(self.two)


@pytest.fixture
def mixed(shelf):
    """A worker of another version, and one of this."""
    path = other_python()
    if path is None:
        pytest.skip("no Python of another minor version, 3.10 or newer, is on this desk")

    def fill(grid):
        launch(grid, "worker", machineExecutable=path)
        launch(grid, "worker")

    grid = shelf.take("two versions", fill)
    assert grid._node.tree.members[grid.workers[0]].info["python"] != HERE
    yield grid
    shelf.put_back("two versions")


def test_functions_reach_another_version_with_their_closures_and_globals(mixed):
    offset = 5

    def recurse(n):
        return 0 if n == 0 else offset + recurse(n - 1)

    def later(a, b=7, *rest, c=3, **more):
        return a + b + c + len(rest) + len(more)

    assert call(mixed, scaled, mixed.workers, 1) == [20, 20]
    assert call(mixed, recurse, mixed.workers, 4) == [20, 20]
    assert call(mixed, later, mixed.workers, 1, kwargs={"z": 1}) == [12, 12]
    assert call(mixed, lambda x: x + offset, mixed.workers, 1) == [6, 6]
    assert call(mixed, scaled, [mixed.workers[0]] * 3, 2) == [30] * 3
    for pair in call(mixed, lambda p: p, mixed.workers, Pair(1, 2)):
        assert isinstance(pair, Pair) and pair.sum() == 4
    assert call(mixed, lambda p: p.sum(), mixed.workers[0], Pair(1, 2)) == [4]


def test_a_result_and_an_exception_come_back_from_another_version(mixed):
    def make():
        def inner(x):
            return x * 3

        return inner

    def fail():
        raise KeyError("over there")

    (inner,) = call(mixed, make, mixed.workers[0])
    assert inner(4) == 12
    (status,) = call(mixed, fail, mixed.workers[0])
    assert isinstance(status.exception, KeyError) and "over there" in status.error


def test_a_function_without_source_fails_with_both_versions_named(mixed):
    scope: dict = {}
    exec("def blind(x): return x", scope)
    status = call(mixed, scope["blind"], mixed.workers[0], 1)
    theirs = ".".join(map(str, mixed._node.tree.members[mixed.workers[0]].info["python"]))
    assert not status
    assert "source is not known" in status.error and theirs in status.error and ".".join(map(str, HERE)) in status.error
    assert call(mixed, scope["blind"], mixed.workers[1], 1) == [1]


def test_workers_of_different_versions_ask_each_other(mixed):
    one, two = mixed.workers

    def ask(executor, other):
        def there(e):
            import sys

            return e.gridUniqueName, sys.version_info[1]

        template = executor.get_transfer_template(there)
        template["first_argument_executor"] = True
        return executor.transfer(template, other, collect=True)[0]

    assert call(mixed, ask, one, two, first=True)[0] == (two, HERE[1])
    name, minor = call(mixed, ask, two, one, first=True)[0]
    assert name == one and minor != HERE[1]


def test_source_form_round_trip_in_this_version():
    other = [3, HERE[1] + 1]
    assert travel.loads(travel.dumps(scaled, other))(1) == 20
    assert travel.loads(travel.dumps([lambda x: x * GLOBAL_FACTOR, 5], other))[0](2) == 20
    assert travel.loads(travel.dumps(len, other)) is len
    assert travel.loads(travel.dumps(os.path.join, other)) is os.path.join


def test_what_travels_imports_the_standard_library_alone():
    """softgrid is imported and an executor run with nothing installed in reach, psutil, PyMongo and NumPy least."""
    root = Path(travel.__file__).parents[2]
    script = f"""
import sys
sys.path.append({str(root)!r})
for name in ("psutil", "pymongo", "numpy", "cloudpickle", "filelock", "platformdirs"):
    sys.modules[name] = None
from gridcompute.softgrid import Orchestrator
O = Orchestrator(address="127.0.0.1", port=26400)
s, ok, _ = O.launch_worker(O.address, machineExecutable=sys.executable + " -I -S", timeout=30)
print(*s)
def loaded():
    import sys
    return [m for m in sys.modules if m.split(".")[0] in ("numpy", "matplotlib", "psutil", "pymongo", "cloudpickle")]
print(O.transfer(O.get_transfer_template(loaded), O.workers, collect=True))
O.disconnect()
"""
    done = subprocess.run([sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[[]]", done.stdout + done.stderr


def test_the_travelled_code_is_used_whatever_is_installed_there(make_grid):
    def origin():
        import gridcompute.softgrid.node

        return gridcompute.softgrid.node.__spec__.origin

    grid = make_grid()
    launch(grid, "worker")
    assert call(grid, origin, grid.workers) == ["<travelled>/gridcompute/softgrid/node.py"]


def test_what_cannot_be_pickled_fails_clearly():
    with pytest.raises(travel.TravelError, match="lock"):
        travel.dumps({"a": threading.Lock()})


def test_a_simple_function_is_pickled_anew_when_what_it_names_changes(make_grid):
    grid = make_grid()
    launch(grid, "worker")
    assert call(grid, scaled, grid.workers, 1) == [20]
    global GLOBAL_FACTOR
    GLOBAL_FACTOR = 11
    try:
        assert call(grid, scaled, grid.workers, 1) == [22]
        assert call(grid, lambda x: x + GLOBAL_FACTOR, grid.workers, 1) == [12]
    finally:
        GLOBAL_FACTOR = 10


def test_a_decorated_function_goes_to_another_version_with_what_it_wraps():
    def more(function):
        @functools.wraps(function)
        def wrapper(*args):
            return function(*args) + 1

        return wrapper

    @more
    def double(x):
        """Twice."""
        return 2 * x

    there = travel.loads(travel.dumps(double, [3, HERE[1] + 1]))
    assert there(3) == 7 and there.__name__ == "double" and there.__doc__ == "Twice."


def test_where_nothing_can_fork_an_executor_starts_as_a_process_apart_from_its_login(make_grid, monkeypatch):
    """The way that Windows takes: the first process starts another one, tells how it went, and ends."""
    grid = make_grid()
    monkeypatch.setattr(launch_module, "_FIRST", "import os\ndel os.fork\n" + launch_module._FIRST)
    order = launch_module.Order(
        "worker",
        {"relaunch": False, "address": "127.0.0.1"},
        "127.0.0.1",
        grid.port,
        grid.password,
        grid._node.identity.fingerprint,
        "",
        30.0,
    )
    process, told = launch_module._start([sys.executable, "-c", launch_module.STUB], order, detach=True, where="here")
    assert process.wait(10) == 0
    assert grid.workers == [told["joined"]]
    assert call(grid, scaled, grid.workers, 1) == [20]
    assert all(grid.kill_executor(grid.workers))
