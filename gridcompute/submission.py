"""Submitting: input files -> published archives -> cases in the database, remembered in a journal meanwhile.

The ids of a submission exist before its first archive. A journal in the user's folder names them; after a crash the
next start finds there what was submitted and undoes what was not (protocol, hard case 5). An archive is deleted only if
this journal says that this computer made it and no case names it (hard case 12).
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from gridcompute import clock, config
from gridcompute.errors import DatabaseAway, DiskFull, GridComputeError, InputError, UsageError
from gridcompute.grid.cases import Archive, Party
from gridcompute.grid.database import Database, object_id
from gridcompute.grid.shared_folder import Prepared, SharedFolder
from gridcompute.grid.trouble import is_full, words

log = logging.getLogger(__name__)

_batch_cases = 100
_batch_seconds = 0.2
_side_by_side = 4


@dataclass
class Submitted:
    """What became of one call: `ids` has one id, or None, for each case in the order given."""

    ids: list[str | None]
    errors: list[tuple[int, GridComputeError]] = field(default_factory=list)  # (index of the case, why)
    stopped: bool = False  # the user stopped it
    doubtful: list[int] = field(default_factory=list)  # cases whose insert was never answered: the next start tells

    @property
    def number(self) -> int:
        return sum(one is not None for one in self.ids)


class _Stopped(GridComputeError):
    """The user stopped the submission in the middle of an archive."""


class Journal:
    """One submission on the submitter's disk: a line that names all ids, then a line for each archive made."""

    def __init__(self, path: Path):
        self.path = path
        self._lock = FileLock(path.with_suffix(".lock"))

    def begin(self, header: dict[str, Any]) -> None:
        self._lock.acquire()
        with self._writing(), self.path.open("w", encoding="utf-8") as file:
            file.write(json.dumps(header) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def made(self, case_id: Any, prepared: Prepared) -> None:
        """Remember an archive before it gets its final name; survives the end of this process."""
        with self._writing(), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"id": str(case_id), "prepared": prepared._asdict()}) + "\n")

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            kind = DiskFull if is_full(exc) else GridComputeError
            raise kind(
                f"Cannot write the journal of the submission, {self.path}: {words(exc)}. Free some space there, or see "
                "who may write there, and submit again."
            ) from exc

    def end(self) -> None:
        """Everything is in the database or undone: nothing needs to be remembered."""
        self.path.unlink(missing_ok=True)
        self.leave()

    def leave(self) -> None:
        """Keep what is written for the next start."""
        self._lock.release()
        if not self.path.exists():
            with contextlib.suppress(OSError):
                self.path.with_suffix(".lock").unlink(missing_ok=True)

    def read(self) -> tuple[dict[str, Any], dict[str, Prepared]]:
        """The header and the archives made, by id; a line that was cut off is left out."""
        lines = self.path.read_text(encoding="utf-8").splitlines()
        header = json.loads(lines[0])
        made: dict[str, Prepared] = {}
        for line in lines[1:]:
            with contextlib.suppress(ValueError, KeyError, TypeError):
                entry = json.loads(line)
                made[entry["id"]] = Prepared(**entry["prepared"])
        return header, made

    def take(self) -> bool:
        """Whether nobody is at work on this submission now; then this process is."""
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            return False
        return True


class Submission:
    """One call to submit some cases of one application."""

    def __init__(self, share: SharedFolder, database: Database, party: Party, journals: Path):
        self.share, self.database, self.party = share, database, party
        self.token = uuid.uuid4().hex
        journals.mkdir(parents=True, exist_ok=True)
        self.journal = Journal(journals / f"submission-{self.token}.jsonl")

    def submit(
        self,
        cases_to_submit: Sequence[Sequence[str | Path]],
        application: str,
        *,
        priority: int = config.default_priority,
        keep_running: Callable[[], bool] = lambda: True,
        on_bytes: Callable[[int], None] = lambda count: None,
        on_case: Callable[[int, str], None] = lambda index, case_id: None,
        patience: float = config.db_patience,
    ) -> Submitted:
        """Archive, publish and insert the cases; `keep_running` false stops, cases not yet inserted are undone.

        `on_bytes` hears the bytes read since its last call, from several threads. An `InputError` is that case's own;
        a share, disk or database that is away ends the call: what is in the database stays, the rest is undone.
        """
        result = Submitted([None] * len(cases_to_submit))
        if not cases_to_submit:
            return result
        self._check_room(cases_to_submit)
        ids, moment = self.database.new_ids(len(cases_to_submit))
        self.journal.begin(self._header(ids, cases_to_submit, application))
        flow = _Flow(self, ids, moment, application, priority, patience, result, on_case)
        try:
            flow.run(cases_to_submit, keep_running, on_bytes)
        except BaseException:
            self.journal.leave()
            raise
        undone = self._undo(flow.unfinished)
        if result.doubtful or not undone:
            self.journal.leave()
        else:
            self.journal.end()
        return result

    def _check_room(self, cases_to_submit: Sequence[Sequence[str | Path]]) -> None:
        """A nearly full share stops submitting, so that completing goes on (hard case 13)."""
        with contextlib.suppress(OSError):
            needed = sum(Path(path).stat().st_size for files in cases_to_submit for path in files)
            free = self.share.free_bytes()
            if free is None:
                return
            reserve = min(100_000_000, (free + needed) // 50)
            if needed + reserve > free:
                raise DiskFull(
                    f"Cannot submit {needed:,} bytes to {self.share.root}: only {free:,} bytes are free there. Nothing "
                    "was submitted. Free some space on the shared folder, or ask its administrator."
                )

    def _header(self, ids: Sequence[Any], files: Sequence[Sequence[str | Path]], application: str) -> dict[str, Any]:
        settings = self.database.settings
        return {
            "submission": self.token,
            "share": str(self.share.root),
            "database": settings.mongodb_server,
            "user_group": settings.user_group,
            "instance": settings.instance,
            "application": application,
            "user": self.party.user,
            "machine": self.party.machine,
            "cases": [
                {"id": str(one), "first": str(case[0]) if case else ""} for one, case in zip(ids, files, strict=True)
            ],
        }

    def _undo(self, unfinished: dict[Any, Prepared | None]) -> bool:
        """Remove what was archived and never inserted; False if the share is away, so that the next start does it."""
        for case_id, prepared in unfinished.items():
            try:
                if prepared is not None:
                    self.share.discard(prepared)
                    self.share.remove(prepared.path)
                else:
                    self.share.discard_part("Cases", self.party.user, self.party.machine, str(case_id))
            except GridComputeError as exc:
                log.warning("What was archived and not submitted is removed at the next start: %s", exc)
                return False
        return True


class _Flow:
    """Archives side by side, inserts in batches: the moving parts of one `Submission.submit`."""

    def __init__(
        self,
        submission: Submission,
        ids: Sequence[Any],
        moment: Any,
        application: str,
        priority: int,
        patience: float,
        result: Submitted,
        on_case: Callable[[int, str], None],
    ):
        self.submission, self.ids, self.moment = submission, ids, moment
        self.application, self.priority, self.patience = application, priority, patience
        self.result, self.on_case = result, on_case
        self.unfinished: dict[Any, Prepared | None] = dict.fromkeys(ids)
        self._ready: list[tuple[int, dict[str, Any]]] = []
        self._oldest_ready = 0.0
        self._fatal: GridComputeError | None = None

    def run(
        self,
        files: Sequence[Sequence[str | Path]],
        keep_running: Callable[[], bool],
        on_bytes: Callable[[int], None],
    ) -> None:
        todo = iter(range(len(files)))
        if len(files) == 1:
            self._take(0, files[0], self._attempt(0, files[0], keep_running, on_bytes))
        else:
            with ThreadPoolExecutor(_side_by_side, thread_name_prefix="submit") as pool:
                self._run_side_by_side(pool, todo, files, keep_running, on_bytes)
        self._insert()
        for index, case_id in enumerate(self.ids):
            told = {place for place, _ in self.result.errors}
            if self._fatal is not None and case_id in self.unfinished and index not in told:
                self.result.errors.append((index, self._fatal))

    def _run_side_by_side(
        self,
        pool: ThreadPoolExecutor,
        todo: Iterator[int],
        files: Sequence[Sequence[str | Path]],
        keep_running: Callable[[], bool],
        on_bytes: Callable[[int], None],
    ) -> None:
        """Keep a few archives in the making; insert whenever a batch is full or has waited."""
        running: dict[Future[Prepared | GridComputeError], int] = {}
        while True:
            stopped = self.result.stopped = self.result.stopped or not keep_running()
            while not stopped and self._fatal is None and len(running) < 2 * _side_by_side:
                index = next(todo, None)
                if index is None:
                    break
                running[pool.submit(self._attempt, index, files[index], keep_running, on_bytes)] = index
            if not running:
                return
            done, _ = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
            for future in done:
                index = running.pop(future)
                self._take(index, files[index], future.result())
            if self._ready and (
                len(self._ready) >= _batch_cases or clock.monotonic() - self._oldest_ready > _batch_seconds
            ):
                self._insert()

    def _attempt(
        self,
        index: int,
        case: Sequence[str | Path],
        keep_running: Callable[[], bool],
        on_bytes: Callable[[int], None],
    ) -> Prepared | GridComputeError:
        """In a worker thread: one archive, published under its final name."""
        submission, case_id = self.submission, self.ids[index]
        told = 0

        def progress(count: int) -> None:
            nonlocal told
            on_bytes(count - told)
            told = count
            if not keep_running():
                raise _Stopped("stopped by the user")

        try:
            if not case:
                raise InputError(f"Case number {index + 1} of {self.application} has no input file.")
            prepared = submission.share.prepare(
                "Cases",
                submission.party.user,
                submission.party.machine,
                str(case_id),
                [Path(path).absolute() for path in case],
                progress=progress,
            )
            submission.journal.made(case_id, prepared)
            self.unfinished[case_id] = prepared
            submission.share.publish(prepared)
            return prepared
        except GridComputeError as exc:
            return exc

    def _take(self, index: int, case: Sequence[str | Path], made: Prepared | GridComputeError) -> None:
        if isinstance(made, _Stopped):
            self.result.stopped = True
            return
        if isinstance(made, GridComputeError):
            self.result.errors.append((index, made))
            if not isinstance(made, InputError | UsageError):
                self._fatal = made
            return
        document = self.submission.database.case_document(
            self.ids[index],
            self.moment,
            self.application,
            self.submission.party,
            Archive(made.path, made.size, made.sha256),
            submission=self.submission.token,
            priority=self.priority,
            names=[Path(path).name for path in case],
        )
        if not self._ready:
            self._oldest_ready = clock.monotonic()
        self._ready.append((index, document))

    def _insert(self) -> None:
        """T1 for what is ready; sent again while the database is away, for `patience` seconds."""
        batch, self._ready = self._ready, []
        if not batch or self.result.doubtful:
            return
        deadline = clock.monotonic() + self.patience
        pauses = clock.Backoff(0.2, 2.0)
        while True:
            try:
                self.submission.database.submit([document for _, document in batch])
                break
            except DatabaseAway as exc:
                if clock.monotonic() > deadline:
                    self._leave_in_doubt(batch, exc)
                    return
                clock.rest(pauses.next())
        for index, document in batch:
            self.unfinished.pop(document["_id"])
            self.result.ids[index] = str(document["_id"])
            self.on_case(index, str(document["_id"]))

    def _leave_in_doubt(self, batch: Sequence[tuple[int, dict[str, Any]]], exc: DatabaseAway) -> None:
        """The database was asked and did not answer: the journal decides at the next start."""
        self._fatal = exc
        told = DatabaseAway(
            f"It is not known whether this case was submitted: the database was asked and did not answer. The next "
            f"start of {config.program_name} on this computer finds out, tells, and removes what is left of it if not. "
            f"{exc}"
        )
        for index, document in batch:
            self.unfinished.pop(document["_id"])
            self.result.doubtful.append(index)
            self.result.errors.append((index, told))


def recover(share: SharedFolder, database: Database, party: Party, journals: Path) -> list[str]:
    """Finish or undo the submissions that a crash cut off; returns a sentence for each, for the user."""
    told = []
    for path in sorted(journals.glob("submission-*.jsonl")):
        journal = Journal(path)
        if not journal.take():
            continue
        try:
            header, made = journal.read()
        except (OSError, ValueError, IndexError) as exc:
            log.warning("The journal %s can't be read and is left alone: %s", path, exc)
            journal.leave()
            continue
        try:
            if not _same_grid(header, share, database):
                journal.leave()
                continue
            told.append(_recover_one(header, made, share, database))
        except BaseException:
            journal.leave()
            raise
        journal.end()
    return told


def _same_grid(header: dict[str, Any], share: SharedFolder, database: Database) -> bool:
    settings = database.settings
    here = (str(share.root), settings.mongodb_server, settings.user_group, settings.instance)
    return here == tuple(header[key] for key in ("share", "database", "user_group", "instance"))


def _recover_one(header: dict[str, Any], made: dict[str, Prepared], share: SharedFolder, database: Database) -> str:
    """Cases that reached the database are submitted; the others' archives are removed."""
    entries = header["cases"]
    ids = [object_id(entry["id"]) for entry in entries]
    there = {str(one) for one in database.submitted(ids, header["submission"])}
    missing = [entry for entry in entries if entry["id"] not in there]
    for entry in missing:
        prepared = made.get(entry["id"])
        if prepared is None:
            share.discard_part("Cases", header["user"], header["machine"], entry["id"])
            continue
        share.discard(prepared)
        if prepared.path not in database.named_archives([prepared.path]):
            share.remove(prepared.path)
    if not missing:
        return f"All {len(entries)} cases of a submission of {header['application']} that was cut off were submitted."
    names = ", ".join(Path(entry["first"]).name for entry in missing[:5]) + (" ..." if len(missing) > 5 else "")
    return (
        f"A submission of {len(entries)} cases of {header['application']} was cut off: {len(there)} were submitted, "
        f"{len(missing)} were not ({names}). Submit those again."
    )
