"""Holds the layers of the package: imports run from faces to server to daemons to grid and machine to values."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

package = Path(__file__).parents[2] / "gridcompute"

values = {"errors", "events", "config", "clock"}
server = {"server", "selection", "submission", "report"}
"""The façade and what it is made of."""

may_import = {
    "values": {"values"},
    "grid": {"values", "grid"},
    "machine": {"values", "machine"},
    "daemons": {"values", "grid", "machine", "daemons"},
    "server": {"values", "grid", "machine", "daemons", "server"},
    "gui": {"values", "machine", "server", "gui"},
    "commands": {"values", "grid", "machine", "daemons", "server", "gui", "commands", "softgrid"},
    "softgrid": {"values", "machine", "softgrid"},
    "__main__": {"values", "machine", "commands"},  # the hidden commands of child processes go to machine directly
}
imports_pymongo = ("gridcompute.grid.database", "gridcompute.machine.mongod.setup")
"""The second makes the server that is to become a database: its replica set and its users."""

of_pymongo = {"pymongo", "bson", "gridfs"}


def layer(module: str) -> str:
    """The layer of a module: the package below gridcompute, or for single modules their own name or *values*."""
    parts = module.split(".")
    if len(parts) == 1:
        return "gridcompute"
    for name, members in (("values", values), ("server", server)):
        if parts[1] in members:
            return name
    return parts[1]


@cache
def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in package.rglob("*.py"):
        name = ".".join(path.relative_to(package.parent).with_suffix("").parts).removesuffix(".__init__")
        found[name] = path
    return found


@cache
def imports(module: str) -> frozenset[str]:
    """What a module imports, at its top or within a function, as dotted names; hints under TYPE_CHECKING aside."""
    path = modules()[module]
    here = module if path.name == "__init__.py" else module.rpartition(".")[0]
    return frozenset(_imports(ast.parse(path.read_text("utf-8")), here))


def _imports(tree: ast.AST, here: str) -> Iterator[str]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for other in node.orelse:
                yield from _imports(other, here)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _base(node, here)
            yield from (_module_or_its_attribute(f"{base}.{alias.name}", base) for alias in node.names)
        else:
            yield from _imports(node, here)


def _base(node: ast.ImportFrom, here: str) -> str:
    if not node.level:
        return node.module or ""
    parts = here.split(".")
    parents = parts[: len(parts) - node.level + 1]
    return ".".join([*parents, node.module] if node.module else parents)


def _module_or_its_attribute(name: str, base: str) -> str:
    return name if name in modules() else base


def ours(module: str) -> set[str]:
    """The modules of the package that a module imports."""
    return {name for name in imports(module) if name in modules() and name != module}


def test_the_test_sees_the_modules():
    assert {"gridcompute", "gridcompute.errors", "gridcompute.machine.mongod"} <= modules().keys()
    assert "pymongo" in imports("gridcompute.machine.mongod.setup")
    assert "gridcompute.machine.guard" in ours("gridcompute.machine.mongod.private")


def test_every_module_has_a_layer():
    unknown = {module for module in modules() if layer(module) not in {*may_import, "gridcompute"}}
    assert not unknown, "give them a place in this test's table"


@pytest.mark.parametrize("module", sorted(modules()))
def test_a_module_imports_its_own_layer_and_those_below(module):
    if layer(module) == "gridcompute":
        return  # it offers names of every layer, the heavy ones on demand
    wrong = {name for name in ours(module) if layer(name) not in {*may_import[layer(module)], "gridcompute"}}
    assert not wrong


def test_one_command_alone_imports_softgrid_and_only_when_it_runs():
    outside = {module for module in modules() if layer(module) != "softgrid"}
    assert {m for m in outside if any(layer(name) == "softgrid" for name in ours(m))} == {
        "gridcompute.commands.softgrid"
    }
    tree = ast.parse(modules()["gridcompute.commands.softgrid"].read_text("utf-8"))
    at_top = [ast.unparse(node) for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert not [line for line in at_top if "softgrid" in line]


def test_no_module_reaches_itself_by_imports():
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module not in done:
            for name in sorted(ours(module) - {"gridcompute"}):
                visit(name, (*path, module))
            done.add(module)

    for module in modules().keys() - {"gridcompute"}:
        visit(module, ())


def test_pymongo_is_imported_where_queries_live_and_where_a_server_is_made():
    found = {module for module in modules() if {name.split(".")[0] for name in imports(module)} & of_pymongo}
    assert not {module for module in found if not f"{module}.".startswith(tuple(f"{one}." for one in imports_pymongo))}


def test_tkinter_is_imported_by_the_window_alone():
    windows = {"tkinter", "ttkbootstrap", "tkinterdnd2"}
    found = {module for module in modules() if {name.split(".")[0] for name in imports(module)} & windows}
    assert {layer(module) for module in found} <= {"gui"}


def test_the_values_know_nothing_of_the_outside_world():
    outside = {"pymongo", "psutil", "socket", "subprocess", "filelock", "platformdirs", "shutil", "tempfile"}
    for module in modules():
        if layer(module) == "values":
            assert not {name.split(".")[0] for name in imports(module)} & outside, module
