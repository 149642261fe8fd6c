"""What the commands say to the person at the terminal and to the log, and the codes that they exit with."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from datetime import datetime
from typing import Any

from gridcompute import events
from gridcompute.errors import GridComputeError

log = logging.getLogger(__name__)

DONE, FAILED, WRONG, STOPPED = 0, 1, 2, 130


def complain(message: str, code: int = WRONG) -> int:
    """Say `message` to the person at the terminal, if there is one still; returns `code`."""
    with contextlib.suppress(OSError):
        print(f"gridcompute: {message}", file=sys.stderr, flush=True)
    return code


def tell(line: str) -> None:
    """Print a line at once; an agent whose terminal or pipe is gone works on."""
    with contextlib.suppress(OSError):
        print(line, flush=True)


def say_problem(event: events.Event) -> None:
    """Say what a person should know of, if the event tells of such a thing."""
    if event["type"] == "warning":
        complain(f"warning: {event['message']}")
    elif event["type"] in ("error", "critical") or (
        event["type"] == "state" and event["name"] != "ok" and event["message"]
    ):
        complain(event["message"])


def write_down(exc: GridComputeError) -> None:
    """An error with all that is known of it goes to the log."""
    log.error("%s", exc, exc_info=exc)
    for more in (getattr(exc, "output", ""), getattr(exc, "traceback", "")):
        if more:
            log.error("%s", more)


def print_json(document: Any) -> None:
    """Print one JSON document, in letters that this output can show."""
    plain = (getattr(sys.stdout, "encoding", None) or "ascii").lower().replace("-", "") != "utf8"
    print(json.dumps(document, indent=2, default=_json_value, ensure_ascii=plain), flush=True)


def _json_value(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
