"""The table of documented names is whole, true to the code and true to the tests."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
import textwrap
from pathlib import Path

import pytest

from gridcompute import softgrid

from .usage import Uses, uses_of_tests

TESTS = Path(__file__).parents[1]
TABLE = TESTS.parent / "docs" / "softgrid" / "covered.md"
LINE = re.compile(r"^(class|method|property|function|value) ([\w.]+)(?:\((.*)\))?$")
PROPERTIES_OF_INSTANCES = {"Core.ExecutorBase.executorsTransport"}
EMPTY_ON_PURPOSE = {
    "Globals.Logger.custom_init",  # for heirs to overload
    "Executors.Orchestrator.connect_to_grid",  # connects to nothing, as documented
}


def documented() -> dict[str, tuple[str, list[str]]]:
    """{name: (kind, arguments)} of softgrid's documentation; stars are not listed."""
    found = {}
    for line in (Path(__file__).parent / "documented.txt").read_text().splitlines():
        match = LINE.match(line)
        assert match, line
        arguments = [item.strip() for item in (match[3] or "").split(",")]
        found[match[2]] = (match[1], [item for item in arguments if item and not item.startswith("*")])
    return found


def table() -> dict[tuple[str, str], str]:
    """{(name, argument or ''): test}."""
    rows = re.findall(r"^\| `([\w.]+)` \| (?:`(\w+)`)? ?\| `([^`]+)` \|$", TABLE.read_text(), re.MULTILINE)
    return {(name, argument): test for name, argument, test in rows}


def found_in_code(name: str) -> object:
    """What a dotted name is, taken from the class that has it."""
    parts = name.split(".")
    if len(parts) == 1:
        return getattr(softgrid, name)
    found: object = importlib.import_module(f"gridcompute.softgrid.{parts[0]}")
    for part in parts[1:]:
        found = inspect.getattr_static(found, part) if inspect.isclass(found) else getattr(found, part)
    return found


def is_stub(function: object) -> bool:
    """Whether a function does nothing, or only says that it is not there."""
    source = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]  # type: ignore[arg-type]
    body = [item for item in source.body if not (isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant))]
    return not body or all(
        isinstance(item, ast.Pass) or (isinstance(item, ast.Raise) and "NotImplemented" in ast.unparse(item))
        for item in body
    )


def test_the_table_has_every_documented_name_and_argument_and_no_other():
    wanted = {(name, argument) for name, (_, arguments) in documented().items() for argument in ["", *arguments]}
    assert len(wanted) > 450
    assert set(table()) == wanted


@pytest.mark.parametrize("name", documented())
def test_the_code_has_a_documented_name_with_its_arguments(name):
    kind, arguments = documented()[name]
    found = found_in_code(name)
    if isinstance(found, staticmethod):
        found = found.__func__
    if kind == "property":
        assert isinstance(found, property) and found.fget is not None
        assert not is_stub(found.fget)
    elif kind in ("class", "method", "function"):
        parameters = [item for item in inspect.signature(found).parameters if item not in ("self", "cls")]
        if kind == "class":
            missing = set(arguments) - set(parameters)
        else:
            stars = {item.name for item in inspect.signature(found).parameters.values() if item.kind in STARS}
            only_one_is_documented = name == "Collections.GridGraph.draw_graph"
            wanted = set(parameters) & set(arguments) if only_one_is_documented else set(parameters) - stars
            missing = set(arguments) ^ wanted
            assert is_stub(found) == (name in EMPTY_ON_PURPOSE)
        assert not missing or name in OVERLOADED, missing


STARS = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
BASES = {"Core.GridBase", "Core.MachineManagement", "Core.ExecutorBase"}
"""Classes that nobody makes: a test of what their heirs do need not name them."""

OVERLOADED = {"Core.GridBase.log_and_transfer"}
"""Has one argument more, of the class that overloads it (ruling 20)."""


def uses(test: str) -> Uses | None:
    file, _, function = test.partition("::")
    return uses_of_tests(TESTS / file).get(function)


def is_covered(name: str, argument: str, found: Uses) -> bool:
    """Whether a test uses a name, or passes its argument."""
    kind, last = documented()[name][0], name.split(".")[-1]
    if kind == "class":
        return argument in found.keys if argument else last in found.words or name in BASES
    if not argument:
        return last in (found.words if kind == "value" else found.names | {call.name for call in found.calls})
    function = found_in_code(name)
    parameters = list(inspect.signature(getattr(function, "__func__", function)).parameters)
    first = 0 if isinstance(function, staticmethod) or parameters[0] not in ("self", "cls") else 1
    index = parameters.index(argument) - first if argument in parameters else sys.maxsize
    return any(call.name == last and call.passes(argument, index) for call in found.calls)


def test_every_test_of_the_table_uses_its_name_and_passes_its_argument():
    wrong = []
    for (name, argument), test in table().items():
        found = uses(test)
        if found is None:
            wrong.append(f"{test} is not there")
        elif not is_covered(name, argument, found):
            wrong.append(f"{test} does not use {argument and f'{argument} of '}{name}")
    assert not wrong, "\n".join(wrong)
