"""Lines that survive everything: what the scripts did, written outside the grid and flushed before they go on."""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any


def ledger() -> Path:
    return Path(os.environ["GRIDCOMPUTE_STRESS"], "ledger.jsonl")


def mark() -> str:
    """This run of the script, as the grid calls its work folder: case, attempt and the beginning of the token."""
    return Path.cwd().parent.name


def note(what: str, name: str, **more: object) -> None:
    line = {
        "what": what,
        "name": name,
        "case": os.environ["GRIDCOMPUTE_CASE"],
        "mark": mark(),
        "pid": os.getpid(),
        "at": time.monotonic(),
        **more,
    }
    descriptor = os.open(ledger(), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        # Between two ends of lines: what a kill cut off here before spoils no other line.
        os.write(descriptor, f"\n{json.dumps(line)}\n".encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def count(what: str, name: str) -> int:
    """How often that was noted of the case."""
    return sum(line["what"] == what and line["name"] == name for line in whole_lines(ledger()))


def whole_lines(path: Path) -> list[dict[str, Any]]:
    """What was noted; a line that another process is just writing, or that a kill cut off, tells nothing yet."""
    lines = []
    with contextlib.suppress(FileNotFoundError):
        for line in path.read_bytes().splitlines():
            with contextlib.suppress(ValueError):
                lines.append(json.loads(line))
    return lines
