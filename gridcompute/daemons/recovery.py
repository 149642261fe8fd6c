"""What a daemon that is gone left behind, or an attempt whose share is away."""

from __future__ import annotations

import logging
from pathlib import Path

from gridcompute.daemons.journal import Leftover, leftovers
from gridcompute.daemons.loop import Daemon
from gridcompute.errors import ShareAway, ShareError
from gridcompute.grid.cases import Archive
from gridcompute.grid.database import object_id
from gridcompute.machine.processes import wait_until_gone

log = logging.getLogger(__name__)


class Recovery:
    """Delivers leftover results that are still ours and removes what no case names, before the next claim."""

    def __init__(self, daemon: Daemon, folder: Path):
        self._daemon, self._folder = daemon, folder
        self._left: list[Leftover] | None = None

    @property
    def pending(self) -> bool:
        """Whether something is still to be put right, or was not looked for yet."""
        return self._left is None or bool(self._left)

    def add(self, left: Leftover) -> None:
        """Put this right too; where nothing was looked for yet, it will be found."""
        if self._left is not None:
            self._left.append(left)

    def run(self) -> None:
        """Go on until all is right or the daemon is to stop; may be called again after any error."""
        if self._left is None:
            self._left = list(leftovers(self._folder))
        while self._left and not self._daemon.stop.is_set():
            self._recover_one(self._left[0])
            self._left.pop(0)

    def _recover_one(self, left: Leftover) -> None:
        if left.pid is not None:
            wait_until_gone(left.pid, 5.0)
        if left.token and not (left.prepared and self._deliver_late(left)):
            if left.prepared:
                self._daemon.share.discard(left.prepared)
                if left.prepared.path not in self._daemon.database.named_archives([left.prepared.path]):
                    self._daemon.share.remove(left.prepared.path)
            self._daemon.share.discard_part("Results", left.user, left.machine, f"{left.case_id}-{left.attempt}")
        self._daemon.forget_folder(left.work)

    def _deliver_late(self, left: Leftover) -> bool:
        """A result that was finished before the crash and whose token still holds."""
        assert left.prepared is not None
        case_id = object_id(left.case_id)
        if not self._daemon.database.holds(case_id, left.token):
            return False
        try:
            self._daemon.share.publish(left.prepared)
        except ShareAway:
            raise
        except ShareError as exc:
            log.warning("The finished result of case %s could not be delivered: %s", left.case_id, exc)
            return False
        result = Archive(left.prepared.path, left.prepared.size, left.prepared.sha256)
        done = self._daemon.database.complete(case_id, left.token, result)
        if done:
            log.info("The result of case %s, finished before the last end, is delivered.", left.case_id)
        return done
