"""How values are said to people: sizes, moments, times, statuses. No Tk here."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

_separators = "/\\" if os.name == "nt" else "/"
_joiners = "\u200c\u200d"  # not printable, but part of words and pictures


def size(count: float) -> str:
    """Bytes as a person reads them: ``1.4 MB``; decimal units, as file managers show them."""
    if count < 1000:
        return f"{count:.0f} B"
    for unit in ("kB", "MB", "GB", "TB"):
        count /= 1000
        if count < 999.5 or unit == "TB":
            return f"{count:.3g} {unit}"
    raise AssertionError


def duration(seconds: float | None) -> str:
    """``0:07``, ``12:34``, ``3:05:09``; empty for None."""
    if seconds is None:
        return ""
    whole = max(0, int(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def took(seconds: float | None) -> str:
    """As `duration`, with a tenth of a second while that matters: ``0.4 s``."""
    return f"{max(0.0, seconds):.1f} s" if seconds is not None and seconds < 9.95 else duration(seconds)


def moment(when: datetime | None, now: datetime | None = None) -> str:
    """A moment in local time: the time alone for today, with the date otherwise; empty for None."""
    if when is None:
        return ""
    local = when.astimezone()
    today = (now or datetime.now().astimezone()).astimezone()
    return local.strftime("%H:%M:%S" if local.date() == today.date() else "%Y-%m-%d %H:%M")


def number(count: int, one: str, many: str = "") -> str:
    """``1 case``, ``12,000 cases``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def percent(fraction: float) -> str:
    return f"{max(0.0, min(1.0, fraction)):.0%}"


def files(names: Sequence[str], count: int = 0) -> str:
    """The first name and how many more there are."""
    total = max(count, len(names))
    if not names:
        return "(no file)"
    first = names[0].rstrip(_separators)
    for separator in _separators:  # a Path of each of ten thousand names would take long
        first = first.rpartition(separator)[2]
    first = one_line(first)
    return first if total < 2 else f"{first} and {total - 1} more"


def some_of(names: Sequence[str], limit: int = 60) -> str:
    """The first of many names, in about `limit` letters, and how many more there are: ``A, B and 12 more``."""
    shown = [name for number, name in enumerate(names) if number == 0 or len(", ".join(names[: number + 1])) <= limit]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more else "")


def one_line(text: str) -> str:
    """A text without what is not to be seen: a name may hold a line end on Linux, or turn the direction of writing."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() or letter in _joiners else " " for letter in text)


def status(row: Mapping[str, Any]) -> str:
    """The status of a case with its position in the queue: ``wait #4``."""
    if row["status"] == "to process":
        return f"wait #{row['position']:,}" if row.get("position") else "wait"
    return str(row["status"]).replace("\n", " ")


def progress(row: Mapping[str, Any]) -> str:
    """How far a case is, as the application reported it; of an error the reason, which the status has no room for."""
    if kind(row["status"]) == "error":
        return " ".join((row.get("error") or row["status"].partition(": ")[2]).split())
    told = row.get("progress") or {}
    if row["status"] != "processing" or not told:
        return ""
    return ": ".join(part for part in (percent(told.get("fraction", 0.0)), told.get("text", "")) if part)


def short(text: str, limit: int) -> str:
    """A long path or name with its middle left out."""
    if len(text) <= limit:
        return text
    front = limit // 3
    return f"{text[:front]}…{text[len(text) - limit + front + 1 :]}"


def place(path: str | Path) -> str:
    """A path as a person of this system writes it: below the own folder, outside Windows, with ``~``."""
    text, own = str(path), str(Path.home())
    return f"~{text[len(own) :]}" if os.name == "posix" and text.startswith(f"{own}/") else text


def first_sentence(message: str, limit: int = 140) -> str:
    """The beginning of a message that fits in one line of a list."""
    line = " ".join(message.split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def kind(status_text: str) -> str:
    """The status without an error's reason, which colours a row."""
    return "error" if status_text.startswith("error:") else status_text
