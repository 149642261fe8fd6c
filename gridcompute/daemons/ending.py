"""How an attempt ends: the table of what its end means (T4, T5, T6), and the write that says so."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from gridcompute import config
from gridcompute.daemons.attempt import Attempt
from gridcompute.daemons.loop import Daemon
from gridcompute.daemons.outputs import keep_output, output_file, tail_of
from gridcompute.daemons.trouble import DISK_FULL, SHARE_AWAY
from gridcompute.errors import ArchiveMissing, ShareError
from gridcompute.grid.cases import Archive, Case
from gridcompute.grid.shared_folder import Prepared
from gridcompute.machine.processes import describe_end

log = logging.getLogger(__name__)


class Ending:
    """Ends attempts in worker threads of their daemon: delivers a result, reports a failure, or gives a case back."""

    def __init__(self, daemon: Daemon, output_folder: Path):
        self._daemon, self._output_folder = daemon, output_folder
        self._helper_losses = 0

    def settle(self, attempt: Attempt) -> str:
        """In a worker thread: the write that ends an attempt. May be called again after any expected error.

        Returns done, failed, handed back or lost. Rule 4 decides who pays: the application for what it did, nobody
        for a quit, a lost helper, the share, the disk.
        """
        outcome = attempt.outcome or {}
        what = outcome.get("outcome")
        if attempt.ending == "lost":
            return self._throw_away(attempt)
        if what == "done":
            return self._deliver(attempt, Prepared(**outcome["prepared"]))
        if attempt.ending in ("quit", "terminated"):
            avoid = config.avoid_time if attempt.ending == "terminated" else 0.0
            return self._hand_back(attempt, pause=0.0, avoid=avoid if attempt.avoid else 0.0)
        if attempt.ending == "time limit":
            assert attempt.time_limit is not None
            return self._fail(attempt, f"process.py took longer than its time limit of {attempt.time_limit:g} s")
        if what in ("share", "disk"):
            self.miss(SHARE_AWAY if what == "share" else DISK_FULL, attempt, outcome.get("message", ""))
            # A share is away for most machines at once: whoever sees it first goes on, or the case waits for nobody.
            avoid = attempt.avoid if what == "disk" else min(attempt.avoid, config.share_avoid_time)
            return self._hand_back(attempt, pause=0.5, avoid=avoid)
        if what == "refused":  # changed since the last look at the share, which soon says so
            log.warning("%s", outcome.get("message", ""))
            return self._hand_back(attempt, pause=1.0, avoid=config.avoid_time)
        if what in ("failed", "input", "internal"):
            return self._fail(attempt, outcome.get("message", what), outcome.get("traceback", ""))
        assert attempt.ended is not None
        if attempt.ended.get("lost"):
            self._helper_losses += 1  # a helper that breaks at every start must not claim and give back for ever
            return self._hand_back(attempt, pause=min(0.05 * 2**self._helper_losses, 60.0), avoid=0.0)
        end = describe_end(attempt.ended.get("exit"), attempt.ended.get("signal"))
        return self._fail(attempt, f"The process of the case ended without a result: {end}")

    def _deliver(self, attempt: Attempt, prepared: Prepared) -> str:
        """Publish the result and complete the case; the token is asked for just before the rename."""
        case, token = attempt.case, attempt.token
        if not self._daemon.database.holds(case.id, token):
            return self._after_doubt(attempt, prepared)
        try:
            self._daemon.share.publish(prepared)
        except ArchiveMissing as exc:  # somebody cleaned the share: the case is done again, nobody pays
            log.warning("The finished result of case %s is gone: %s", case.id, exc)
            return self._hand_back(attempt, pause=1.0, avoid=0.0)
        tail, place = self._keep_output(attempt)
        result = Archive(prepared.path, prepared.size, prepared.sha256)
        if not self._daemon.database.complete(case.id, token, result, output=tail, place=place):
            return self._after_doubt(attempt, prepared)
        self._daemon.database_answers()
        self._helper_losses = 0
        log.info("Case %s (%s) is processed.", case.id, case.application)
        return "done"

    def _after_doubt(self, attempt: Attempt, prepared: Prepared) -> str:
        """The token is no longer ours: either our completion had gone through, or the result is thrown away."""
        now = self._daemon.database.case(attempt.case.id)
        if now is not None and now.result_token == attempt.token:
            return "done"
        return self._throw_away(attempt, prepared, named=now)

    def _throw_away(self, attempt: Attempt, prepared: Prepared | None = None, named: Case | None = None) -> str:
        """Delete what this attempt made and no case names; nothing is written to the database."""
        if prepared is None and attempt.outcome and attempt.outcome.get("outcome") == "done":
            prepared = Prepared(**attempt.outcome["prepared"])
            named = self._daemon.database.case(attempt.case.id)
        if prepared is not None and not (named and named.result and named.result.path == prepared.path):
            self._daemon.share.discard(prepared)
            self._daemon.share.remove(prepared.path)
        else:
            self._discard_part(attempt)
        return "lost"

    def _discard_part(self, attempt: Attempt) -> None:
        """Remove a result that was cut off while it was written."""
        self._daemon.share.discard_part("Results", attempt.case.origin_user, attempt.case.origin_machine, attempt.stem)

    def _fail(self, attempt: Attempt, reason: str, traceback: str = "") -> str:
        """T5: the application failed; output and traceback are kept."""
        self._discard_part(attempt)
        case = attempt.case
        tail, place = self._keep_output(attempt)
        mine = self._daemon.database.fail(
            case.id,
            attempt.token,
            f"{case.application} on {self._daemon.party.machine}: {reason}"[:2000],
            machine=self._daemon.party.machine,
            user=self._daemon.party.user,
            attempts=attempt.attempts,
            pause=min(config.retry_pause * 2**case.failures, config.retry_pause_limit),
            avoid=attempt.avoid,
            traceback=traceback[-16_000:],
            output=tail,
            place=place,
        )
        self._daemon.database_answers()
        if not mine:
            return "lost"
        log.warning("Case %s (%s) failed: %s", case.id, case.application, reason)
        return "failed"

    def _hand_back(self, attempt: Attempt, *, pause: float, avoid: float) -> str:
        """T6: give the case back, nothing counted; the end of its processes is confirmed."""
        try:
            self._discard_part(attempt)
            attempt.part_left = False
        except ShareError:  # others need not wait for the share to be there for this machine
            attempt.part_left = True
        mine = self._daemon.database.hand_back(
            attempt.case.id, attempt.token, pause=pause, machine=self._daemon.party.machine, avoid=avoid
        )
        self._daemon.database_answers()
        if not mine:
            return "lost"
        log.info("Case %s (%s) is handed back.", attempt.case.id, attempt.case.application)
        return "handed back"

    def _keep_output(self, attempt: Attempt) -> tuple[str, dict[str, Any] | None]:
        target = output_file(self._output_folder, attempt.case.id, attempt.case.attempt)
        if attempt.child is not None:
            keep_output(attempt.child.output_path, target)
        tail, size = tail_of(target)
        return tail, ({"machine": self._daemon.party.machine, "bytes": size} if size else None)

    def miss(self, name: str, attempt: Attempt, message: str) -> None:
        """This machine lacks the share, or disk for the input of the attempt, its files and its result."""
        size = attempt.case.input.size if attempt.case.input is not None else 0
        self._daemon.miss(name, message, needed=3 * size + 1_000_000 if name == DISK_FULL else 0)
