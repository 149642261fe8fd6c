"""Lines that survive everything: what the scripts did, written outside the grid and flushed before they go on."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

ledger = Path(os.environ["GRIDCOMPUTE_STRESS"], "ledger.jsonl")


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
    descriptor = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, (json.dumps(line) + "\n").encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def count(what: str, name: str) -> int:
    """How often that was noted of the case."""
    if not ledger.exists():
        return 0
    lines = [json.loads(line) for line in ledger.read_text("utf-8").splitlines()]
    return sum(line["what"] == what and line["name"] == name for line in lines)
