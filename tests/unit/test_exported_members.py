"""What a package offers is listed in its __init__, and the list is true."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re

import pytest

import gridcompute
from gridcompute import errors

packages = ["gridcompute", "gridcompute.commands", "gridcompute.daemons", "gridcompute.grid", "gridcompute.machine"]


def classes_of_errors() -> dict[str, type]:
    return {name: one for name, one in inspect.getmembers(errors, inspect.isclass) if issubclass(one, Exception)}


def modules() -> list[str]:
    """Every module below the packages above."""
    found = []
    for package in packages:
        path = importlib.import_module(package).__path__
        found += [one.name for one in pkgutil.iter_modules(path, f"{package}.") if not one.name.endswith("__main__")]
    return found


def public_names(module: str) -> set[str]:
    """What the module defines or imports at its top without an underscore, by its source."""
    tree = ast.parse(inspect.getsource(importlib.import_module(module)))
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return {name for name in names if not name.startswith("_")}


def test_the_package_offers_the_server_the_errors_progress_and_the_version():
    assert set(gridcompute.__all__) == {"Server", "progress", "__version__"} | classes_of_errors().keys()
    assert gridcompute.__all__ == sorted(gridcompute.__all__)


@pytest.mark.parametrize("name", gridcompute.__all__)
def test_what_the_package_lists_is_there(name):
    assert getattr(gridcompute, name) is not None
    assert name in dir(gridcompute)


def test_the_heavy_things_come_on_demand():
    """The child of a case imports the package: whatever its top imports, every case pays for."""
    top = ast.parse(inspect.getsource(gridcompute)).body
    imported = {node.module for node in top if isinstance(node, ast.ImportFrom)}
    assert imported <= {"__future__", "typing", "gridcompute.config"}

    from gridcompute.server import Server

    assert gridcompute.Server is Server
    assert gridcompute.ShareAway is errors.ShareAway


def test_a_name_that_is_not_offered_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'Serve'"):
        gridcompute.Serve  # noqa: B018


def test_progress_outside_a_case_does_nothing():
    assert gridcompute.progress(0.5, "half") is None


@pytest.mark.parametrize("package", packages[1:])
def test_the_other_packages_offer_their_modules_and_nothing_else(package):
    assert public_names(package) == set()


@pytest.mark.parametrize("module", modules())
def test_a_module_that_lists_its_names_has_them(module):
    listed = getattr(importlib.import_module(module), "__all__", None)
    if listed is not None:
        assert [name for name in listed if not hasattr(importlib.import_module(module), name)] == []


def test_errors_are_drawn_as_they_are():
    """The tree at the top of errors.py: each class under its parent, in one sentence or more."""
    parents: list[str] = ["Exception"]
    drawn = {}
    for indent, name in re.findall(r"^( *)- (\w+)", errors.__doc__ or "", re.MULTILINE):
        depth = len(indent) // 2
        parents[depth:] = [name]
        drawn[name] = parents[depth - 1]

    assert drawn == {name: one.__base__.__name__ for name, one in classes_of_errors().items()}
    assert all(one.__doc__ for one in classes_of_errors().values())
