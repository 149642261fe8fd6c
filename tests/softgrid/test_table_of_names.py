"""The table of documented names is whole, true to the code and true to the tests."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import textwrap
from functools import cache
from pathlib import Path

import pytest

from gridcompute import softgrid

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


@cache
def words_of_tests(path: Path) -> dict[str, set[str]]:
    """{test: the words of it and of the functions, fixtures and examples that it uses}."""
    trees = {item: ast.parse(item.read_text()) for item in (path, path.parent / "conftest.py") if item.exists()}
    functions = {
        node.name: ast.unparse(node)
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
    }
    examples = {item.name: item.read_text() for item in (TABLE.parent / "examples").glob("*.py")}
    constants = "\n".join(ast.unparse(node) for node in trees[path].body if isinstance(node, ast.Assign))
    found = {}
    for name in functions:
        if name.startswith("test_"):
            text, seen = functions[name], {name}
            while True:
                words = set(re.findall(r"\w+", text))
                more = {
                    other for other in words & functions.keys() if other not in seen and not other.startswith("test_")
                }
                shown = {item for item in examples if item in text and item not in seen}
                if not more and not shown:
                    break
                seen |= more | shown
                text += "\n".join([*(functions[other] for other in more), *(examples[item] for item in shown)])
            found[name] = words | set(re.findall(r"\w+", constants))
    return found


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


def test_every_test_of_the_table_is_there_and_mentions_its_name_and_argument():
    wrong = []
    classes = {name for name, (kind, _) in documented().items() if kind == "class"}
    for (name, argument), test in table().items():
        file, _, function = test.partition("::")
        words = words_of_tests(TESTS / file).get(function)
        last = name.split(".")[-1]
        if words is None:
            wrong.append(f"{test} is not there")
        elif argument and name in classes:
            if argument not in words:
                wrong.append(f"{test} does not mention {argument} of {last}")
        elif last not in words and name not in BASES:
            wrong.append(f"{test} does not mention {last}")
    assert not wrong, "\n".join(wrong)
