"""One attempt to process a case: what this machine holds, in memory and on its disk.

The work folder of an attempt has its journal: it names the case and token from the start, then the process, and the
finished result before it is published. After a crash the next daemon reads them, delivers what is still ours
and removes what no case names (protocol, hard case 12).
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gridcompute import config
from gridcompute.grid.cases import Case
from gridcompute.grid.shared_folder import Prepared
from gridcompute.machine.processes import Child

log = logging.getLogger(__name__)

_journal = "journal.jsonl"


@dataclass
class Attempt:
    """A case that this daemon holds under `token`, from its claim to the acknowledged end of the attempt."""

    case: Case
    token: str
    work: Path
    started: float  # monotonic
    time_limit: float | None = None  # seconds of running, paused time left out
    attempts: int = config.attempts
    processes: int = 1  # of those that the machine lends
    squeezed: float | None = None  # monotonic moment since which the machine lends fewer than that
    avoid: float = 0.0  # seconds for which this machine leaves the case to others after a failure
    child: Child | None = None
    stage: str = "fetch"
    running_since: float | None = None  # monotonic moment at which process_case began, or was resumed
    ran: float = 0.0  # seconds it ran before the last pause
    paused: bool = False
    held: bool = False  # paused by a person, so that a raised number does not resume it
    ending: str = ""  # why we end it: "time limit", "quit", "terminated", "lost"; empty while it may run
    outcome: dict[str, Any] | None = None
    ended: dict[str, Any] | None = None
    settling: Future[str] | None = None
    settle_after: float = 0.0  # monotonic moment before which settling is not tried again
    told: float = 0.0  # monotonic moment at which progress was last written to the database
    shown: float = 0.0  # monotonic moment at which its status was last shown
    unshown: bool = False  # it has changed since
    progress: dict[str, Any] = field(default_factory=dict)
    part_left: bool = False  # a result that was cut off may lie on the share, which is away

    @property
    def stem(self) -> str:
        """The beginning of the result's file name: case and attempt."""
        return f"{self.case.id}-{self.case.attempt}"

    def run_time(self, now: float) -> float:
        """Seconds for which process_case has run, pauses left out."""
        return self.ran + (now - self.running_since if self.running_since is not None else 0.0)

    def over_time(self, now: float) -> bool:
        return self.time_limit is not None and not self.ending and self.run_time(now) > self.time_limit

    @property
    def being_delivered(self) -> bool:
        """Whether no process of it is left, and its finished result is on its way at the first try."""
        done = self.outcome is not None and self.outcome.get("outcome") == "done"
        return done and self.ended is not None and not self.ending and not self.settle_after

    def pause(self, now: float) -> None:
        if not self.paused and self.child is not None:
            self.child.pause()
            self.paused, self.ran, self.running_since = True, self.run_time(now), None

    def resume(self, now: float) -> None:
        if self.paused and self.child is not None:
            self.child.resume()
            self.paused = False
            self.running_since = now if self.stage == "run" else None

    def enter_stage(self, stage: str, now: float) -> None:
        self.ran, self.running_since = self.run_time(now), (now if stage == "run" else None)
        self.stage = stage

    def leftover(self) -> Leftover:
        """What is still to be cleared up after this attempt has ended."""
        case = self.case
        return Leftover(
            self.work, str(case.id), self.token, case.attempt, case.origin_user, case.origin_machine, None, None
        )


def _remember(work: Path, line: dict[str, Any]) -> None:
    """Add a line to the journal in the folder `work`.

    Not flushed to the disk: after the end of the PC, not only of a process, the work it speaks of is lost as well.
    """
    with (work / _journal).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def remember_held(work: Path, case: Case, token: str) -> None:
    """Write down what the folder `work` is for."""
    origin = {"user": case.origin_user, "machine": case.origin_machine}
    _remember(work, {"case": str(case.id), "token": token, "attempt": case.attempt, **origin})


def remember_process(work: Path, pid: int | None) -> None:
    """Write down which process works there."""
    _remember(work, {"pid": pid})


def remember_prepared(work: Path, prepared: Prepared) -> None:
    """Write down the finished result, before it gets its final name."""
    _remember(work, {"prepared": prepared._asdict()})


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


def tail_of(path: Path | None) -> tuple[str, int]:
    """The end of the output file `path` as text, at most `config.output_tail_bytes`, and the file's size in bytes."""
    if path is None:
        return "", 0
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - config.output_tail_bytes))
            return file.read().decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}"), size
    except FileNotFoundError:
        return "", 0
    except OSError as exc:
        log.warning("Cannot read the output in %s: %s", path, exc)
        return "", 0


def output_file(folder: Path, case_id: Any, attempt: int) -> Path:
    """Where the whole output of an attempt is kept on the machine that ran it."""
    return folder / f"{case_id}-{attempt}.txt"


def keep_output(source: Path | None, target: Path) -> None:
    """Keep the whole output beside the log; a failure is logged, the tail in the database remains."""
    if source is None:
        return
    try:
        if source.stat().st_size:
            target.parent.mkdir(parents=True, exist_ok=True)
            source.replace(target)
    except FileNotFoundError:
        return
    except OSError as exc:
        log.warning("Cannot keep the output %s as %s: %s", source, target, exc)


def prune_outputs(folder: Path, *, days: float, bytes_kept: int, now: float) -> None:
    """Remove the oldest outputs in `folder`: those older than `days` before `now` (seconds of the file system's
    clock), and those beyond `bytes_kept` in all.
    """
    with contextlib.suppress(OSError):
        files = sorted(folder.glob("*.txt"), key=lambda path: path.stat().st_mtime, reverse=True)
        total = 0
        for path in files:
            state = path.stat()
            total += state.st_size
            if total > bytes_kept or now - state.st_mtime > days * 86_400:
                path.unlink(missing_ok=True)
