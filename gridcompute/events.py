"""Every event that the work sends to a face: one function for each, it returns the dictionary.

Events travel through one queue of dictionaries, each with its ``type``. A reader ignores types and keys that it does
not know; a writer never removes a documented key. The first block is the documentation's, the second ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Event = dict[str, Any]


def log_file_only(message: str) -> Event:
    """`message` goes to the log file, not to the screen."""
    return {"type": "log_file_only", "message": message}


def warning(message: str) -> Event:
    """Something a user should know but need not answer."""
    return {"type": "warning", "message": message}


def info(message: str, *, box: bool = False) -> Event:
    """News; `box` asks for an info box."""
    return {"type": "info", "message": message, "box": box}


def error(message: str, *, details: str = "") -> Event:
    """Something failed; `details` (a traceback) is for the log."""
    return {"type": "error", "message": message, "details": details}


def critical(message: str, *, details: str = "") -> Event:
    """Show the error and exit the program."""
    return {"type": "critical", "message": message, "details": details}


def change_progress_max(maximum: float, *, unit: str = "") -> Event:
    """The value that means complete; `unit` is ``B`` for bytes or ``cases``."""
    return {"type": "change progress max", "maximum": maximum, "unit": unit}


def change_progress(value: float, text: str = "") -> Event:
    """The level of the progress bar, absolute, and its text."""
    return {"type": "change progress", "value": value, "text": text}


def close_progress() -> Event:
    return {"type": "close progress"}


def add_case(application: str, files: Sequence[str], *, source: str = "", size: int = 0) -> Event:
    """A case for the tab *send cases*: its `files` in order, the file it was made from, its size in bytes."""
    return {"type": "add case", "application": application, "files": list(files), "source": source, "size": size}


def submitted_case(index: int, case_id: str) -> Event:
    """Case number `index` of the call to `submit_to_server` is in the database under `case_id`."""
    return {"type": "submitted case", "index": index, "id": case_id}


def terminate_process(count: int) -> Event:
    """Ask whether the `count` running cases are to be terminated; answered by `Server.answer`."""
    return {"type": "terminate process?", "count": count}


def add_my_case(case: dict[str, Any]) -> Event:
    """A row of *my cases*: id, application, status, processor, attempt, priority, position, submitted, files ..."""
    return {"type": "add my case", "case": case}


def add_my_process(process: dict[str, Any]) -> Event:
    """A row of *my processes*: id, pid, application, origin, started, attempt, status."""
    return {"type": "add my process", "process": process}


def remove_my_process(case_id: str, outcome: str) -> Event:
    """The process of `case_id` is gone; `outcome` is done, failed, handed back, lost or cancelled."""
    return {"type": "remove my process", "id": case_id, "outcome": outcome}


def change_my_process(case_id: str, **changes: Any) -> Event:
    """Some of a row's keys have new values: status, fraction, text, cpu, memory."""
    return {"type": "change my process", "id": case_id, "changes": changes}


def populate() -> Event:
    """The server is connected: the interface can be filled."""
    return {"type": "populate"}


def exit_() -> Event:
    """Close the main window."""
    return {"type": "exit"}


# Beside the documented ones.


def state(daemon: str, name: str, message: str, *, over: str = "") -> Event:
    """A daemon's named state changed.

    `name` is ok, database away, database refuses, share away, disk full, refused, resting or softgrid; `over` the one
    that has ended, where another lasts.
    """
    return {"type": "state", "daemon": daemon, "name": name, "message": message, "over": over}


def case_received(case_id: str, application: str) -> Event:
    return {"type": "case received", "id": case_id, "application": application}


def case_failed(case_id: str, application: str, message: str) -> Event:
    return {"type": "case failed", "id": case_id, "application": application, "message": message}


def activity(daemon: str, *, running: int, waiting: int, claimed: int = 0) -> Event:
    """What a daemon has in hand and what waits for it, by its last look at the database."""
    return {"type": "activity", "daemon": daemon, "running": running, "waiting": waiting, "claimed": claimed}


def left_to_others(applications: Sequence[str]) -> Event:
    """Applications that this machine does not process now: their code is refused, or their environment is missing."""
    return {"type": "left to others", "applications": list(applications)}


def environments_changed() -> Event:
    """An application's environment is wanted, being made, there, or failed: `Server.environments` tells. No data."""
    return {"type": "environments changed"}


def daemon_ended(daemon: str, expected: bool) -> Event:
    """A daemon's process is gone; unexpected ones are started again by the Server."""
    return {"type": "daemon ended", "daemon": daemon, "expected": expected}


def cases_changed() -> Event:
    """Some case of the grid changed: a list that shows cases is worth reading again. Holds no data."""
    return {"type": "cases changed"}
