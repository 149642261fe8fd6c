"""The blocks of code in the documentation, and what each says about itself.

The words after the three backticks tell how a block is run:

``console``             commands after ``$``, each with what it prints below it; ``...`` stands for anything
``python``              a script, run as it stands; what it prints follows its last line as ``# ...`` comments
``mongosh``             statements for MongoDB's shell
``settings``            lines of settings.txt, read by the program beside those that it needs besides
``... file="PATH"``     a file: written there, in the folder in which the page's commands run
``... not-run=REASON``  shown alone, for one of the reasons in `reasons`

Blocks whose first word is in braces are Sphinx's own directives.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

root = Path(__file__).parents[2]
pages = sorted([root / "README.md", root / "CONTRIBUTING.md", *(root / "docs").rglob("*.md")])
pages = [page for page in pages if page.is_file()]

runnable = ("console", "python", "mongosh", "settings")

reasons = {
    "install": "makes a clone and an environment from the network; CI begins every run with these very steps",
    "make": "a target of the Makefile that takes minutes; CI runs it, or a test of its own does",
    "executable": "tests/executable builds it and runs what was built",
    "softgrid": "tests/acceptance/test_softgrid_command.py runs these commands in processes of their own",
    "demo": "tests/acceptance/test_demo.py runs the demo and reads what it prints",
    "window": "opens the window; tests/window does the same by mouse and keyboard and takes the pictures",
    "windows": "commands of Windows, which the tests do not have",
    "systemd": "a system's service manager; tests/docs reads the command in it",
    "foreign": "another program's command, which is not installed for the tests",
    "shape": "neither a command nor a file: it shows how something is laid out",
}
"""Why a block is not run; each is used, and no other may be."""


@dataclass(frozen=True)
class Fence:
    """A block of code: the page and line where it begins, its first word, its options and its text."""

    page: Path
    line: int
    language: str
    options: dict[str, str]
    text: str

    @property
    def where(self) -> str:
        return f"{self.page.relative_to(root)}:{self.line}"

    @property
    def runs(self) -> bool:
        return "not-run" not in self.options


def fences_of(page: Path) -> list[Fence]:
    """The blocks of a page in order, Sphinx's directives left out."""
    found = []
    text = page.read_text("utf-8")
    for match in re.finditer(r"^(?P<ticks>`{3,})(?P<info>.*)\n(?P<text>(?:.*\n)*?)(?P=ticks)[ ]*$", text, re.MULTILINE):
        language, *options = shlex.split(match["info"]) or [""]
        if language.startswith("{"):
            continue
        named = dict(option.partition("=")[::2] for option in options)
        found.append(Fence(page, text.count("\n", 0, match.start()) + 1, language, named, match["text"]))
    return found


@dataclass(frozen=True)
class Command:
    """A command of a session and the lines that it prints, with ``...`` for what differs."""

    text: str
    expected: list[str]


def session(text: str) -> list[Command]:
    """The commands of a ``console`` block; a line that ends with a backslash goes on."""
    found: list[Command] = []
    lines = iter(text.splitlines())
    for line in lines:
        if line.startswith("$ "):
            while line.endswith("\\"):
                line += "\n" + next(lines)
            found.append(Command(line[2:], []))
        elif not found:
            raise ValueError(f"a session begins with '$ ', not with {line!r}")
        elif line.strip():
            found[-1].expected.append(line)
    return found


def matches(expected: list[str], output: str) -> bool:
    """Whether the expected lines stand in the output, in order and one below the other but for ``...``."""
    pattern = ""
    for line in expected:
        if line.strip() == "...":
            pattern += r"(?:.*\n)*?"
        else:
            pattern += r"\s*" + r".*?".join(map(_loosely, line.split("..."))) + r"\s*\n"
    text = "".join(f"{line.rstrip()}\n" for line in output.splitlines() if line.strip())
    return re.search(f"^{pattern}", text, re.MULTILINE) is not None


def _loosely(text: str) -> str:
    """A pattern for the words of `text` with any space between them: columns are as wide as what is in them."""
    words = text.split()
    before, after = (r"\s*" if text[:1].isspace() else ""), (r"\s*" if text[-1:].isspace() and words else "")
    return before + r"\s+".join(map(re.escape, words)) + after
