"""The columns of each list of the window. No Tk here."""

from __future__ import annotations

from typing import Any

from gridcompute import clock
from gridcompute.gui import texts
from gridcompute.gui.rows import Column, Row


def _seconds(row: Row) -> float | None:
    """Seconds that the last attempt of a case took, by the server's clock; None while it runs or before."""
    if row.get("started") is None or row.get("returned") is None or row["returned"] < row["started"]:
        return None
    return (row["returned"] - row["started"]).total_seconds()


def _queue_order(row: Row) -> tuple[Any, ...]:
    """Waiting cases by their place in the queue, the others by their words."""
    waits = row["status"] == "to process"
    return (0, row.get("position") or 0, "") if waits else (1, 0, row["status"].casefold())


def elapsed(row: Row, now: float | None = None) -> str:
    return texts.duration((clock.monotonic() if now is None else now) - row["since"])


SEND = [
    Column("files", "Files", 270, lambda row: texts.files(row["files"]), stretch=True),
    Column("application", "Application", 130, lambda row: row["application"]),
    Column(
        "size",
        "Size",
        80,
        lambda row: texts.size(row["size"]) if row["size"] else "",
        lambda row: row["size"],
        anchor="e",
    ),
    Column("state", "State", 470, lambda row: texts.first_sentence(row["state"]), stretch=True),
]

MY_CASES = [
    Column("case", "Case", 130, lambda row: texts.files(row["files"], row.get("count", 0)), stretch=True),
    Column("application", "Application", 134, lambda row: row["application"], stretch=True),
    Column("status", "Status", 108, texts.status, _queue_order, stretch=True),
    Column("progress", "Progress", 160, texts.progress),
    Column("processor", "Processor", 88, lambda row: row["processor"]),
    Column("attempt", "Attempt", 72, lambda row: str(row["attempt"] or ""), lambda row: row["attempt"], anchor="e"),
    Column("priority", "Priority", 68, lambda row: str(row["priority"]), lambda row: -row["priority"], anchor="e"),
    Column(
        "submitted", "Submitted", 134, lambda row: texts.moment(row["submitted"]), lambda row: row["submitted"], "e"
    ),
    Column("took", "Took", 62, lambda row: texts.took(_seconds(row)), _seconds, anchor="e"),
]

PROCESSES = [
    Column("application", "Application", 150, lambda row: row["application"]),
    Column("origin", "For", 190, lambda row: row["origin"], stretch=True),
    Column("started", "Started", 80, lambda row: texts.moment(row["started"]), lambda row: row["started"], "e"),
    Column("elapsed", "Elapsed", 80, elapsed, lambda row: -row["since"], anchor="e"),
    Column("cpu", "CPU", 65, lambda row: f"{row['cpu']:.0%}" if "cpu" in row else "", lambda row: row.get("cpu"), "e"),
    Column(
        "memory",
        "Memory",
        84,
        lambda row: texts.size(row["memory"]) if "memory" in row else "",
        lambda row: row.get("memory"),
        anchor="e",
    ),
    Column("status", "Status", 125, lambda row: stage(row["status"])),
    Column(
        "progress",
        "Progress",
        170,
        lambda row: texts.progress({"status": "processing", "progress": row.get("progress")}),
        stretch=True,
    ),
]

_stages = {
    "fetch": "fetching input",
    "unpack": "unpacking",
    "run": "running",
    "pack": "packing results",
    "publish": "delivering",
}


def stage(status: str) -> str:
    """What a running case does now, in words."""
    return _stages.get(status, status)


ENVIRONMENTS = [
    Column("application", "Application", 130, lambda row: row["application"], stretch=True),
    Column("state", "State", 110, lambda row: row["words"]),
    Column("python", "Python", 74, lambda row: row["python"]),
    Column("packages", "Packages", 190, lambda row: ", ".join(row["packages"]) or "none", stretch=True),
    Column(
        "size",
        "Size",
        75,
        lambda row: texts.size(row["size"]) if row["size"] is not None else "",
        lambda row: row["size"],
        anchor="e",
    ),
    Column("used", "Last used", 134, lambda row: texts.moment(row["used"]), lambda row: row["used"], anchor="e"),
]

MACHINES = [
    Column("machine", "Machine", 150, lambda row: row["machine"], stretch=True),
    Column("user", "User", 110, lambda row: row["user"]),
    Column("offered", "Offered", 78, lambda row: str(row["offered"]), lambda row: row["offered"], anchor="e"),
    Column("busy", "Busy", 65, lambda row: str(row["busy"]), lambda row: row["busy"], anchor="e"),
    Column("seen", "Last sign of life", 130, lambda row: ago(row["age"]), lambda row: row["age"], anchor="e"),
    Column("applications", "May process", 240, lambda row: ", ".join(row["applications"]) or "nothing", stretch=True),
]


def ago(seconds: float | None) -> str:
    """``now``, ``40 s ago``, ``3 h ago``."""
    if seconds is None:
        return "never seen"
    for limit, unit, word in ((20, 0, "now"), (90, 1, "s"), (5400, 60, "min"), (129_600, 3600, "h")):
        if seconds < limit:
            return word if not unit else f"{seconds / unit:.0f} {word} ago"
    return f"{seconds / 86_400:.0f} days ago"


QUEUE = [
    Column("application", "Application", 118, lambda row: row["application"], stretch=True),
    Column("waiting", "Waiting", 78, lambda row: f"{row['waiting']:,}", lambda row: row["waiting"], anchor="e"),
    Column("processing", "Processing", 99, lambda row: f"{row['processing']:,}", lambda row: row["processing"], "e"),
    Column("processed", "To receive", 97, lambda row: f"{row['processed']:,}", lambda row: row["processed"], "e"),
    Column("failed", "Failed", 67, lambda row: f"{row['failed']:,}", lambda row: row["failed"], anchor="e"),
]
