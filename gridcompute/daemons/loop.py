"""What the two daemons share: turn by turn until stopped, the bell, heartbeats, the pipe to the server.

A daemon is a process of its own. It talks to its `Server` through one duplex pipe, hears of changes by a doorbell
thread and sends heartbeats from another, so that a busy or blocked turn does not look dead. When the pipe closes, the
front end is gone and the daemon stops by itself.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import threading
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for_futures
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from gridcompute import clock, config, events
from gridcompute.daemons.leases import ObservedLeases
from gridcompute.daemons.trouble import (
    DATABASE_AWAY,
    DATABASE_REFUSES,
    DISK_FULL,
    REFUSED,
    SHARE_AWAY,
    Trouble,
    trouble_name,
)
from gridcompute.errors import (
    ArchiveMissing,
    DatabaseAway,
    DatabaseError,
    GridComputeError,
    ShareAway,
)
from gridcompute.grid.cases import Party
from gridcompute.grid.database import Database, Doorbell
from gridcompute.grid.settings import Settings
from gridcompute.grid.shared_folder import SharedFolder
from gridcompute.machine.processes import remove_tree

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Orders:
    """What a daemon is started with; travels to its process by pickle."""

    root: str  # the shared folder
    settings: Settings
    party: Party
    home: str
    processes: int = 0
    options: dict[str, Any] = field(default_factory=dict)


class Bell:
    """Wakes a loop for work; rings are remembered by name until they are taken. May be used from any thread."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._rung: set[str] = set()

    def ring(self, reason: str = "") -> None:
        with self._condition:
            self._rung.add(reason)
            self._condition.notify_all()

    def wait(self, seconds: float) -> set[str]:
        """The names of the rings since the last call; waits for one at most `seconds`."""
        with self._condition:
            if not self._rung:
                self._condition.wait(max(0.0, seconds))
            rung, self._rung = self._rung, set()
            return rung


class Daemon:
    """One daemon: subclasses give `name`, `statuses` and the steps of a `turn`.

    The constructor connects nothing. `run` returns when the daemon was told to stop, or its front end is gone, and
    everything it held is given back or written down; it needs at most `config.daemon_stop` seconds for that.
    """

    name = "daemon"
    statuses: Collection[str] = ()

    def __init__(self, orders: Orders, connection: Connection | None = None):
        self.orders = orders
        self.party = orders.party
        self.settings = orders.settings
        self.database = Database(
            orders.settings,
            patience=orders.options.get("patience", 3.0),
            answer=Database.lease_patience(orders.settings),
        )
        self.share = SharedFolder(orders.root)
        self.bell = Bell()
        self.stop = threading.Event()
        self._stop_asked: float | None = None  # monotonic
        self.trouble = Trouble(self.name, self.tell)
        self.observed = ObservedLeases(self.settings.heartbeat_frequency)
        self._connection = connection
        self._send_lock = threading.Lock()
        self._commands: list[tuple[Any, ...]] = []
        self._commands_lock = threading.Lock()
        self._pool = ThreadPoolExecutor(max_workers=4, thread_name_prefix=f"{self.name}-work")
        self._removing = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"{self.name}-removing")
        self._threads: list[threading.Thread] = []
        self._polling = clock.Backoff(config.db_connect_first, config.db_connect_frequency)
        self._next_poll = 0.0
        self.more_may_wait = True  # until a claim came back empty: a case less is asked for each one that ends
        self._beat_now = threading.Event()
        self._next_version_check = 0.0
        self._next_observation = 0.0
        self._needed_bytes = 0  # of disk, until there is room again
        self._activity: tuple[int, int] | None = None
        self.doorbell = Doorbell(self.database, self.statuses, self._rung, self.stop)

    @classmethod
    def lock_name(cls, party: Party) -> str:
        """Daemons with one lock name run one at a time in a per-user folder."""
        return cls.name

    # The pipe to the server.

    def tell(self, event: events.Event) -> None:
        """Send an event to the front end; one that is gone hears nothing."""
        if self._connection is None:
            return
        with self._send_lock, contextlib.suppress(OSError, ValueError):
            self._connection.send(event)

    def tell_activity(self, running: int, waiting: int) -> None:
        """Tell the front end what the daemon has in hand, when that has changed."""
        if (running, waiting) != self._activity:
            self._activity = (running, waiting)
            self.tell(events.activity(self.name, running=running, waiting=waiting))

    def _listen(self) -> None:
        """Thread: commands from the server. Its end of the pipe closed means that it is gone."""
        assert self._connection is not None
        while True:
            try:
                command = self._connection.recv()
            except (EOFError, OSError):
                if not self.stop.is_set():
                    log.warning("The program that started the %s daemon is gone; the daemon ends.", self.name)
                self.ask_to_stop()
                return
            self.hear_commands([command])
            if command and command[0] == "stop":
                self.ask_to_stop()

    def hear_commands(self, commands: Iterable[tuple[Any, ...]]) -> None:
        """Take commands; may be called from any thread."""
        with self._commands_lock:
            self._commands += commands
        self.bell.ring("command")

    def take_commands(self) -> list[tuple[Any, ...]]:
        with self._commands_lock:
            commands, self._commands = self._commands, []
        return commands

    def ask_to_stop(self, *_: object) -> None:
        """Stop as soon as may be; may be called from any thread, or as a signal handler, and more than once."""
        if self._stop_asked is None:
            self._stop_asked = clock.monotonic()
        self.stop.set()
        self.bell.ring("stop")

    @property
    def stop_deadline(self) -> float:
        """The monotonic moment at which what was held must be given back; a blocked turn has used some of the time."""
        return (clock.monotonic() if self._stop_asked is None else self._stop_asked) + config.daemon_stop

    # Threads beside the loop.

    def _rung(self, status: str) -> None:
        self.bell.ring(status)

    def _ring_the_doorbell(self) -> None:
        if not self.doorbell.run():
            log.info("The database offers no change stream: it is polled.")

    def _beat(self) -> None:
        """Thread of normal priority: one heartbeat for all that is held, each period and when asked at once."""
        while not self.stop.is_set():
            self._beat_now.wait(self.settings.heartbeat_frequency)
            self._beat_now.clear()
            if self.stop.is_set():
                return
            try:
                self.send_heartbeats()
            except DatabaseError as exc:
                log.debug("A heartbeat was not sent: %s", exc)
                if not isinstance(exc, DatabaseAway):  # the turn may read only, which may be allowed
                    self.trouble.enter(DATABASE_REFUSES, str(exc), clock.monotonic())
                self._beat_now.wait(min(1.0, self.settings.heartbeat_frequency / 4))
                self._beat_now.set()
            except Exception:
                log.exception("A heartbeat of the %s daemon failed", self.name)

    def send_heartbeats(self) -> None:
        """Send one heartbeat for all that is held; subclasses write down what is no longer theirs."""

    def _start_thread(self, target: Callable[[], None], name: str) -> None:
        thread = threading.Thread(target=self._guarded, args=(target,), name=f"{self.name}-{name}", daemon=True)
        thread.start()
        self._threads.append(thread)

    def _guarded(self, target: Callable[[], None]) -> None:
        try:
            target()
        except Exception:
            log.exception("A thread of the %s daemon failed", self.name)

    def work(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Do slow work beside the loop; the loop is woken at its end."""
        future = self._pool.submit(function, *arguments)
        future.add_done_callback(lambda _: self.bell.ring("work done"))
        return future

    def forget_folder(self, work: Path) -> None:
        """Remove a work folder beside the loop, one after the other: a hundred thousand files take a while.

        What is in use, or still there when the daemon ends, is removed by the next start.
        """
        self._removing.submit(self._guarded, partial(_remove_folder, work))

    # The loop.

    def run(self) -> None:
        if self._connection is not None:
            self._start_thread(self._listen, "commands")
        self._start_thread(self._ring_the_doorbell, "doorbell")
        self._start_thread(self._beat, "heartbeat")
        log.info("The %s daemon of %s on %s has started.", self.name, self.party.user, self.party.machine)
        try:
            pause = 0.0
            while not self.stop.is_set():
                rung = self.bell.wait(pause)
                if rung - {"command", "work done", "child"}:
                    self.look_soon()
                if "cancelled" in rung:
                    self._beat_now.set()
                pause = max(config.daemon_pause, self._safe_turn(clock.monotonic()))
        finally:
            self._end()

    def _safe_turn(self, now: float) -> float:
        try:
            return self.turn(now)
        except GridComputeError as exc:
            self.meet(exc, now)
        except Exception:
            log.exception("A turn of the %s daemon failed; it goes on", self.name)
            self.tell(events.log_file_only(f"A turn of the {self.name} daemon failed; the log has the traceback."))
        return 0.5

    def turn(self, now: float) -> float:
        """One round; returns the seconds that the loop may rest unless it is woken."""
        raise NotImplementedError

    def meet(self, exc: GridComputeError, now: float) -> None:
        """Expected trouble becomes a named state; anything else is said once in the log and as a warning."""
        name = trouble_name(exc)
        if name == DATABASE_AWAY:
            self.observed.broken()
        if name:
            self.trouble.enter(name, str(exc), now)
        else:
            log.warning("%s", exc)
            self.tell(events.warning(str(exc)))

    def put_off(self, exc: BaseException, now: float, what: str) -> float:
        """Say why `what` happened that is tried again; the monotonic moment for that."""
        if isinstance(exc, GridComputeError):
            self.meet(exc, now)
        else:
            log.error("%s; it is tried again", what, exc_info=exc)
        return now + max(0.2, min(self.trouble.next_try(now), 15.0))

    def miss(self, name: str, message: str, *, needed: int = 0) -> None:
        """Hard case 7: the share is away, or `needed` bytes of disk are; nothing is claimed until a probe passes.

        A probe may pass though the work fails again, as where this user may not write to the folder of somebody's
        results: one miss that follows another is waited out longer.
        """
        self._needed_bytes = max(self._needed_bytes, needed)
        self.trouble.enter(name, message, clock.monotonic(), first=1.0, limit=60.0, together=600.0)

    def look_soon(self) -> None:
        """Look at the database at the next turn, and often for a while: a case may be put back for a moment."""
        self._polling.reset()
        self._next_poll = 0.0
        self.more_may_wait = True

    def due_to_look(self, now: float) -> bool:
        """Whether the database is to be asked for work now: something rang, the last look found more, or it is time."""
        if self.database_blocked(now):
            return False
        if now < self._next_poll:
            return self.more_may_wait
        self._next_poll = now + self._polling.next()
        self.more_may_wait = True
        return True

    def check_version(self, now: float) -> bool:
        """Whether this version is allowed; read again at each reconnect and every hour."""
        if now >= self._next_version_check:
            self.database.check_version()
            self._next_version_check = now + config.versions_check_interval
            self.trouble.leave(REFUSED, "This version is allowed.")
        return REFUSED not in self.trouble

    def database_answers(self) -> None:
        """A call to the database came through: a trouble with it is over."""
        if DATABASE_AWAY in self.trouble:
            self.trouble.leave(DATABASE_AWAY, "The database answers again.")
            self._next_version_check = 0.0
        if DATABASE_REFUSES in self.trouble and not self.database.refuses:
            self.trouble.leave(DATABASE_REFUSES, "The database allows again what it refused.")

    def database_blocked(self, now: float) -> bool:
        """Whether the database is away or refuses something, and the pause after that is not over."""
        return self.trouble.blocks(DATABASE_AWAY, now) or self.trouble.blocks(DATABASE_REFUSES, now)

    def due_to_observe(self, now: float) -> bool:
        if now < self._next_observation or self.database_blocked(now):
            return False
        self._next_observation = now + self.settings.heartbeat_frequency / 2
        return True

    def rest(self, now: float, *, looking: bool) -> float:
        """Seconds until something is due by itself; the next poll counts only while the daemon looks for work."""
        due = [self._next_observation - now, self.trouble.next_try(now) + 0.01]
        if looking:
            due.append(self._next_poll - now)
        return max(0.0, min(due))

    def share_reads_well(self, now: float) -> bool:
        """Whether the share is no trouble, or its probe passes again."""
        if SHARE_AWAY not in self.trouble:
            return True
        if self.trouble.blocks(SHARE_AWAY, now):
            return False
        try:
            self.share.probe()
        except (ShareAway, ArchiveMissing) as exc:
            self.trouble.enter(SHARE_AWAY, str(exc), now)
            return False
        self.trouble.leave(SHARE_AWAY, "The shared folder is there again.")
        return True

    def disk_has_room(self, now: float, *folders: Path) -> bool:
        """Whether the disk is no trouble, or the disks of `folders` have room again."""
        if DISK_FULL not in self.trouble:
            return True
        if self.trouble.blocks(DISK_FULL, now):
            return False
        for folder in folders:
            with contextlib.suppress(OSError):
                usage = shutil.disk_usage(folder)
                if usage.free < min(max(self._needed_bytes, 1_000_000), usage.total // 2):
                    self.trouble.enter(DISK_FULL, f"{usage.free:,} bytes are free.", now)
                    return False
        self.trouble.leave(DISK_FULL, "There is space again.")
        self._needed_bytes = 0
        return True

    def _end(self) -> None:
        self.stop.set()
        self._beat_now.set()
        try:
            self.give_back()
        except Exception:
            log.exception("The %s daemon could not give back all it held", self.name)
        patience = clock.monotonic() + 0.5
        wait_for_futures([self._removing.submit(lambda: None)], 0.5)
        for pool in (self._pool, self._removing):
            pool.shutdown(wait=False, cancel_futures=True)
        for thread in self._threads:
            if not thread.name.endswith("commands"):
                thread.join(timeout=max(0.0, patience - clock.monotonic()))
        self.database.close()
        log.info("The %s daemon has ended.", self.name)

    def give_back(self) -> None:
        """End what runs and give back what is held, within `config.daemon_stop` seconds."""


def _remove_folder(work: Path) -> None:
    if not remove_tree(work):
        log.warning("Cannot remove the work folder %s: a file in it is in use. The next start tries again.", work)
