"""Where the results of this user's cases lie: remembered in the per-user folder, since it holds on this computer alone.

The receive daemon writes, every face may read.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

lines_kept = 5000


class ResultPlaces:
    """A file of lines, each with a case and the folder in which receive.py put its results; the newest come last."""

    def __init__(self, home: Path):
        self.path = home / "result-places.jsonl"

    def add(self, case_id: str, folder: str) -> None:
        """Remember a case's folder. Raises OSError where the disk does not take it."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"case": case_id, "folder": folder}) + "\n")

    def find(self, case_id: str) -> Path | None:
        """The folder of a case, None if it is not known."""
        for line in reversed(self._lines()):
            with contextlib.suppress(ValueError, KeyError, TypeError):  # a line that a crash cut off
                told = json.loads(line)
                if told["case"] == case_id:
                    return Path(told["folder"])
        return None

    def trim(self) -> None:
        """Forget all but the newest `lines_kept`. Raises OSError."""
        lines = self._lines()
        if len(lines) > lines_kept:
            aside = self.path.with_suffix(".part")
            aside.write_text("\n".join(lines[-lines_kept:]) + "\n", encoding="utf-8")
            aside.replace(self.path)

    def _lines(self) -> list[str]:
        try:
            return self.path.read_text("utf-8", "replace").splitlines()
        except OSError:
            return []
