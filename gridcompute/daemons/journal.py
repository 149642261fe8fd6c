"""The journal in the work folder of a case: what a daemon holds, for the next daemon if this one is killed.

It names the case and token from the start, then the process, and the finished result before it is published. After a
crash the next daemon reads it, delivers what is still ours and removes what no case names (protocol, hard case 12).
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gridcompute.grid.cases import Case
from gridcompute.grid.shared_folder import Prepared

log = logging.getLogger(__name__)

_journal = "journal.jsonl"


def _remember(work: Path, line: dict[str, Any]) -> None:
    """Add a line to the journal in the folder `work`.

    Not flushed to the disk: after the end of the PC, not only of a process, the work it speaks of is lost as well.
    """
    with (work / _journal).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def remember_held(work: Path, case: Case, token: str) -> None:
    """Write down what the folder `work` is for. Raises OSError: without that no work begins there."""
    origin = {"user": case.origin_user, "machine": case.origin_machine}
    _remember(work, {"case": str(case.id), "token": token, "attempt": case.attempt, **origin})


def remember_process(work: Path, pid: int | None) -> None:
    """Write down which process works there; where that fails, the work goes on."""
    _try_to_remember(work, {"pid": pid})


def remember_prepared(work: Path, prepared: Prepared) -> None:
    """Write down the finished result, before it gets its final name; where that fails, the work goes on."""
    _try_to_remember(work, {"prepared": prepared._asdict()})


def _try_to_remember(work: Path, line: dict[str, Any]) -> None:
    """A full disk is no reason to end a case that runs; after a crash its result would be computed again."""
    try:
        _remember(work, line)
    except OSError as exc:
        log.warning("Cannot write into the journal in %s: %s. The case goes on.", work, exc)


@dataclass(frozen=True)
class Leftover:
    """The folder of an attempt whose daemon is gone."""

    work: Path
    case_id: str  # hexadecimal
    token: str
    attempt: int
    user: str
    machine: str
    pid: int | None
    prepared: Prepared | None


def leftovers(folder: Path) -> Iterator[Leftover]:
    """What earlier daemons left in `folder`; a folder that tells nothing has `token` empty."""
    with contextlib.suppress(FileNotFoundError):
        for work in sorted(path for path in folder.iterdir() if path.is_dir()):
            known = _read(work / _journal)
            prepared = known.get("prepared")
            yield Leftover(
                work=work,
                case_id=known.get("case", ""),
                token=known.get("token", ""),
                attempt=known.get("attempt", 0),
                user=known.get("user", ""),
                machine=known.get("machine", ""),
                pid=known.get("pid"),
                prepared=Prepared(**prepared) if prepared else None,
            )


def _read(path: Path) -> dict[str, Any]:
    """What the journal `path` knows; a line that was cut off tells nothing."""
    known: dict[str, Any] = {}
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            known |= json.loads(line)
    except FileNotFoundError:
        pass
    except (OSError, ValueError, TypeError) as exc:
        log.warning("Cannot read all of %s: %s. What it named is left alone.", path, exc)
    return known
