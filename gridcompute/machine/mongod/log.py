"""What the log of a MongoDB server tells of its end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def last_words(log_path: Path) -> str:
    """The last complaint in a log of the server's: of its own JSON lines, or what the system's loader printed."""
    complaint = "it printed nothing"
    for line in log_path.read_text("utf-8", "replace").splitlines():
        try:
            words = _complaint(json.loads(line))
        except ValueError:
            words = line.strip()
        complaint = words or complaint
    return complaint.rstrip(".") + "."


def _complaint(record: dict[str, Any]) -> str:
    """An error or fatal record of the server's log in words; empty for others and for a mere "aborting"."""
    words = record.get("msg", "").strip()
    if record.get("s") not in ("E", "F") or words.startswith("***"):
        return ""
    error = record.get("attr", {}).get("error", "")
    return f"{words}: {error}" if error else words
