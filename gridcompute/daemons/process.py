"""Daemon process: claims cases, supervises the child processes that run them, delivers results.

Each `turn` is a list of short steps. What may be slow (the share, the write that ends an attempt) runs in a few worker
threads beside the loop; plugin code runs in children alone. What the end of an attempt means stands in `ending`.
"""

from __future__ import annotations

import logging
import time
from concurrent.futures import Future
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from gridcompute import clock, config, events
from gridcompute.daemons.allowed import Allowed, look_at_share
from gridcompute.daemons.attempt import Attempt
from gridcompute.daemons.bench import Bench
from gridcompute.daemons.display import Display, show_interval
from gridcompute.daemons.ending import Ending
from gridcompute.daemons.environments import Environments
from gridcompute.daemons.holding import Claims, Holdings
from gridcompute.daemons.journal import remember_held, remember_prepared, remember_process
from gridcompute.daemons.lending import Lending
from gridcompute.daemons.loop import Daemon, Orders
from gridcompute.daemons.outputs import prune_outputs
from gridcompute.daemons.presence import Presence
from gridcompute.daemons.recovery import Recovery
from gridcompute.daemons.room import Room, Solitude
from gridcompute.daemons.serving import serve
from gridcompute.daemons.trouble import DATABASE_AWAY, DISK_FULL, REFUSED, SHARE_AWAY
from gridcompute.errors import GridComputeError
from gridcompute.grid import cases
from gridcompute.grid.cases import Case
from gridcompute.grid.shared_folder import Prepared
from gridcompute.machine import lent
from gridcompute.machine.home import Home
from gridcompute.machine.lending import Rules
from gridcompute.machine.processes import Children

log = logging.getLogger(__name__)

_delivered_beside = 3
"""Results on their way beside which new cases are claimed; a worker thread stays free for other things."""


class ProcessDaemon(Daemon):
    """Claims cases for one machine and sees each attempt to its acknowledged end."""

    name = "process"
    statuses = (cases.TO_PROCESS, cases.CANCELLED)

    def __init__(self, orders: Orders, connection: Connection | None = None, *, children: Children | None = None):
        super().__init__(orders, connection)
        home = Home(Path(orders.home))
        self.work_folder, self.output_folder = home.work / "process", home.output
        self.children = children or Children(
            work=self.work_folder, on_message=self._child_speaks, ready=self._ready(orders.processes)
        )
        self.wanted = orders.processes
        self.ending = Ending(self, self.output_folder)
        self.attempts: Holdings[Attempt] = Holdings(self.ending.settle, self.work, self.put_off)
        self.display = Display(self.attempts, self.tell, self.work, watched=bool(orders.options.get("watched")))
        self.claims = Claims(lambda token: self.database.claimed(token))
        self.allowed = Allowed()
        self.environments = Environments(home.path, self.tell, self.look_soon)
        self.bench = Bench()
        self._looked: Future[Allowed] | None = None
        self._next_share_look = 0.0
        self._seen_share = False
        self._solitude = Solitude()
        self._room = Room()
        self._softgrid_folder = home.softgrid
        self._for_softgrid = 0  # processes that joined softgrids hold
        self._told_of_softgrid = ""
        self._next_look_at_softgrid = 0.0
        self._next_roll_call = 0.0
        self.recovery = Recovery(self, self.work_folder)
        self._left_to_others: list[str] = []
        self._asked_to_terminate = False
        self._next_prune = 0.0
        self._lending = Lending(Rules.of(orders.options.get("rules")))
        self.presence = Presence(self)

    @staticmethod
    def _ready(wanted: int) -> int:
        """Children that wait for a case: one for each process, up to a few."""
        return max(1, min(wanted, 4))

    def _child_speaks(self) -> None:
        self.bell.ring("child")

    # The turn.

    def turn(self, now: float) -> float:
        self._obey(now)
        self._hear_children(now)
        self._drop_lost()
        self.display.show_stages(now)
        self._end_overtime(now)
        self._keep_rules(now)
        self._look_at_softgrids(now)
        self._keep_to_number(now)
        self._settle_ended(now)
        self._read_share(now)
        self._recover(now)
        self._call_the_roll(now)
        self._take_cases(now)
        self._expire_leases(now)
        self._report()
        self._say_present(now)
        self.display.measure(now)
        looking = self._free() > 0
        return min(self.rest(now, looking=looking), self._soonest(now))

    def _soonest(self, now: float) -> float:
        """Seconds until a step of an attempt is due by itself."""
        moments = [now + 2.0]
        for attempt in self.attempts.values():
            if attempt.ended is not None and attempt.settling is None:
                moments.append(attempt.settle_after)
            if attempt.unshown and attempt.ended is None:
                moments.append(attempt.shown + show_interval)
            if attempt.time_limit is not None and not attempt.paused and not attempt.ending:
                moments.append(now + attempt.time_limit - attempt.run_time(now) + 0.01)
        return max(0.01, min(moments) - now)

    # Commands.

    def _obey(self, now: float) -> None:
        for command in self.take_commands():
            name, arguments = command[0], command[1:]
            if name == "processes":
                self.wanted = int(arguments[0])
                self.children.set_ready(self._ready(self.wanted))
                self._asked_to_terminate = False
                self.look_soon()
            elif name == "answer":
                self._terminate_all(bool(arguments[0]))
            elif name == "rules":
                self._lending.rules = Rules.of(arguments[0])
                self._lending.next_look = 0.0
                self.look_soon()
            elif name == "environments":  # one is asked for anew
                self._next_share_look = 0.0
            elif name in ("pause", "resume", "terminate"):
                self._act_on(name, str(arguments[0]), now)

    def _terminate_all(self, yes: bool) -> None:
        if yes and self.wanted == 0:
            for attempt in self.attempts.values():
                attempt.end("terminated")

    def _act_on(self, name: str, case_id: str, now: float) -> None:
        for attempt in self.attempts.values():
            if str(attempt.case.id) == case_id:
                attempt.held = name == "pause"
                if name == "pause":
                    attempt.pause(now)
                elif name == "resume":
                    attempt.resume(now)
                else:
                    attempt.end("terminated")
                self.display.show(attempt)

    # Children.

    def _hear_children(self, now: float) -> None:
        for child, message in self.children.poll():
            attempt = self.attempts.of(child)
            if attempt is None:
                continue
            kind = message.get("kind")
            if kind == "stage":
                if message["stage"] == "fetch":
                    remember_process(attempt.work, child.pid)
                attempt.enter_stage(message["stage"], now)
                attempt.unshown = True
            elif kind == "progress":
                self._tell_progress(attempt, message, now)
            elif kind == "waits":
                name = DISK_FULL if message["for"] == "disk" else SHARE_AWAY
                self.ending.miss(name, attempt, message["message"])
            elif kind == "outcome":
                self._hear_outcome(attempt, message)
            elif kind == "ended":
                attempt.ended = message
                attempt.running_since = None

    def _hear_outcome(self, attempt: Attempt, message: dict[str, Any]) -> None:
        attempt.outcome = message
        if message["outcome"] == "done":
            remember_prepared(attempt.work, Prepared(**message["prepared"]))

    def _tell_progress(self, attempt: Attempt, message: dict[str, Any], now: float) -> None:
        attempt.progress = {"fraction": message.get("fraction", 0.0), "text": message.get("text", "")}
        self.tell(events.change_my_process(str(attempt.case.id), **attempt.progress))
        due = now - attempt.told >= 2.0 and DATABASE_AWAY not in self.trouble
        if due and (attempt.telling is None or attempt.telling.done()):
            attempt.told = now
            attempt.telling = self.work(self._write_progress, attempt)

    def _write_progress(self, attempt: Attempt) -> None:
        try:
            self.database.tell_progress(attempt.case.id, attempt.token, **attempt.progress)
        except GridComputeError as exc:  # progress is a courtesy; the next beat meets the trouble by name
            log.debug("The progress of case %s was not written: %s", attempt.case.id, exc)

    # Ownership.

    def send_heartbeats(self) -> None:
        tokens = list(self.attempts)
        if not self.database.beat(tokens):
            self.attempts.lose(set(tokens) - self.database.still_held(tokens))
            self.bell.ring("work done")

    def _drop_lost(self) -> None:
        """End what is no longer ours: cancelled, or taken by another after our lease."""
        for attempt in self.attempts.drop_lost():
            log.info("Case %s is no longer held by this machine; its work is thrown away.", attempt.case.id)

    def _end_overtime(self, now: float) -> None:
        for attempt in self.attempts.values():
            if attempt.over_time(now):
                attempt.end("time limit")

    def _keep_to_number(self, now: float) -> None:
        """Pause the newest cases above the wanted number, resume the oldest below it; at zero ask about the rest."""
        alive = sorted((a for a in self.attempts.values() if a.ended is None), key=lambda a: a.started)
        number = left = 0 if self._lending.resting else self._lent_to_cases()
        for attempt in alive:
            fits = attempt.processes <= left
            if fits or attempt.ending:
                left -= attempt.processes
            if attempt.ending:
                continue
            if not fits and not attempt.paused:
                attempt.pause(now)
                self.display.show(attempt)
            elif fits and attempt.paused and not attempt.held:
                attempt.resume(now)
                self.display.show(attempt)
            self._return_squeezed(attempt, number, now)
        if self.wanted == 0 and alive and not self._asked_to_terminate:
            self._asked_to_terminate = True
            self.tell(events.terminate_process(len(alive)))

    def _return_squeezed(self, attempt: Attempt, number: int, now: float) -> None:
        """A paused case that needs more processes than are lent by now goes back after a while: it may never go on."""
        if self.wanted == 0 or number >= attempt.processes or attempt.held:
            attempt.squeezed = None
        elif attempt.squeezed is None:
            attempt.squeezed = now
        elif now - attempt.squeezed > config.rest_limit:
            attempt.end("quit")

    def _keep_rules(self, now: float) -> None:
        """What the lending rules say: cases rest while their owner needs the computer, and go back after a while."""
        told = self._lending.told
        self._lending.look(now)
        if self._lending.told != told:
            log.info("Lending rests: %s", self._lending.told) if self._lending.told else log.info("Lending goes on.")
            self.tell(events.state(self.name, "resting", self._lending.told))
            self.look_soon()
        if self._lending.too_long(now):
            for attempt in self.attempts.values():
                attempt.end("quit")

    def _look_at_softgrids(self, now: float) -> None:
        """Processes that `gridcompute softgrid` lends elsewhere are no longer there for cases."""
        if now >= self._next_look_at_softgrid:
            self._next_look_at_softgrid = now + 2.0
            before, self._for_softgrid = self._for_softgrid, lent.held(self._softgrid_folder)
            if self._for_softgrid < before:
                self.look_soon()
        number = min(self._for_softgrid, self.wanted)
        words = f"{number} of {self.wanted} lent to a softgrid" if number else ""
        if words != self._told_of_softgrid:
            self._told_of_softgrid = words
            log.info("%s.", words or "Nothing is lent to a softgrid any more")
            self.tell(events.state(self.name, "softgrid", words))

    # The end of an attempt.

    def _settle_ended(self, now: float) -> None:
        for attempt, outcome in self.attempts.settle_ended(now):
            if attempt.part_left:
                self.recovery.add(attempt.leftover())
            else:
                self.forget_folder(attempt.work)
            self.tell(events.remove_my_process(str(attempt.case.id), outcome))
            self._count(attempt.case, outcome, now)
            if outcome != "done" or self.allowed.needs:  # it is put back, or there is room for a larger case
                self.look_soon()

    def _count(self, case: Case, outcome: str, now: float) -> None:
        """Rule 4: failures in a row of several people's cases bench this machine for their application."""
        if outcome == "done":
            self.bench.succeeded(case.application)
        elif outcome == "failed" and (seconds := self.bench.failed(case.application, case.origin_user, now)):
            self.tell(
                events.warning(
                    f"Cases of several people failed with {case.application} on this machine: it takes none of them "
                    f"for {seconds / 60:.0f} minutes. 'gridcompute log {case.id}' shows what the application said."
                )
            )

    # What the share allows.

    def _read_share(self, now: float) -> None:
        """Applications and the CSV are read anew while running, beside the loop."""
        if self._looked is not None and self._looked.done():
            future, self._looked = self._looked, None
            exc = future.exception()
            if exc is None:
                self._allow(future.result())
                self.trouble.leave(SHARE_AWAY, "The shared folder is there again.")
            else:
                self.put_off(exc, now, "The shared folder could not be read")
        if self._looked is None and now >= self._next_share_look:
            self._next_share_look = now + (10.0 if self._seen_share else 1.0)
            self._looked = self.work(self._look_at_share)

    def _look_at_share(self) -> Allowed:
        return look_at_share(self.share, self.database.pins(), self.party.machine)

    def _allow(self, work: Allowed) -> None:
        if not self._seen_share:
            names = ", ".join(sorted(work.applications)) or "no application"
            log.info("This machine (%s) may process: %s.", self.party.machine, names)
            if not work.listed and self.wanted:
                self.tell(
                    events.warning(
                        f"Software_Per_Machine.csv does not name this machine ({self.party.machine}): it submits and "
                        "receives, but processes nothing. The administrator adds a row for it."
                    )
                )
        if set(work.applications) != set(self.allowed.applications):
            self.look_soon()
        for name, why in work.refused.items():
            if self.allowed.refused.get(name) != why:
                log.warning("%s", why)
                self.tell(events.warning(why))
        self.environments.want(work.heads, {attempt.case.application for attempt in self.attempts.values()})
        self._seen_share, self.allowed = True, work

    # What earlier daemons left.

    def _recover(self, now: float) -> None:
        if not (self.database_blocked(now) or self.trouble.blocks(SHARE_AWAY, now)):
            self.recovery.run()

    def _call_the_roll(self, now: float) -> None:
        """Hard case 4: a case held under this installation's name that does not run here goes back, uncounted."""
        if now < self._next_roll_call or self.recovery.pending or self.database_blocked(now):
            return
        for case in self.database.under_name_of(self.party.installation):
            token = case.token or ""
            held = self.attempts.get(token)
            if held is None or held.case.id != case.id:
                log.info("Case %s stands under this machine's name but does not run here; it goes back.", case.id)
                self.database.hand_back(case.id, token)
        self._next_roll_call = now + self.settings.heartbeat_frequency
        if now >= self._next_prune:
            self._next_prune = now + 3600.0
            self.work(self._prune)

    def _prune(self) -> None:
        prune_outputs(self.output_folder, days=30.0, bytes_kept=500_000_000, now=time.time())

    # Claims.

    def _take_cases(self, now: float) -> None:
        free = self._free()
        if (
            free <= 0
            or self._lending.told
            or not self._seen_share
            or self.recovery.pending
            or not self.due_to_look(now)
        ):
            return
        if (
            not self.check_version(now)
            or not self.share_reads_well(now)
            or not self.disk_has_room(now, self.work_folder, self.share.root)
        ):
            return
        claimable = [
            name
            for name in self.allowed.applications
            if not self.bench.benched(name, now) and self.environments.ready(name)
        ]
        if not claimable or self._waits_for_a_lone_case(claimable, now) or self._makes_room(claimable, free, now):
            return
        while free > 0 and not self.stop.is_set():
            fitting = self._fitting(claimable, free)
            attempt = self._claim(fitting) if fitting else None
            if attempt is None:
                self.more_may_wait = False
                break
            free -= attempt.processes
            if attempt.case.alone:
                break
        self.database_answers()

    def _free(self) -> int:
        """How many processes may take cases: they are free again while the result of their case is being delivered.

        Not where the delivery had to be put off, and only for a few cases: what is claimed must also come home.
        """
        held = sum(attempt.processes for attempt in self.attempts.values())
        delivered = [attempt.processes for attempt in self.attempts.values() if attempt.being_delivered]
        return self._lent_to_cases() - held + sum(delivered[:_delivered_beside])

    def _lent_to_cases(self) -> int:
        """How many processes this machine has for cases: those that no softgrid holds."""
        return max(0, self.wanted - self._for_softgrid)

    def _need(self, application: str) -> int:
        """How many processes a case takes here: never more than there are."""
        return min(self.allowed.needs.get(application, 1), max(1, self._lent_to_cases()))

    def _fitting(self, claimable: list[str], free: int) -> list[str]:
        if not self.allowed.needs:
            return claimable
        return [name for name in claimable if self._need(name) <= free]

    def _makes_room(self, claimable: list[str], free: int, now: float) -> bool:
        """Whether nothing is claimed now since the next case of the queue needs more processes than are free."""
        too_large = set(claimable) - set(self._fitting(claimable, free))
        return self._room.is_made(too_large, lambda: self.database.next_application(self.party, claimable), now)

    def _waits_for_a_lone_case(self, claimable: list[str], now: float) -> bool:
        """Rule 4: a case that took machines down runs alone; the machine is emptied for one that has waited a while."""
        if any(attempt.case.alone for attempt in self.attempts.values()):
            return True
        asks = bool(self.attempts)
        return self._solitude.is_made(asks, lambda: self.database.must_run_alone(self.party, claimable), now)

    def _claim(self, claimable: list[str]) -> Attempt | None:
        """T2."""
        sent = clock.monotonic()
        claimed = self.claims.send(
            lambda token: self.database.claim(self.party, claimable, token, alone=not self.attempts)
        )
        if claimed is None:
            return None
        case, token = claimed
        if self._lease_may_be_over(sent) and not self.database.holds(case.id, token):
            return None
        if case.application not in self.allowed.applications:  # claimed before the share was read anew: the roll tells
            return None
        return self._start(case, token)

    def _lease_may_be_over(self, sent: float) -> bool:
        """Whether a claim sent at that monotonic moment took so long that others may have the case (hard case 3)."""
        return clock.monotonic() - sent > self.settings.heartbeat_dead

    def _start(self, case: Case, token: str) -> Attempt:
        """Run a claimed case in a child process."""
        attempt = Attempt(
            case,
            token,
            self.work_folder / f"{case.id}-{case.attempt}-{token[:6]}",
            clock.monotonic(),
            processes=self._need(case.application),
            attempts=self.settings.attempts,
            avoid=config.avoid_time if case.application in self.allowed.shared else 0.0,
        )
        self.attempts.add(attempt)
        self._start_child(attempt)
        self.display.add(attempt)
        return attempt

    def _start_child(self, attempt: Attempt) -> None:
        """Where no child can be started, the attempt has ended already, and its outcome says why."""
        case, work = attempt.case, attempt.work
        said = self.allowed.said[case.application]
        if isinstance(said, str):  # a broken application.txt, as a broken script, is the application's fault
            attempt.outcome, attempt.ended = {"outcome": "failed", "message": said}, {}
            return
        attempt.time_limit, attempt.attempts = said.time_limit, said.attempts or attempt.attempts
        try:
            work.mkdir(parents=True, exist_ok=True)
            remember_held(work, case, attempt.token)
            attempt.child = self.children.start(self._job(attempt))
        except OSError as exc:  # this machine's own trouble: nothing is counted
            message = f"Cannot prepare {work} for a case: {exc}. Free some space, or see who may write there."
            log.warning("%s", message)
            attempt.outcome = {"outcome": "disk", "message": message}
            attempt.ended = {"lost": True}

    def _job(self, attempt: Attempt) -> dict[str, Any]:
        """What the child is told; `gridcompute.daemons.runner` reads it."""
        case = attempt.case
        assert case.input is not None
        job: dict[str, Any] = {
            "mode": "process",
            "case": str(case.id),
            "application": case.application,
            "application_path": str(self.allowed.applications[case.application].path),
            "processes": attempt.processes,
            "share": str(self.share.root),
            "input": case.input.document(),
            "result": {"user": case.origin_user, "machine": case.origin_machine, "stem": attempt.stem},
            "work": str(attempt.work),
            "output": str(attempt.work / "output.txt"),
        }
        python = self.environments.python(case.application)
        if python is not None:
            job["python"] = python
        if self.allowed.pins:
            job["pinned"] = self.allowed.pins.get(case.application)
        return job

    # Leases of others.

    def _expire_leases(self, now: float) -> None:
        """T7: take back the cases of machines that gave no sign for two periods of our own clock."""
        if not self.due_to_observe(now) or REFUSED in self.trouble:
            return
        for seen in self.observed.look(self.database.expired(), now):
            if seen.token in self.attempts:  # our own beats do not get through: no reason to expire ourselves
                continue
            if self.database.expire(seen):
                log.warning("Case %s was lost by its machine; it is taken back.", seen.id)
        self.database_answers()

    # What the front end shows.

    def _report(self) -> None:
        left = sorted({*self.allowed.refused, *self.environments.failed()})
        if left != self._left_to_others:
            self._left_to_others = left
            self.tell(events.left_to_others(left))
        self.tell_activity(len(self.attempts), sum(attempt.ended is not None for attempt in self.attempts.values()))

    def _say_present(self, now: float) -> None:
        offered = 0 if self._lending.told else self.wanted
        self.presence.say(now, offered, self.wanted - self._free(), self.allowed.applications)

    # The end.

    def give_back(self) -> None:
        """End all cases as trees, then hand them back or deliver what was finished.

        The database is asked for a few seconds only: what can't be said now is put right by the roll call and the
        leftovers of the next start, or by T7.
        """
        deadline = self.stop_deadline
        for attempt in list(self.attempts.values()):
            attempt.end("quit", grace=1.0)
        while self.attempts and clock.monotonic() < deadline:
            now = clock.monotonic()
            self._hear_children(now)
            self._settle_ended(now)
            self.bell.wait(0.05)
        if self.attempts:
            log.warning("%d cases could not be given back in time; the next start does it.", len(self.attempts))
        self.environments.close()
        self.children.close(max(0.0, deadline - clock.monotonic()) and 0.5)
        if DATABASE_AWAY not in self.trouble and clock.monotonic() < deadline:
            self.presence.leave()


def run_daemon_process(orders: Orders, connection: Connection) -> None:
    """The top of the daemon's own process; returns when it was told to stop or its front end is gone."""
    serve(ProcessDaemon, orders, connection)
