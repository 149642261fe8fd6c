"""Daemon receive: brings the results of this user's cases home and runs receive.py on them.

receive.py cannot run exactly once; it runs at least once and is finished once (protocol, hard case 6). The child marks
*begun* just before it and *done* right after it (`gridcompute.daemons.marks`).
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gridcompute import clock, config, events
from gridcompute.daemons.holding import Claims, Held, Holdings
from gridcompute.daemons.journal import leftovers, remember_held, remember_process
from gridcompute.daemons.loop import Daemon, Orders
from gridcompute.daemons.marks import Marks
from gridcompute.daemons.outputs import tail_of
from gridcompute.daemons.serving import serve
from gridcompute.daemons.trouble import DISK_FULL, SHARE_AWAY
from gridcompute.errors import GridComputeError, ShareAway
from gridcompute.grid import cases
from gridcompute.grid.cases import Case, Party
from gridcompute.grid.database import object_id
from gridcompute.grid.pins import Pins
from gridcompute.machine.home import Home
from gridcompute.machine.processes import Children, describe_end, wait_until_gone
from gridcompute.machine.result_places import ResultPlaces

log = logging.getLogger(__name__)

side_by_side = 4
"""Results that are fetched at the same time; the receive_case of one application runs for one case at a time."""

_reported_beside = 3
"""Results that are received and being reported beside those."""

pins_interval = 10.0
"""Seconds after which the administrator's pins are read anew."""

refused_pause = 30.0
"""Seconds for which a result waits whose receive.py is not what the administrator pinned."""


class ReceiveDaemon(Daemon):
    """Claims the results of one user, machine and installation, and sees each to `received`."""

    name = "receive"
    statuses = (cases.PROCESSED,)

    def __init__(self, orders: Orders, connection: Connection | None = None, *, children: Children | None = None):
        super().__init__(orders, connection)
        home = Home(Path(orders.home))
        self.journal = home.journal / "received"
        self.journal.mkdir(parents=True, exist_ok=True)
        self.work_folder = home.work / "receive"
        self.places = ResultPlaces(home.path)
        self.children = children or Children(work=self.work_folder, on_message=self._child_speaks, ready=3)
        self.held: Holdings[Held] = Holdings(self._settle, self.work, self.put_off)
        self.claims = Claims(lambda token: self.database.claimed_result(token))
        self._removal: Future[int] | None = None
        self._next_removal = 0.0
        self._next_retention = 0.0
        self._swept = False
        self._pins: Pins = {}
        self._next_pins = 0.0
        self._refusals: set[str] = set()  # sentences that were said

    @classmethod
    def lock_name(cls, party: Party) -> str:
        return f"{cls.name}-{quote(party.machine, safe='')}"

    def _child_speaks(self) -> None:
        self.bell.ring("child")

    def turn(self, now: float) -> float:
        self.take_commands()  # this daemon knows no command but stop
        self._hear_children(now)
        self.held.drop_lost()
        self._settle_ended(now)
        self._sweep()
        self._take_results(now)
        self._take_over(now)
        self._remove_archives(now)
        self._report()
        moments = [] if self._removal is not None or self._blocked(now) else [self._next_removal - now]
        moments += [r.settle_after - now for r in self.held.values() if r.ended is not None and r.settling is None]
        return max(0.01, min([self.rest(now, looking=self._free() > 0), 2.0, *moments]))

    # Children.

    def _hear_children(self, now: float) -> None:
        for child, message in self.children.poll():
            receiving = self.held.of(child)
            if receiving is None:
                continue
            kind = message.get("kind")
            if kind == "stage":
                if message["stage"] == "fetch":
                    remember_process(receiving.work, child.pid)
                elif message["stage"] == "run":
                    receiving.running_since = now
            elif kind == "outcome":
                receiving.outcome = message
            elif kind == "ended":
                receiving.ended = message
        for receiving in self.held.values():
            since = receiving.running_since
            if since is not None and not receiving.ending and now - since > config.receive_time_limit:
                receiving.end("time limit")

    def send_heartbeats(self) -> None:
        tokens = list(self.held)
        lost = set(tokens) - self.database.beat_receiver(tokens)
        if lost:
            self.held.lose(lost)
            self.bell.ring("work done")

    # The end of receiving a result.

    def _settle_ended(self, now: float) -> None:
        for receiving, outcome in self.held.settle_ended(now):
            self.forget_folder(receiving.work)
            case = receiving.case
            if outcome == "received":
                self._next_removal = min(self._next_removal, now + 1.0)  # many at a time
                self.tell(events.case_received(str(case.id), case.application))
            elif outcome.startswith("failed"):
                self.tell(events.case_failed(str(case.id), case.application, outcome.partition(": ")[2]))
                self.look_soon()

    def _settle(self, receiving: Held) -> str:
        """In a worker thread: the write that ends a receiver's claim. May be called again after any expected error."""
        outcome = receiving.outcome or {}
        what = outcome.get("outcome")
        marks = self._marks(receiving.case.id)
        if what == "done" or marks.done:
            return self._received(receiving, marks)
        if receiving.ending == "lost":
            return "lost"
        if receiving.ending == "time limit":
            return self._failed(receiving, f"receive.py took longer than {config.receive_time_limit:g} s")
        if receiving.ending == "quit" or what == "busy":
            return self._release(receiving, 0.0 if receiving.ending else 1.0)
        if what == "refused":
            if outcome["message"] not in self._refusals:
                self._refusals.add(outcome["message"])
                log.warning("%s", outcome["message"])
                self.tell(events.warning(outcome["message"]))
            return self._release(receiving, refused_pause)
        if what in ("share", "disk"):
            self.miss(SHARE_AWAY if what == "share" else DISK_FULL, outcome.get("message", ""))
            return self._release(receiving, 0.5)
        if what == "input":
            return self._result_lost(receiving, outcome.get("message", ""))
        if what in ("failed", "internal"):
            return self._failed(receiving, outcome.get("message", what), outcome.get("traceback", ""))
        assert receiving.ended is not None
        if receiving.ended.get("lost"):
            return self._release(receiving, 0.0)
        end = describe_end(receiving.ended.get("exit"), receiving.ended.get("signal"))
        return self._failed(receiving, f"The process of receive.py ended early: {end}")

    def _received(self, receiving: Held, marks: Marks) -> str:
        """T10. Done is remembered on disk until the database has acknowledged it."""
        case = receiving.case
        if not self.database.received(case.id, receiving.token):
            return "lost"
        self.database_answers()
        marks.forget()
        self._remember_place(receiving)
        log.info("Case %s (%s) is received.", case.id, case.application)
        return "received"

    def _remember_place(self, receiving: Held) -> None:
        folder = (receiving.outcome or {}).get("folder")
        if folder:
            with contextlib.suppress(OSError):  # a full disk: the results are home all the same
                self.places.add(str(receiving.case.id), folder)

    def _failed(self, receiving: Held, reason: str, traceback: str = "") -> str:
        case = receiving.case
        tail, _ = tail_of(receiving.child.output_path if receiving.child else None)
        mine = self.database.receive_failed(
            case.id,
            receiving.token,
            reason[:2000],
            attempts=config.receive_attempts,
            pause=min(config.retry_pause * 2**case.receive_failures, config.retry_pause_limit),
            traceback=traceback[-16_000:],
            output=tail,
        )
        self.database_answers()
        if not mine:
            return "lost"
        log.warning("Case %s (%s) could not be received: %s", case.id, case.application, reason)
        return f"failed: {reason}"

    def _release(self, receiving: Held, pause: float) -> str:
        self.database.release_result(receiving.case.id, receiving.token, pause=pause)
        self.database_answers()
        return "released"

    def _result_lost(self, receiving: Held, reason: str) -> str:
        """T12. The result is missing or damaged although the share reads well; the input is still there."""
        self.share.probe()
        case = receiving.case
        if self.database.result_lost(case.id, receiving.token, reason[:500]) and case.result is not None:
            log.warning("The result of case %s is lost, it is processed again: %s", case.id, reason)
            self.share.remove(case.result.path)
        self.database_answers()
        return "result lost"

    # Claims.

    def _take_results(self, now: float) -> None:
        if self._free() <= 0 or not self._swept or not self.due_to_look(now) or not self._may_begin(now):
            return
        while self._free() > 0 and not self.stop.is_set():
            if not self._claim(partial(self.database.claim_result, self.party)):
                self.more_may_wait = False
                break
        self.database_answers()

    def _may_begin(self, now: float) -> bool:
        """Whether receiving may begin: this version is allowed, share and disk are there, and the pins are known."""
        if not self.check_version(now) or not self.share_reads_well(now) or not self.disk_has_room(now, self.journal):
            return False
        if now >= self._next_pins:
            self._pins, self._next_pins = self.database.pins(), now + pins_interval
        return True

    def _free(self) -> int:
        """How many results may be claimed: one that is only to be reported leaves its place to another."""
        reported = sum(one.ended is not None and not one.settle_after for one in self.held.values())
        return side_by_side - len(self.held) + min(reported, _reported_beside)

    def _claim(self, ask: Callable[[str], Case | None]) -> bool:
        """T9; whether there was a result to claim."""
        claimed = self.claims.send(ask)
        if claimed is not None:
            self._start(*claimed)
        return claimed is not None

    def _take_over(self, now: float) -> None:
        """T9. Results whose receiver gave no sign for two periods of our own clock."""
        if not self.due_to_observe(now) or self._free() <= 0:
            return
        for seen in self.observed.look(self.database.silent_receivers(self.party), now):
            if seen.token not in self.held and self._free() > 0 and self._may_begin(now):
                self._claim(partial(self.database.take_over_result, seen, self.party))
        self.database_answers()

    def _marks(self, case_id: Any) -> Marks:
        return Marks(self.journal / f"{case_id}.marks")

    def _turn(self, application: str) -> Path:
        """The file by whose lock the receive_case of one application runs for one case at a time."""
        name = hashlib.sha256(application.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        return self.journal / f"application-{name}.lock"

    def _start(self, case: Case, token: str) -> None:
        """Fetch a result and run receive.py on it in a child process."""
        work = self.work_folder / f"{case.id}-{token[:6]}"
        receiving = Held(case, token, work, clock.monotonic())
        self.held.add(receiving)
        assert case.result is not None
        pinned = {"pinned": self._pins.get(case.application)} if self._pins else {}
        try:
            work.mkdir(parents=True, exist_ok=True)
            remember_held(work, case, token)
            receiving.child = self.children.start(
                {
                    **pinned,
                    "mode": "receive",
                    "case": str(case.id),
                    "application": case.application,
                    "application_path": str(self.share.applications_path / case.application),
                    "share": str(self.share.root),
                    "input": case.result.document(),
                    "work": str(work),
                    "output": str(work / "output.txt"),
                    "marks": str(self._marks(case.id).path),
                    "turn": str(self._turn(case.application)),
                }
            )
        except OSError as exc:
            message = f"Cannot prepare {work} for a result: {exc}. Free some space, or see who may write there."
            receiving.outcome = {"outcome": "disk", "message": message}
            if receiving.child is None:
                receiving.ended = {"lost": True}

    # Archives that are no longer needed.

    def _remove_archives(self, now: float) -> None:
        """After T10 and T14: delete both archives, then say so; a removal cut off by a crash is resumed."""
        if self._removal is not None and self._removal.done():
            future, self._removal = self._removal, None
            exc = future.exception()
            if exc is not None:
                again = self.put_off(exc, now, "Archives could not be removed")
                self._next_removal = self._next_retention = max(again, now + 5.0)
            elif future.result() >= 1000:  # more stand behind the page that was read
                self._next_removal = now
        if self._removal is None and now >= self._next_removal and not self._blocked(now):
            self._next_removal = now + 60.0
            retention = now >= self._next_retention
            self._next_retention = now + 3600.0 if retention else self._next_retention
            self._removal = self.work(self._remove_all, retention)

    def _blocked(self, now: float) -> bool:
        return self.database_blocked(now) or self.trouble.blocks(SHARE_AWAY, now)

    def _remove_all(self, retention: bool) -> int:
        if retention:
            for case_id in self.database.past_retention(self.party, self.settings.retention_days):
                self.database.begin_removal(case_id, self.party.user)
            self._forget_received()
        found = self.database.removals(self.party)
        remove_files(self, found)
        return len(found)

    def _forget_received(self) -> None:
        """What a daemon remembers that was killed just before it could forget: the database knows already."""
        ids = [object_id(path.stem) for path in self.journal.glob("*.marks")]
        for case_id, status in self.database.statuses(ids).items():
            if status == cases.RECEIVED:
                self._marks(case_id).forget()

    def _sweep(self) -> None:
        """Once: the work folders of receivers that were killed; what they held is taken over by T9."""
        if self._swept:
            return
        for left in leftovers(self.work_folder):
            if left.pid is not None:
                wait_until_gone(left.pid, 5.0)
            self.forget_folder(left.work)
        with contextlib.suppress(OSError):
            self.places.trim()
        self._swept = True

    def _report(self) -> None:
        self.tell_activity(len(self.held), 1 if self._removal is not None else 0)

    def give_back(self) -> None:
        """Let a running receive.py finish for a while, then end it, release what is held and remove what is due."""
        deadline = self.stop_deadline
        patience = deadline - config.daemon_stop / 2
        while self.held and clock.monotonic() < deadline:
            now = clock.monotonic()
            if now > patience:
                for receiving in self.held.values():
                    receiving.end("quit")
            self._hear_children(now)
            self._settle_ended(now)
            self.bell.wait(0.05)
        self.children.close(0.5)
        if not self._blocked(clock.monotonic()):
            with contextlib.suppress(GridComputeError):  # resumed by the next start
                self._remove_all(retention=False)


def remove_files(daemon: Daemon, found: Sequence[Case]) -> None:
    """Delete the archives of `found` from the share, then write that down; a missing file is done already."""
    gone = []
    try:
        for case in found:
            for archive in (case.input, case.result):
                if archive is not None:
                    daemon.share.remove(archive.path)
            gone.append(case.id)
    except ShareAway as exc:
        daemon.meet(exc, clock.monotonic())
    finally:
        daemon.database.removed(gone)


def run_daemon_receive(orders: Orders, connection: Connection) -> None:
    """The top of the daemon's own process; returns when it was told to stop or its front end is gone."""
    serve(ReceiveDaemon, orders, connection)
