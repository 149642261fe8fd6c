"""What tests use of softgrid: the calls in their source and in what they call, with the arguments that are passed."""

from __future__ import annotations

import ast
import contextlib
import re
import textwrap
from functools import cache
from pathlib import Path
from typing import NamedTuple

EXAMPLES = Path(__file__).parents[2] / "docs" / "softgrid" / "examples"
OF_OTHERS = {"os", "sys", "time", "threading", "subprocess", "socket"}
"""Modules whose `kill` or `name` is not softgrid's."""


class Call(NamedTuple):
    name: str
    positional: int
    keywords: frozenset[str]

    def passes(self, argument: str, index: int) -> bool:
        return argument in self.keywords or index < self.positional


class Uses(NamedTuple):
    calls: list[Call]
    names: set[str]  # attributes, and strings that may name one
    keys: set[str]  # of dictionaries and keywords of all calls
    words: set[str]


@cache
def uses_of_tests(path: Path) -> dict[str, Uses]:
    """{test: what it, the functions and fixtures it uses and the examples that it runs use}."""
    trees = [ast.parse(item.read_text()) for item in (path, path.parent / "conftest.py") if item.exists()]
    known: dict[str, ast.AST] = {item.name: ast.parse(item.read_text()) for item in EXAMPLES.glob("*.py")}
    for tree in trees:
        known.update({ast.unparse(node.targets[0]): node for node in tree.body if isinstance(node, ast.Assign)})
        known.update({node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)})
    return {name: _uses(name, known) for name in known if name.startswith("test_")}


def _uses(test: str, known: dict[str, ast.AST]) -> Uses:
    seen, waiting = {test}, [test]
    uses = Uses([], set(), set(), set())
    texts = []
    while waiting:
        node = known[waiting.pop()]
        texts.append(ast.unparse(node))
        for name in set(re.findall(r"\w+(?:\.py)?", texts[-1])) & known.keys() - seen:
            if not name.startswith("test_"):
                seen.add(name)
                waiting.append(name)
    uses.words.update(re.findall(r"\w+", "\n".join(texts)))
    nodes = [node for name in seen for node in ast.walk(known[name])]
    nodes += [inner for node in nodes for script in _scripts(node) for inner in ast.walk(script)]
    for node in nodes:
        if isinstance(node, ast.Dict):
            uses.keys.update(_texts(node.keys))
        elif isinstance(node, ast.Constant):
            uses.names.update(_texts([node]))
        elif isinstance(node, ast.FunctionDef):
            uses.names.add(node.name)  # an overload
        elif isinstance(node, ast.Attribute) and not (isinstance(node.value, ast.Name) and node.value.id in OF_OTHERS):
            uses.names.add(node.attr)
    for node in nodes:
        if isinstance(node, ast.Call):
            uses.calls.extend(_calls(node, uses.keys, known))
    return uses


def _scripts(node: ast.AST) -> list[ast.AST]:
    """The program in a text that a test runs by itself."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and "import Orchestrator" in node.value:
        with contextlib.suppress(SyntaxError):
            return [ast.parse(textwrap.dedent(node.value))]
    return []


def _texts(nodes: list[ast.expr | None]) -> list[str]:
    return [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def _calls(node: ast.Call, keys: set[str], known: dict[str, ast.AST]) -> list[Call]:
    """The call itself, and the method whose name it transfers."""
    name = ast.unparse(node.func)
    alias = known.get(name)
    name = (ast.unparse(alias.value) if isinstance(alias, ast.Assign) else name).split(".")[-1]
    keywords = {word.arg for word in node.keywords if word.arg is not None}
    keys.update(keywords)
    given = keywords | (keys if len(keywords) < len(node.keywords) else set())  # **options may be any of them
    count = sum(2 if isinstance(item, ast.Starred) else 1 for item in node.args)
    found = [Call(name, count, frozenset(given))]
    named = {word.arg: word.value for word in node.keywords}
    inner = named.get("kwargs")
    inside = frozenset(_texts(inner.keys)) if isinstance(inner, ast.Dict) else frozenset()
    if name == "call" and _texts(node.args[1:2]):
        found.append(Call(_texts(node.args[1:2])[0], count - 3, inside))
    elif name in ("launch_router", "launch_manager", "launch_worker"):
        found.append(Call("launch_executor", min(count, 1), frozenset(given)))
    elif name == "get_transfer_template" and _texts(node.args[:1]):
        args = named.get("args")
        count = len(args.elts) if isinstance(args, ast.Tuple) else 0
        found.append(Call(_texts(node.args[:1])[0], count, inside))
    return found
