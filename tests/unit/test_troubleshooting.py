"""docs/troubleshooting.md quotes messages that the program really has, and has a place for each that users can meet."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from gridcompute import errors

root = Path(__file__).parents[2]
page = (root / "docs" / "troubleshooting.md").read_text("utf-8")

_quoted = re.compile(r"`([^`]*…[^`]*)`")
_between = re.compile(r"^warning: |…|: |[.] |receive.py| '|' ")
"""Where a quotation may go from one text of the program to another."""

_blank = "\0"
"""What is put into a text when the program runs."""

_says = {name for name, one in vars(errors).items() if isinstance(one, type)} | {"complain", "warning", "critical"}
"""What is called with a message for people."""

_no_trouble = [
    # The program's own mistakes, which only whoever writes one can meet.
    "This program cannot make a grid: use the command gridcompute init.",
    # What a command has done.
    f"Case {_blank} ({_blank}): its application printed nothing.",
    "stopped",
    "stopped; nothing was changed",
    # The end or the beginning of other messages.
    f"and {_blank} more errors like these",
    f"{_blank} Free some space there.",
    f"{_blank} says: {_blank}",
    f"case {_blank} ({_blank}) could not be received: {_blank}",
    # Nobody is told: it is tried again, or the command was ended meanwhile.
    f"Stopped waiting for {_blank}: {_blank}",
    f"Cannot remove {_blank}: {_blank}. It is tried again later.",
]


def _modules() -> Iterator[tuple[Path, ast.Module]]:
    for folder in ("gridcompute", "admin"):
        for path in sorted((root / folder).rglob("*.py")):
            yield path, ast.parse(path.read_text("utf-8"))


def _text_of(node: ast.AST) -> str:
    """A text as the source has it, with blanks for what is put in; empty for what is none."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else _blank for part in node.values)
    if isinstance(node, ast.BinOp):
        return (_text_of(node.left) or _blank) + (_text_of(node.right) or _blank)
    return _text_of(node.body) if isinstance(node, ast.IfExp) else ""


_parsed = list(_modules())
program = "\n".join(_text_of(node) for _, tree in _parsed for node in ast.walk(tree))


def _quotations() -> list[str]:
    tables = [line.split("|")[1].strip() for line in page.splitlines() if line.startswith("|")]
    return [quotation for cell in tables for quotation in _quoted.findall(cell)]


def _messages() -> Iterator[tuple[str, str]]:
    """Where a message for people stands, and its text: what an error or a warning is made with, also by a function."""
    for path, tree in _parsed:
        if "softgrid" in path.parts:  # its errors are for the programs that import it: docs/softgrid
            continue
        functions = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args):
            if _name_of(call) not in _says or _is_of_log(call):
                continue
            given = call.args[0]
            made_by = functions.get(_name_of(given)) if isinstance(given, ast.Call) else None
            found = [node.value for node in ast.walk(made_by) if isinstance(node, ast.Return)] if made_by else [given]
            for text in filter(None, (_text_of(node) for node in found if node is not None)):
                yield f"{path.relative_to(root)}:{call.lineno}", text


def _name_of(call: ast.Call) -> str:
    return getattr(call.func, "attr", "") or getattr(call.func, "id", "")


def _is_of_log(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute) and getattr(call.func.value, "id", "") == "log"


@pytest.mark.parametrize("quotation", _quotations())
def test_the_program_has_this_message(quotation):
    fragments = [part.strip(" .:'()") for part in _between.split(quotation)]
    assert [part for part in fragments if part and part not in program] == []


def test_each_message_that_a_user_can_meet_has_a_place():
    missing = []
    for where, text in _messages():
        fragments = [part.strip(" .:'()\"\n") for part in re.split(rf"{_blank}|\. |: ", text)]
        said = [part for part in fragments if len(part.split()) > 2]
        if said and text not in _no_trouble and not any(part in page for part in said):
            missing.append(f"{where}: {text.replace(_blank, '…')}")
    assert not missing, "add to docs/troubleshooting.md, by symptom:\n" + "\n".join(missing)


def test_there_is_something_to_look_at():
    assert len(_quotations()) > 120
    assert len(list(_messages())) > 120
    told = {text for _, text in _messages()}
    assert [text for text in _no_trouble if text not in told] == [], "no longer said"
