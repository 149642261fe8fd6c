"""Server, the façade that every face calls: submit, cases, cancel, retry, report, daemons.

A face never touches MongoDB or the shared folder itself. It calls a `Server` and hears back through one queue of events
(`gridcompute.events`). Documented names of attributes and methods stay; ``docs/names.md`` has the table.
"""

from __future__ import annotations

import contextlib
import getpass
import logging
import os
import platform
import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from gridcompute import clock, config, events
from gridcompute.daemons.loop import Orders
from gridcompute.daemons.process import run_daemon_process
from gridcompute.daemons.receive import run_daemon_receive
from gridcompute.daemons.supervisor import DaemonProcess
from gridcompute.errors import (
    ApplicationError,
    DatabaseAway,
    GridComputeError,
    InputError,
    NoGridError,
    ShareAway,
    ShareError,
    UsageError,
)
from gridcompute.grid import applications, cases
from gridcompute.grid.applications import Application
from gridcompute.grid.cases import Case, Party
from gridcompute.grid.database import Database, Doorbell, object_id
from gridcompute.grid.pins import Pins
from gridcompute.grid.settings import Settings, software_of
from gridcompute.grid.shared_folder import SharedFolder
from gridcompute.machine import environments, program
from gridcompute.machine.environments import Found
from gridcompute.machine.home import Home
from gridcompute.machine.locate import find_shared_folder, name_shared_folder
from gridcompute.machine.result_places import ResultPlaces
from gridcompute.report import write_report
from gridcompute.selection import SendRunner
from gridcompute.submission import Submission, Submitted, recover

log = logging.getLogger(__name__)

KeepRunning = Any
"""True, or anything whose state may change: a function, or an object with `get` such as a variable of Tk."""


def is_running(keep_running: KeepRunning) -> bool:
    """Whether the user still wants what a method with `keep_running` does."""
    if callable(keep_running):
        return bool(keep_running())
    return bool(keep_running.get() if hasattr(keep_running, "get") else keep_running)


def machine_name() -> str:
    """This computer's name, as Software_Per_Machine.csv lists it."""
    return platform.node() or "unknown"


def user_name() -> str:
    """The name of the person who is logged in."""
    try:
        return getpass.getuser()
    except (KeyError, ImportError, OSError):  # an account without a name, as containers have them
        return f"user{os.getuid()}" if hasattr(os, "getuid") else "user"


def check_grid(folder: Path) -> None:
    """Raise what is wrong with a shared folder that somebody chose; nothing if it is a grid's."""
    share = SharedFolder(folder)
    share.check()
    share.read_settings()


def check_choice() -> None:
    """`UsageError` where a grid that is chosen in the window would not be used, since another place names one."""
    try:
        named = name_shared_folder(program_folder=program_folder(), current_folder=Path.cwd(), environ=os.environ)
    except NoGridError:
        return
    raise UsageError(
        f"{named.source} names the grid {named.folder}, which comes before one that is chosen in the window. "
        "Change it there, or take it away, and start the program again."
    )


def program_folder() -> Path:
    """Where server.txt lies: beside the executable, or at the top of the source."""
    return program.place()


class Server:
    """Everything that a face may ask of a grid.

    `event_queue` is a `queue.Queue` of events. `dedicated_process` is the number of processes that this computer lends,
    or an object with `get` that tells it. The constructor reads nothing. `open` does, and `connect`, which also reaches
    the database; whoever calls neither has it done by the first property or method that needs it, with its errors.
    `folder` is what ``--server`` said, `machine` what ``--machine`` said.

    Methods may be called from any thread, but each `Server` only by one at a time.
    """

    def __init__(
        self,
        event_queue: queue.Queue[events.Event] | None = None,
        dedicated_process: Any = 0,
        *,
        folder: str | None = None,
        machine: str | None = None,
        home: Home | None = None,
        patience: float = config.db_patience,
    ):
        self.event_queue: queue.Queue[events.Event] = event_queue if event_queue is not None else queue.Queue()
        self.gui_dedicated_process = dedicated_process
        self.daemon_dedicated_process = 0
        self.exit_program = threading.Event()
        self.gui_answer: bool | None = None
        self.home = home or Home()
        self.patience = patience
        self.machine = machine or machine_name()
        self.party = Party(self.machine, user_name(), self.home.installation)
        self._folder = folder
        self._send = SendRunner(self.home)
        self._database: Database | None = None
        self._share: SharedFolder | None = None
        self._settings: Settings | None = None
        self._pins: Pins = {}
        self._daemons: dict[str, DaemonProcess] = {}
        self._activity: dict[str, tuple[int, int]] = {}
        self._left_to_others: set[str] = set()
        self.lending_rules: dict[str, Any] = {}
        self.watched = False
        """Whether somebody looks at what running cases use; set before `create_daemons`."""
        self._software: set[str] = set()
        self._scanned: dict[str, Application] = {}
        self._skipped: list[str] = []
        self._said: set[str] = set()

    # Documented properties.

    @property
    def share(self) -> SharedFolder:
        share = self._opened()._share
        assert share is not None
        return share

    @property
    def mongodb(self) -> Database:
        """The connection to the database."""
        if self._database is None:
            self.connect()
        assert self._database is not None
        return self._database

    @property
    def server_path(self) -> Path:
        return self.share.root

    @property
    def app_path(self) -> Path:
        return self.share.applications_path

    @property
    def settings_path(self) -> Path:
        return self.share.settings_path

    @property
    def grid_settings(self) -> Settings:
        """The parsed settings; `settings` has the documented dictionary of them."""
        settings = self._opened()._settings
        assert settings is not None
        return settings

    @property
    def settings(self) -> dict[str, str]:
        return self.grid_settings.documented()

    @property
    def server_functions(self) -> dict[str, dict[str, Any]]:
        """Application -> `path` of its folder, and whether it has `send`, `process`, `receive`."""
        return {
            name: {"path": str(one.path), "send": one.send, "process": one.process, "receive": one.receive}
            for name, one in self._opened()._scanned.items()
        }

    @property
    def software_allowed_to_run(self) -> set[str]:
        """The applications that this machine may process, as Software_Per_Machine.csv was last read."""
        return self._opened()._software

    def _opened(self) -> Server:
        if self._share is None:
            self.open()
        return self

    # Opening.

    def open(self) -> None:
        """Find the grid and read its settings, applications and table of machines; no database is needed."""
        root = find_shared_folder(
            self._folder,
            program_folder=program_folder(),
            current_folder=Path.cwd(),
            environ=os.environ,
            preference=self.home.preferences.load().get("shared folder"),
        )
        self._share = None  # until all of it is read: what comes after a failure begins anew
        share = SharedFolder(root)
        share.check()
        self._settings = share.read_settings()
        self._scan(share)
        self._software = set(software_of(share.read_software(), self.machine) or ())
        self._share = share

    def connect(self) -> None:
        """`open`, then reach the database, check the version, and put right what an earlier crash left.

        Raises the errors of `gridcompute.errors` after at most about `patience` seconds.
        """
        self._opened()
        begin, pauses = clock.monotonic(), clock.Backoff(0.2, 1.0)
        while True:
            try:
                self.access_mongodb()
                self.handle_software_permissions()
                self.mongodb.ensure_indexes()
                self._pins = self.mongodb.pins()
                break
            except DatabaseAway:  # a connection that was cut; one that can't be made has taken its time by now
                if clock.monotonic() - begin > self.patience / 4:
                    raise
                clock.rest(pauses.next())
        for sentence in recover(self.share, self.mongodb, self.party, self.home.journal):
            self.hear(events.warning(sentence))

    def get_settings(self) -> None:
        """Read settings.txt."""
        self._settings = self.share.read_settings()

    def get_software_allowed_to_run(self) -> set[str]:
        """Read Software_Per_Machine.csv: the applications that this machine may process."""
        self._software = set(software_of(self.share.read_software(), self.machine) or ())
        return self._software

    def machines_for(self, application: str) -> list[str]:
        """Names of the machines that may process `application`."""
        return sorted(name for name, allowed in self.share.read_software().items() if application in allowed)

    def scan_applications(self) -> dict[str, dict[str, Any]]:
        """Read which applications the shared folder has, and which scripts each of them has."""
        self._scan(self.share)
        return self.server_functions

    def _scan(self, share: SharedFolder) -> None:
        try:
            scan = applications.scan(share.applications_path)
        except OSError as exc:
            raise ShareError(
                f"Cannot read the applications in {share.applications_path}: {exc.strerror or exc}. Make this folder "
                "readable, or copy it from template/Shared_Folder."
            ) from exc
        for message in scan.warnings:
            if message not in self._skipped:
                self.hear(events.warning(message))
        self._scanned, self._skipped = scan.applications, scan.warnings

    def _applications_with(self, script: str) -> dict[str, str]:
        return {
            name: str(Path(one["path"]) / f"{script}.py") for name, one in self.server_functions.items() if one[script]
        }

    def applications_with_send(self) -> dict[str, str]:
        """Application -> path of its send.py."""
        return self._applications_with("send")

    def applications_with_process(self) -> dict[str, str]:
        """Application -> path of its process.py."""
        return self._applications_with("process")

    def applications_with_receive(self) -> dict[str, str]:
        """Application -> path of its receive.py."""
        return self._applications_with("receive")

    def description(self, application: str) -> str:
        """What the author says of an application, in its application.txt."""
        try:
            return self._application(application).settings.description
        except GridComputeError as exc:
            if str(exc) not in self._said:
                self._said.add(str(exc))
                self.hear(events.warning(str(exc)))
            return ""

    def own_folder(self, area: str) -> Path:
        """My folder in `area`, which is Cases or Results; it may not be there yet."""
        return self.share.own_folder(area, self.party.user, self.party.machine)

    def results_folder(self, beginning: str) -> Path:
        """The folder where the results of a case lie: where receive.py put them, or on the share before that.

        UsageError where there are none yet, or where nobody saw what receive.py wrote.
        """
        case = self.mongodb.find(beginning)
        if case.status == cases.PROCESSED:
            return self.own_folder("Results")
        if case.status != cases.RECEIVED:
            raise UsageError(
                f"Case {case.id} has no results yet: it is '{case.status}'. They come when it is processed."
            )
        folder = ResultPlaces(self.home.path).find(str(case.id))
        if folder is None:
            raise UsageError(
                f"Where receive.py of {case.application} put the results of case {case.id} is not known here: it wrote "
                "no file itself, or they were received by another installation. See what the application says of it."
            )
        return folder

    def input_place(self, beginning: str) -> Path:
        """The archive on the share with the input of a case; UsageError if it is removed."""
        case = self.mongodb.find(beginning)
        if case.input is None or case.files == "removed":
            raise UsageError(f"The input of case {case.id} is not kept: it is removed after 'received'.")
        return self.share.resolve(case.input.path)

    def access_mongodb(self) -> None:
        """Connect to the database and prove that user and password are right."""
        if self._database is not None:
            self._database.close()
        self._database = Database(self.grid_settings, patience=max(1.0, self.patience - 5.0))
        self._database.ping()

    def handle_software_permissions(self) -> None:
        """Check that the database allows this version; a warning is an event, a refusal `VersionRefused`."""
        message = self.mongodb.check_version()
        if message:
            self.hear(events.warning(message))

    def allow_this_version(self) -> None:
        """Let the database, which this program runs itself, allow the program's version; others stay as they are."""
        self.access_mongodb()
        versions = self.mongodb.versions()
        if config.version not in {one["_id"] for one in versions}:
            self.mongodb.set_versions([*versions, {"_id": config.version, "status": "allowed"}])

    def hear(self, event: events.Event) -> None:
        """Take an event, from any thread: written to the log, noted, and passed on to the face."""
        kind = event.get("type")
        if kind == "activity":
            self._activity[event["daemon"]] = (event["running"], event["waiting"])
        elif kind == "left to others":
            self._left_to_others = set(event["applications"])
        elif kind in ("warning", "error", "critical"):
            log.log(logging.WARNING if kind == "warning" else logging.ERROR, "%s", event["message"])
            if event.get("details"):
                log.error("%s", event["details"])
        elif kind in ("info", "log_file_only"):
            log.info("%s", event["message"])
        self.event_queue.put(event)

    # Sending cases.

    def _application(self, name: str) -> Application:
        scanned = self._opened()._scanned
        if name not in scanned:
            known = ", ".join(sorted(scanned)) or "none"
            why = "".join(f" {sentence}" for sentence in self._skipped if f"'{name}'" in sentence)
            raise UsageError(
                f"There is no application '{name}' in {self.app_path}.{why} Applications of this grid: {known}."
            )
        return scanned[name]

    def doubts_about(self, application: str) -> list[str]:
        """Sentences on why cases of an application may wait for long; it may be submitted to all the same."""
        chosen = self._application(application)
        doubts = []
        if not chosen.process:
            doubts.append(
                f"The application '{application}' has no process.py: its cases wait until its author adds it."
            )
        elif fault := applications.fault_of(chosen.path, "process"):
            doubts.append(f"The application '{application}' is broken, its cases will fail: {fault} Tell its author.")
        if not chosen.receive:
            doubts.append(f"The application '{application}' has no receive.py: its results can't be received.")
        elif fault := applications.fault_of(chosen.path, "receive"):
            doubts.append(f"The results of '{application}' can't be received: {fault} Tell its author.")
        try:
            self.share.read_application_settings(application)
        except GridComputeError as exc:
            doubts.append(str(exc))
        if not self.machines_for(application):
            doubts.append(
                f"No machine may process '{application}': its cases wait until the administrator writes a 1 for it in "
                f"{self.share.software_path}."
            )
        return doubts

    def lenders(self, application: str) -> list[str]:
        """Names of the machines that lend a process at present and may process `application`."""
        alive = 2 * self.mongodb.lease  # seconds; each says so every heartbeat
        return [
            one["machine"]
            for one in self.mongodb.present()
            if one["age"] < alive and one["offered"] > 0 and application in one["applications"]
        ]

    def add_cases(
        self, files_selected: Iterable[str | Path], application: str, keep_running: KeepRunning = True
    ) -> list[list[str]]:
        """The cases that the application's send.py makes of the selected files, in order; each is an event too.

        A file on which send.py fails is an `error` event and is left out, the others are not lost. Raises `UsageError`
        for an unknown application and `ApplicationError` for one without send.py.
        """
        found, errors = self.select_cases(files_selected, application, keep_running)
        for exc in errors:
            self.hear(events.error(str(exc), details=getattr(exc, "traceback", "")))
        return found

    def select_cases(
        self, files_selected: Iterable[str | Path], application: str, keep_running: KeepRunning = True
    ) -> tuple[list[list[str]], list[GridComputeError]]:
        """`add_cases`, with the errors returned in place of events."""
        chosen = self._application(application)
        if not chosen.send:
            raise ApplicationError(
                f"The application '{application}' has no send.py in {chosen.path}: nothing can be submitted to it. Its "
                "author adds that script."
            )
        if self._database is not None:
            with contextlib.suppress(DatabaseAway):  # what was pinned before holds
                self._pins = self.mongodb.pins()
        found: list[list[str]] = []
        errors: list[GridComputeError] = []
        for file in files_selected:
            if not is_running(keep_running):
                break
            try:
                path = Path(file).absolute()
                if not path.exists():
                    raise InputError(f"There is no file {path}. Check its name.")
                selected = self._send.run(chosen, path, self._pins, lambda: is_running(keep_running))
            except (ApplicationError, InputError) as exc:
                errors.append(exc)
                continue
            for files in selected:
                found.append(files)
                self.hear(events.add_case(application, files, source=str(path), size=total_size(files)))
        return found, errors

    def submit_to_server(
        self,
        cases_to_submit: Sequence[Sequence[str | Path]],
        application: str,
        keep_running: KeepRunning = True,
        *,
        priority: int = config.default_priority,
    ) -> Submitted:
        """Zip input files to the shared folder and enter the cases in the database.

        Events tell the bytes copied and each submitted case. What could not be submitted is told in the result, and
        nothing of it is left on the share.
        """
        self._application(application)
        total = sum(total_size(files) for files in cases_to_submit)
        self.hear(events.change_progress_max(total, unit="B"))
        lock = threading.Lock()
        copied = 0

        def on_bytes(count: int) -> None:
            nonlocal copied
            with lock:
                copied += count
                self.hear(events.change_progress(copied, "copying"))

        submission = Submission(self.share, self.mongodb, self.party, self.home.journal)
        try:
            return submission.submit(
                cases_to_submit,
                application,
                priority=priority,
                keep_running=lambda: is_running(keep_running),
                on_bytes=on_bytes,
                on_case=lambda index, case_id: self.hear(events.submitted_case(index, case_id)),
                patience=self.patience,
            )
        finally:
            self.hear(events.close_progress())

    # Looking at cases and acting on them.

    def cases(self, *, everybody: bool = False) -> list[Case]:
        """My cases that are not received yet, oldest first; with `everybody` the whole group's, received ones too."""
        if everybody:
            return self.mongodb.cases()
        return self.mongodb.cases(user=self.party.user, unreceived=True)

    def refresh_my_cases(self, keep_running: KeepRunning = True) -> list[Case]:
        """Read *my cases* anew; each is an event."""
        found = self.cases()
        for case in found:
            if not is_running(keep_running):
                break
            self.hear(events.add_my_case(case_row(case)))
        return found

    def look(self) -> dict[str, Any]:
        """What *my cases* shows, in one value: `rows`, and how many are `to_process` and `to_receive`.

        The rows are those of the cases that are not received, oldest first, then of those received lately.
        """
        rows = [case_row(case) for case in self.mongodb.shown(self.party.user)]
        waiting = self._place(rows)
        running = sum(row["status"] == cases.PROCESSING for row in rows)
        processed = sum(row["status"] == cases.PROCESSED for row in rows)
        return {"rows": rows, "to_process": waiting + running, "to_receive": processed}

    def rows(self, *, everybody: bool = False) -> list[dict[str, Any]]:
        """`cases` as rows: `case_row`, with the submitter's `user` and `machine`."""
        found = [
            {**case_row(case), "user": case.origin_user, "machine": case.origin_machine}
            for case in self.cases(everybody=everybody)
        ]
        self._place(found)
        return found

    def _place(self, rows: Iterable[dict[str, Any]]) -> int:
        """Give the rows that wait their place in the queue; how many wait."""
        waiting = [row for row in rows if row["status"] == cases.TO_PROCESS]
        places = self.mongodb.positions() if waiting else {}
        for row in waiting:
            row["position"] = places.get(row["id"], 0)
        return len(waiting)

    def look_at_grid(self, hours: int = 12) -> dict[str, Any]:
        """Who is there, the queue of each application, and the cases that each machine finished in the last hours.

        `machines` holds those that gave a sign of life and those that Software_Per_Machine.csv names; `age` is the
        seconds since the last sign, None for none. `history` holds machine, hour (UTC) and number.
        """
        machines = self.mongodb.present()
        there = {one["machine"].casefold() for one in machines}
        for name, allowed in self.share.read_software().items():
            if name.casefold() not in there:
                applications_of = sorted(allowed)
                machines.append(
                    {"machine": name, "user": "", "offered": 0, "busy": 0, "age": None, "applications": applications_of}
                )
        now, history = self.mongodb.finished_by_hour(hours)
        return {"machines": machines, "queue": self.mongodb.queue(), "history": history, "now": now}

    def create_doorbell(self) -> None:
        """Hear the event ``cases changed`` whenever a case of the grid changes, where the database offers that."""
        bell = Doorbell(
            self.mongodb, None, lambda status: self.event_queue.put(events.cases_changed()), self.exit_program
        )
        threading.Thread(target=bell.run, name="cases-doorbell", daemon=True).start()

    def cancel(self, beginning: str) -> Case:
        """Cancel the case whose id begins so; UsageError if it is not mine or is received or being received."""
        case = self.mongodb.find(beginning)
        if not self.mongodb.cancel(case.id, self.party.user):
            raise UsageError(self._why_not("cancelled", case))
        return case

    def retry(self, beginning: str) -> Case:
        """Try a case in error or cancelled again; UsageError if it is neither, not mine, or its files are removed."""
        case = self.mongodb.find(beginning)
        if not self.mongodb.retry(case.id, self.party.user):
            raise UsageError(self._why_not("retried", case))
        return case

    def remove(self, beginning: str) -> Case:
        """Give up a case in error or cancelled: its archives are removed from the shared folder, and it leaves my list.

        The receive daemon does it within a minute while an agent or window of mine runs on the machine that submitted
        it, else when one starts. One that was given up before stays so. UsageError if it is neither, or not mine.
        """
        case = self.mongodb.find(beginning)
        if not self.mongodb.begin_removal(case.id, self.party.user) and not self._is_given_up(case):
            raise UsageError(self._why_not("removed", case))
        return case

    def _is_given_up(self, case: Case) -> bool:
        now = self.mongodb.case(case.id) or case
        mine = now.origin_user == self.party.user
        return mine and now.files != "kept" and now.kind in (cases.ERROR, cases.CANCELLED)

    def _why_not(self, what: str, case: Case) -> str:
        now = self.mongodb.case(case.id) or case
        if now.origin_user != self.party.user:
            return f"Case {case.id} can't be {what}: it belongs to {now.origin_user}. Ask {now.origin_user} to do it."
        if now.format > config.case_format:
            return (
                f"Case {case.id} can't be {what}: a newer version of {config.program_name} wrote it than this one "
                f"({config.version}). Update the program, or ask somebody who has the newer one."
            )
        if now.files != "kept":
            advice = {
                "removed": "There is nothing left to remove.",
                "cancelled": "There is nothing left to cancel.",
            }.get(what, "Submit it again.")
            return f"Case {case.id} can't be {what}: its archives are removed ({now.status}). {advice}"
        if now.receiver:
            return f"Case {case.id} can't be {what}: its results are just being received."
        if what == "removed" and now.kind in (cases.TO_PROCESS, cases.PROCESSING, cases.PROCESSED):
            return f"Case {case.id} can't be removed: its status is '{now.status}'. Cancel it first."
        return f"Case {case.id} can't be {what}: its status is '{now.status}'."

    def case_log(self, beginning: str) -> Case:
        """One case with its output and traceback."""
        return self.mongodb.find(beginning)

    def statuses(self, ids: Sequence[str]) -> dict[str, str]:
        """Id -> status of those of `ids` that exist."""
        return {str(one): status for one, status in self.mongodb.statuses([object_id(i) for i in ids]).items()}

    def create_report(self, file_report: str | Path, keep_running: KeepRunning = True) -> int:
        """Write one row for each case of the group to `file_report`; returns the number of rows."""
        return write_report(Path(file_report), self.mongodb.each_case(), lambda: is_running(keep_running))

    # Daemons.

    def orders(self) -> Orders:
        """What a daemon that starts now is told."""
        return Orders(
            root=str(self.share.root),
            settings=self.grid_settings,
            party=Party(self.party.machine, self.party.user, self.party.installation, cases.new_token()),
            home=str(self.home.path),
            processes=self.daemon_dedicated_process,
            options={"rules": self.lending_rules, "watched": self.watched},
        )

    def create_daemons(self, *, process: bool = True, receive: bool = True) -> None:
        """Start daemon process and daemon receive, each a process of its own."""
        self.daemon_dedicated_process = self._dedicated()
        if process and "process" not in self._daemons:
            self._daemons["process"] = self._daemon("process", run_daemon_process)
            self._daemons["process"].start()
        if receive and "receive" not in self._daemons:
            self._daemons["receive"] = self._daemon("receive", run_daemon_receive)
            self._daemons["receive"].start()

    def _daemon(self, name: str, target: Callable[[Orders, Connection], None]) -> DaemonProcess:
        return DaemonProcess(name, target, orders=self.orders, hear=self.hear, stopping=self.exit_program)

    def _dedicated(self) -> int:
        chosen = self.gui_dedicated_process
        return max(0, int(chosen.get() if hasattr(chosen, "get") else chosen))

    def notify_number_process_daemon(self, *_: Any) -> None:
        """Tell daemon process how many processes are dedicated now: raised it starts or resumes, lowered it pauses."""
        self.daemon_dedicated_process = self._dedicated()
        if "process" in self._daemons:
            self._daemons["process"].send("processes", self.daemon_dedicated_process)

    def set_lending_rules(self, rules: dict[str, Any]) -> None:
        """When this computer lends its processes: the fields of `gridcompute.machine.lending.Rules`."""
        self.lending_rules = rules
        if "process" in self._daemons:
            self._daemons["process"].send("rules", rules)

    def answer(self, yes: bool) -> None:
        """The user's answer to the event ``terminate process?``."""
        self.gui_answer = yes
        if "process" in self._daemons:
            self._daemons["process"].send("answer", yes)

    def act_on_process(self, what: str, case_id: str) -> None:
        """`what` is pause, resume or terminate: one running case of this machine."""
        if what not in ("pause", "resume", "terminate"):
            raise UsageError(f"A running case can be paused, resumed or terminated, not '{what}'.")
        if "process" in self._daemons:
            self._daemons["process"].send(what, case_id)

    def environments(self) -> list[Found]:
        """The environments that this machine's applications ask for, by name, then those that lie here unused."""
        return environments.survey(self._processed_here(), self.home.path)

    def _processed_here(self) -> dict[str, Path]:
        """Application -> folder of those that this machine may process, as the share has them now."""
        mine = software_of(self.share.read_software(), self.machine) or ()
        try:
            found = applications.scan(self.share.applications_path).applications
        except OSError as exc:
            raise ShareAway(f"Cannot read the applications in {self.app_path}: {exc.strerror or exc}.") from exc
        return {name: found[name].path for name in sorted(found) if name in mine and found[name].process}

    def make_environment_anew(self, application: str) -> None:
        """Have the environment of an application removed and made again, or tried again now.

        Daemon process does it as soon as no case runs in it. UsageError where the application asks for none here.
        """
        path = self._processed_here().get(application)
        try:
            head = environments.head_of(path) if path is not None else None
            if head is None:
                raise UsageError(f"The application '{application}' asks for no environment on this computer any more.")
            environments.Environment.of(application, head, self.home.path).ask_anew()
        except OSError as exc:
            raise UsageError(
                f"The environment of '{application}' can't be made anew: {exc}. See who may read {path} and write "
                f"{self.home.path}."
            ) from exc
        if "process" in self._daemons:
            self._daemons["process"].send("environments")

    def remove_environment(self, folder: Path) -> None:
        """Remove an environment that no application of this machine asks for; UsageError for another one."""
        unused = [one.folder for one in self.environments() if one.state == environments.UNUSED]
        if folder not in unused:
            raise UsageError(f"The environment in {folder} is used here: it can be made anew, not removed.")
        try:
            environments.remove(folder)
        except OSError as exc:
            raise UsageError(f"The environment in {folder} can't be removed: {exc}. See what uses it.") from exc

    def idle(self) -> bool:
        """Whether nothing that this computer may process or receive waits or runs."""
        if any(running or waiting for running, waiting in self._activity.values()):
            return False
        database = self.mongodb
        if self.daemon_dedicated_process:
            mine = self.software_allowed_to_run & set(self.applications_with_process()) - self._left_to_others
            if mine and database.waiting(mine):
                return False
        return not database.to_receive(self.party) and not database.running(self.party) and not self._removing()

    def _removing(self) -> bool:
        return bool(self.mongodb.removals(self.party))

    def exit_processes(self) -> None:
        """End both daemons: unfinished cases go back. Takes at most about 10 seconds; may be called twice."""
        self.exit_program.set()
        for daemon in self._daemons.values():
            daemon.ask_to_stop()
        deadline = clock.monotonic() + config.daemon_stop + 2.0
        for daemon in self._daemons.values():
            daemon.wait(max(0.1, deadline - clock.monotonic()))
        self._daemons.clear()

    def close(self) -> None:
        """Give back everything that is open; may be called twice."""
        self.exit_processes()
        self._send.close()
        if self._database is not None:
            self._database.close()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def total_size(files: Sequence[str | Path]) -> int:
    """Bytes of the files and folders of a case; what can't be read counts nothing here."""
    total = 0
    for name in files:
        path = Path(name)
        with contextlib.suppress(OSError):
            if path.is_dir():
                total += sum(one.stat().st_size for one in path.rglob("*") if one.is_file())
            else:
                total += path.stat().st_size
    return total


def case_row(case: Case) -> dict[str, Any]:
    """What the list of *my cases* shows of a case; moments are aware datetimes or None."""
    return {
        "id": str(case.id),
        "application": case.application,
        "status": case.status,
        "processor": case.processor_machine,
        "attempt": case.attempt,
        "priority": case.priority,
        "position": 0,
        "submitted": case.submitted,
        "started": case.started,
        "returned": case.returned,
        "received": case.received,
        "files": case.names,
        "count": case.count,
        "progress": case.progress if case.status == cases.PROCESSING else None,
        "error": (case.error or {}).get("message", ""),
    }
