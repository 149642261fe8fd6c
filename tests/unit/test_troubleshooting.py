"""docs/troubleshooting.md quotes messages that the program really has."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

root = Path(__file__).parents[2]
_quoted = re.compile(r"`([^`]*…[^`]*)`")
_between = re.compile(r"^warning: |…|: |[.] |receive.py| '|' ")
"""Where a quotation may go from one text of the program to another."""


def _texts() -> Iterator[str]:
    """Every text in the program; what is put into one when it runs is a NUL character."""
    for path in sorted((root / "gridcompute").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value
            elif isinstance(node, ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else "\0" for part in node.values)
                yield "".join(str(part) for part in parts)


program = "\n".join(_texts())


def _quotations() -> list[str]:
    text = (root / "docs" / "troubleshooting.md").read_text("utf-8")
    tables = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("|")]
    return [quotation for cell in tables for quotation in _quoted.findall(cell)]


@pytest.mark.parametrize("quotation", _quotations())
def test_the_program_has_this_message(quotation):
    fragments = [part.strip(" .:'()") for part in _between.split(quotation)]
    assert [part for part in fragments if part and part not in program] == []


def test_there_is_something_to_look_at():
    assert len(_quotations()) > 60
