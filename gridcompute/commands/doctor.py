"""``gridcompute doctor``: looks at everything a grid needs and says what was found and what to do about it.

Each check stands for itself: one that fails stops only those that need what it looked for. Whatever hangs, a dead
network mount too, is left after a few seconds.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import secrets
import shutil
import stat
import statistics
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from gridcompute import clock, config
from gridcompute.commands.words import number_of
from gridcompute.errors import (
    DatabaseError,
    DatabaseRefused,
    EnvironmentMissing,
    GridComputeError,
    NoGridError,
    SettingsError,
    VersionRefused,
)
from gridcompute.grid import cases, trouble
from gridcompute.grid.applications import Application, fault_of, function_names, scan
from gridcompute.grid.database import Database, object_id
from gridcompute.grid.pins import refusal
from gridcompute.grid.settings import Settings, software_of
from gridcompute.grid.shared_folder import FREE_UNKNOWN, SharedFolder
from gridcompute.machine import environments
from gridcompute.machine.home import Home
from gridcompute.machine.locate import name_shared_folder
from gridcompute.server import machine_name, program_folder, user_name

log = logging.getLogger(__name__)

OK, WARNING, ERROR = "ok", "warning", "error"

share_patience = 9.0
"""Seconds for all that is asked of the shared folder."""

database_patience = 8.0
"""Seconds for all that is asked of the database; one server that does not answer is waited for half as long."""

_slow_share = 2.0  # seconds for writing, renaming, reading and removing one small file
_slow_database = 0.2  # seconds for one question
_clock_hint = 60.0  # seconds between two clocks that are worth a hint
_little_space, _no_space = 1_000_000_000, 100_000_000  # bytes
_much_waits = 10_000_000_000  # bytes of results that one origin has not received
_oldest_server = (4, 4)


@dataclass(frozen=True)
class Check:
    """What one check found. `advice` is empty where nothing is to be done."""

    name: str
    state: str
    found: str
    advice: str = ""


def run(*, server: str | None, machine: str | None, home: Home, as_json: bool) -> int:
    """Print all checks; 0 without errors, 1 with one, 2 where the grid can't be reached at all."""
    examination = Examination(server, machine or machine_name(), home)
    checks: list[Check] = []
    for check in examination.checks():
        checks.append(check)
        if not as_json:
            print(_text_of(check), flush=True)
    if as_json:
        print(json.dumps({"checks": [asdict(check) for check in checks]}, indent=2, ensure_ascii=False))
    else:
        print(_summary(checks))
    if not examination.reached:
        return 2
    return int(any(check.state == ERROR for check in checks))


def _text_of(check: Check) -> str:
    lines = [f"{check.state:7}  {check.name:27}  {check.found}"]
    if check.advice:
        lines.append(f"{'':38}-> {check.advice}")
    return "\n".join(lines)


def _summary(checks: Iterable[Check]) -> str:
    states = [check.state for check in checks]
    errors, warnings = states.count(ERROR), states.count(WARNING)
    if not errors and not warnings:
        return f"All {len(states)} checks are good."
    return f"{len(states)} checks: {number_of(errors, 'error')}, {number_of(warnings, 'warning')}."


class Examination:
    """The checks of one grid, seen from this computer as `machine`.

    `reached` tells, after the checks, whether folder, settings and database could be used.
    """

    def __init__(self, server: str | None, machine: str, home: Home):
        self.server, self.machine, self.home = server, machine, home
        self.reached = False
        self._share: SharedFolder | None = None
        self._settings: Settings | None = None
        self._applications: dict[str, Application] = {}
        self._processed_by: dict[str, list[str]] = {}
        self._environments: list[Path | None] = []  # of the applications, in use or to be made
        self._file_time: float | None = None  # the share's moment of the file that was written there
        self._file_age: float = 0.0  # monotonic moment at which that file was written
        self._free_on_share: int | None = None

    def checks(self) -> Iterator[Check]:
        """All checks, in the order in which a person would look; each as soon as it is known."""
        yield from self._of_the_share(_Patience(share_patience, "the shared folder"))
        if self._settings is not None:
            yield from self._of_the_database(_Patience(database_patience, "the database"))
        yield from self._this_computer()

    def _of_the_share(self, patience: _Patience) -> Iterator[Check]:
        yield (folder := patience.ask(self._folder))
        if folder.state == ERROR:
            return
        yield patience.ask(self._settings_file)
        for check in (self._software, self._look_at_applications, self._permissions, self._delays, self._space):
            yield from patience.ask_each(check)

    def _of_the_database(self, patience: _Patience) -> Iterator[Check]:
        assert self._settings is not None
        try:
            database = Database(self._settings, patience=database_patience / 2)
        except (DatabaseError, SettingsError) as exc:  # an address that is none; a password that is nowhere
            yield _problem("database", exc)
            return
        yield (reached := patience.ask(partial(self._reach, database)))
        self.reached = reached.state != ERROR
        if self.reached:
            for check in (
                self._rights,
                self._version,
                self._pins,
                self._kind,
                self._clocks,
                self._results,
                self._waiting,
            ):
                yield from patience.ask_each(partial(check, database))
        threading.Thread(target=database.close, daemon=True).start()  # a connection that hangs keeps nobody

    # The shared folder.

    def _folder(self) -> Check:
        name = "shared folder"
        try:
            named = name_shared_folder(
                self.server,
                program_folder=program_folder(),
                current_folder=Path.cwd(),
                environ=os.environ,
                preference=self.home.preferences.load().get("shared folder"),
            )
        except NoGridError as exc:
            return _problem(name, exc)
        source = named.source[0].lower() + named.source[1:] if named.source.startswith("The ") else named.source
        try:
            share = SharedFolder(named.folder)
            share.check()
        except GridComputeError as exc:
            check = _problem(name, exc)
            return Check(name, ERROR, f"{check.found} (named by {source})", check.advice)
        self._share = share
        return Check(name, OK, f"{named.folder}, named by {source}")

    def _settings_file(self) -> Check:
        assert self._share is not None
        name = "settings.txt"
        try:
            found = self._settings = self._share.read_settings()
        except GridComputeError as exc:
            return _problem(name, exc)
        text = f"user group {found.user_group}, instance {found.instance}"
        if found.unknown:
            return Check(
                name,
                WARNING,
                f"{text}; unknown: {', '.join(found.unknown)}",
                "These lines are not used by this version of the program: look for a mistake in their names.",
            )
        return Check(name, OK, text)

    def _software(self) -> Iterator[Check]:
        """Which applications this machine may process, and whether the table fits the applications."""
        assert self._share is not None
        name = "Software_Per_Machine.csv"
        try:
            table = self._share.read_software()
            mine = software_of(table, self.machine)
        except GridComputeError as exc:
            yield _problem(name, exc)
            return
        for machine, applications in table.items():
            for application in applications:
                self._processed_by.setdefault(application, []).append(machine)
        if mine is None:
            yield Check(
                name,
                WARNING,
                f"{self.machine} is not named: it may submit and receive, and processes nothing",
                f"To let it process, add a row for {self.machine} to {self._share.software_path}, or give the name "
                "that stands there by --machine.",
            )
        else:
            listed = ", ".join(sorted(mine)) or "nothing"
            yield Check(name, OK, f"{self.machine} may process {listed}; {number_of(len(table), 'machine')} named")

    def _look_at_applications(self) -> Iterator[Check]:
        assert self._share is not None
        try:
            found = scan(self._share.applications_path)
        except OSError as exc:
            yield Check(
                "applications",
                ERROR,
                f"Cannot read {self._share.applications_path}: {trouble.words(exc)}",
                "Make the folder Settings/Applications readable, or copy it from template/Shared_Folder.",
            )
            return
        self._applications = found.applications
        for message in found.warnings:
            yield Check("applications", WARNING, *_split(message))
        if not found.applications:
            yield Check("applications", WARNING, "there is none", "Copy one from template/Shared_Folder.")
        for application in found.applications.values():
            yield self._look_at(application)
            yield from self._environment_of(application)
        yield from self._unused_environments()
        for name in sorted(set(self._processed_by) - set(found.applications)):
            yield Check(
                f"application {name}",
                WARNING,
                "Software_Per_Machine.csv names it, and there is no such application",
                f"Correct the name in the first row, or add the folder {self._share.applications_path / name}.",
            )

    def _look_at(self, application: Application) -> Check:
        """Scripts that can be read and define their function; settings; a machine that processes it."""
        name, path = f"application {application.name}", application.path
        there = {script: getattr(application, script) for script in function_names}
        found = ", ".join(f"{script}.py" for script, is_there in there.items() if is_there)
        faults = [fault for script, is_there in there.items() if is_there and (fault := fault_of(path, script))]
        try:
            unknown = application.settings.unknown
        except (SettingsError, OSError) as exc:
            faults.append(str(exc))
            unknown = ()
        if faults:
            return Check(name, ERROR, " ".join(faults), f"Its author corrects it in {application.path}.")
        missing = [f"{script}.py" for script, is_there in there.items() if not is_there]
        if missing:
            advice = "Cases can't be submitted, processed or received without send.py, process.py or receive.py."
            return Check(name, WARNING, f"{found}; without {', '.join(missing)}", advice)
        if unknown:
            advice = "These lines are not used: the names are 'time limit', 'attempts', 'processes' and 'description'."
            return Check(name, WARNING, f"application.txt has unknown lines: {', '.join(unknown)}", advice)
        machines = self._processed_by.get(application.name, [])
        if not machines:
            advice = "Its cases wait: write a 1 for it in the row of a machine in Software_Per_Machine.csv."
            return Check(name, WARNING, "no machine may process it", advice)
        shown = ", ".join(sorted(machines)[:5]) + (f" and {len(machines) - 5} more" if len(machines) > 5 else "")
        return Check(name, OK, f"{found}; processed by {shown}")

    def _environment_of(self, application: Application) -> Iterator[Check]:
        """For an application with needs of its own: whether this computer has its environment."""
        name = f"environment of {application.name}"
        try:
            found = environments.examine(application.name, application.path, self.home.path)
            if found is None:
                return
            self._environments.append(found.folder)
            if found.state == environments.READY:
                needs = ", ".join(found.packages) or "no packages"
                anew = "; it is made anew once no case runs in it" if found.asked_anew else ""
                size = f", {_size(found.size)}" if found.size is not None else ""
                yield Check(name, OK, f"Python {found.python} with {needs}, in {found.folder}{size}{anew}")
            elif found.state == environments.MAKING:
                yield Check(name, OK, f"it is being made now, in {found.folder}")
            elif found.state == environments.FAILED:
                yield Check(name, ERROR, *_split(found.message))
            else:
                uv = environments.find_uv()
                yield Check(name, OK, f"not made yet; {uv} makes it when this computer is to process its cases")
        except FileNotFoundError:
            return  # said already
        except (EnvironmentMissing, OSError) as exc:
            yield Check(name, ERROR, *_split(str(exc)))

    def _unused_environments(self) -> Iterator[Check]:
        """What lies here of earlier heads, of applications that are gone, or of other grids."""
        unused = list(environments.unused(self.home.path, self._environments))
        if unused:
            size = _size(sum(one.size or 0 for one in unused))
            names = ", ".join(sorted({one.application for one in unused}))
            found = f"{size} in {self.home.path / 'environments'}, of {names}"
            yield Check("environments not used", OK, found, "Remove them in the window: My processes, Environments.")

    def _permissions(self) -> Iterator[Check]:
        """Whether this user, no administrator, could change what everybody's computer runs."""
        assert self._share is not None
        name, path = "rights on Settings", self._share.settings_path
        try:
            open_to_all = [one for one in _what_decides(path.parent) if _everybody_may_write(one)]
            writable = any(may_write(one) for one in _what_decides(path.parent) if one.is_file())
        except OSError as exc:
            yield Check(name, OK, f"could not be asked ({trouble.words(exc)})")
            return
        if open_to_all:
            more = f" and {len(open_to_all) - 1} more" if len(open_to_all) > 1 else ""
            yield Check(
                name,
                WARNING,
                f"every user may change {open_to_all[0]}{more}, which decides what runs on every computer of the grid",
                f"Give ordinary users the right to read alone: chmod -R o-w '{path.parent}'. Or pin the applications.",
            )
        elif not writable:
            yield Check(name, OK, "this user may read and not write")
        elif _is_administrator_of(path):
            yield Check(name, OK, "this user may write, as its owner or administrator")
        else:
            yield Check(
                name,
                WARNING,
                f"this user ({user_name()}) may change {path.parent}, whose scripts run on every computer of the grid",
                "If this user is no administrator of the grid, give ordinary users the right to read there alone.",
            )

    def _delays(self) -> Iterator[Check]:
        """Publish, fetch and remove a small archive, as a case does, in both areas."""
        assert self._share is not None
        for area in ("Cases", "Results"):
            try:
                times = self._publish_and_fetch(self._share, area)
            except GridComputeError as exc:
                yield _problem(f"writing to {area}", exc)
                continue
            except OSError as exc:
                yield Check(
                    f"writing to {area}", ERROR, trouble.words(exc), "See whether this computer's disk is full."
                )
                continue
            total = sum(times.values())
            found = ", ".join(f"{what} {_milliseconds(seconds)}" for what, seconds in times.items())
            slow = "The network or the file server is slow: small cases take longer. Results are not at risk."
            yield Check(f"writing to {area}", *((WARNING, found, slow) if total > _slow_share else (OK, found)))

    def _publish_and_fetch(self, share: SharedFolder, area: str) -> dict[str, float]:
        """The seconds of each step for one small file."""
        watch = _Stopwatch()
        with tempfile.TemporaryDirectory(dir=self.home.work, prefix="doctor-") as folder:
            small, back = Path(folder) / "doctor.txt", Path(folder) / "doctor.zip"
            small.write_text("gridcompute doctor looks whether the share works; it removes this file.\n")
            watch.begin()
            stem = f"doctor-{secrets.token_hex(4)}"
            prepared = share.prepare(area, user_name(), self.machine, stem, [small])
            watch.lap("write")
            try:
                share.publish(prepared)
                watch.lap("rename")
                self._note_clock(share.resolve(prepared.path))
                watch.begin()
                share.fetch(prepared.path, prepared.size, prepared.sha256, back, patience=2.0)
                watch.lap("read")
            finally:
                share.discard(prepared)
                watch.begin()
                share.remove(prepared.path)
                watch.lap("remove")
        return watch.laps

    def _note_clock(self, file: Path) -> None:
        self._file_time, self._file_age = file.stat().st_mtime, clock.monotonic()

    def _space(self) -> Iterator[Check]:
        assert self._share is not None
        name = "space on the share"
        try:
            free = self._free_on_share = self._share.free_bytes()
        except GridComputeError as exc:
            yield _problem(name, exc)
            return
        if free == FREE_UNKNOWN:
            yield Check(name, OK, "the share does not tell")
        else:
            yield _space_check(name, free, "Remove what is not needed there; nobody can submit to a full share.")

    # The database.

    def _reach(self, database: Database) -> Check:
        name = "database"
        try:
            database.ping()
            times = []
            for _ in range(3):
                begin = clock.monotonic()
                database.ping()
                times.append(clock.monotonic() - begin)
        except DatabaseError as exc:
            return _problem(name, exc)
        answer = statistics.median(times)
        found = f"{_without_password(database.address)} answers in {_milliseconds(answer)}"
        if answer > _slow_database:
            advice = "The network to it is slow: small cases take longer."
            return Check(name, WARNING, found, advice)
        return Check(name, OK, found)

    def _rights(self, database: Database) -> Iterator[Check]:
        """An update that matches no case, which the database refuses to those who may only read."""
        name = "rights in the database"
        try:
            database.tell_progress(object_id("0" * 24), "doctor", 0.0, "")
        except DatabaseRefused as exc:
            advice = "An administrator of the database gives this user the role readWrite in the database gridcompute."
            yield Check(name, ERROR, str(exc).partition(". ")[0], advice)
            return
        yield Check(name, OK, "this user group may read and write")

    def _version(self, database: Database) -> Iterator[Check]:
        name = "version"
        try:
            message = database.check_version()
        except VersionRefused as exc:
            yield _problem(name, exc)
            return
        if message:
            yield Check(name, WARNING, *_split(f"{config.version}: {message}"))
        else:
            yield Check(name, OK, f"{config.version} is allowed")

    def _pins(self, database: Database) -> Iterator[Check]:
        """Whether what lies on the share is what the administrator pinned."""
        name, pinned = "pinned applications", database.pins()
        if not pinned:
            yield Check(name, OK, "none: every computer runs what lies in Settings/Applications")
            return
        for application in self._applications.values():
            try:
                refused = refusal(application.name, application.path, pinned)
            except OSError as exc:
                yield Check(name, ERROR, trouble.words(exc), f"See whether {application.path} can be read.")
                continue
            if refused:
                yield Check(name, ERROR, *_split(refused))
        missing = sorted(set(pinned) - set(self._applications))
        found = f"{number_of(len(pinned), 'application')}; all else is refused"
        yield Check(name, OK, found + (f"; not on the share: {', '.join(missing)}" if missing else ""))

    def _kind(self, database: Database) -> Iterator[Check]:
        name, found = "MongoDB", database.describe()
        version = tuple(int(part) for part in found["version"].split(".")[:2] if part.isdigit())
        if version < _oldest_server:
            yield Check(name, ERROR, f"version {found['version']}", "The grid needs MongoDB 4.4 or newer: upgrade it.")
        elif not found["change_streams"]:
            yield Check(
                name,
                WARNING,
                f"version {found['version']}, a standalone server: new cases and results are looked for "
                f"every {config.db_connect_frequency:g} s at the latest",
                "Make it a replica set of one member (gridcompute serve does), and they are heard at once.",
            )
        else:
            yield Check(name, OK, f"version {found['version']}, tells of new cases and results at once")

    def _clocks(self, database: Database) -> Iterator[Check]:
        """How far this computer's and the share's clocks are from the database's, by which the grid goes."""
        begin = clock.monotonic()
        theirs = database.server_time()
        here = clock.monotonic()
        moment = theirs.timestamp() + (here - begin) / 2
        yield _clock_check("this computer's clock", clock.utcnow().timestamp() - moment)
        if self._file_time is not None:
            yield _clock_check("the share's clock", self._file_time - (moment - (here - self._file_age)))

    def _results(self, database: Database) -> Iterator[Check]:
        """Results wait on the share until their origin receives them; they are never removed for age."""
        held = database.held_by_origins()
        if not held:
            yield Check("waiting results", OK, "none")
        for machine, user, number, size in held:
            found = f"{user} on {machine} has {number_of(number, 'result')} to receive, {_size(size)}"
            limit = min(_much_waits, self._free_on_share if self._free_on_share is not None else _much_waits)
            if size > limit:
                yield Check("waiting results", WARNING, found, f"Ask {user} to start GridCompute on {machine}.")
            else:
                yield Check("waiting results", OK, found)

    def _waiting(self, database: Database) -> Iterator[Check]:
        """Cases that nobody can process."""
        counts = database.queue()
        waiting = {name: kinds[cases.TO_PROCESS] for name, kinds in counts.items() if kinds.get(cases.TO_PROCESS)}
        failed = sum(kinds.get(cases.ERROR, 0) for kinds in counts.values())
        for name, number in sorted(waiting.items()):
            application = self._applications.get(name)
            if application is None or not application.process:
                why = "has no process.py" if application else "is not in the shared folder"
                advice = "Its author adds it, or the cases' owners cancel them."
                yield Check("waiting cases", WARNING, f"{number} of {name}, which {why}", advice)
            elif not self._processed_by.get(name):
                advice = "Write a 1 for it in the row of a machine in Software_Per_Machine.csv."
                yield Check("waiting cases", WARNING, f"{number} of {name}, which no machine may process", advice)
            else:
                yield Check("waiting cases", OK, f"{number} of {name}")
        if not waiting:
            yield Check("waiting cases", OK, "none")
        if failed:
            yield Check("failed cases", OK, f"{failed}; 'gridcompute cases' shows mine, 'gridcompute log ID' why")

    # This computer.

    def _this_computer(self) -> Iterator[Check]:
        name = "space on this computer"
        try:
            free = shutil.disk_usage(self.home.work).free
            yield _space_check(name, free, f"Free some space: cases work in {self.home.work}")
        except OSError as exc:
            yield Check(name, ERROR, trouble.words(exc), f"See whether {self.home.work} is there and can be read.")
        owner = self.home.lock_owner()
        if owner is None:
            yield Check("running here", OK, "neither window nor agent: nothing is processed or received by itself")
        else:
            yield Check("running here", OK, f"{owner['role']} for {owner['machine']} (process {owner['pid']})")
        yield Check("log", OK, str(self.home.log_path))


# One check's parts.


class _Patience:
    """Asks within a number of seconds in all; each question runs in a thread that may be left behind."""

    def __init__(self, seconds: float, of: str):
        self._seconds, self._of = seconds, of
        self._deadline = clock.monotonic() + seconds
        self._is_over = False

    def ask(self, check: Callable[[], Check]) -> Check:
        """What the check found; an error where it does not answer in time."""
        return next(self.ask_each(lambda: iter((check(),))), self._silence())

    def ask_each(self, check: Callable[[], Iterator[Check]]) -> Iterator[Check]:
        """What a check finds, one after the other. Once one did not answer in time, those after it are not asked."""
        if self._is_over:
            return
        answers: queue.SimpleQueue[Check | None] = queue.SimpleQueue()
        threading.Thread(target=_answer, args=(check, answers), name="doctor", daemon=True).start()
        while True:
            try:
                answer = answers.get(timeout=max(0.05, self._deadline - clock.monotonic()))
            except queue.Empty:
                self._is_over = True
                yield self._silence()
                return
            if answer is None:
                return
            yield answer

    def _silence(self) -> Check:
        found = f"{self._of} did not answer within {self._seconds:g} s"
        return Check(self._of.removeprefix("the "), ERROR, found, "See whether it is up and the network works.")


def _answer(check: Callable[[], Iterator[Check]], answers: queue.SimpleQueue[Check | None]) -> None:
    """In a thread: pass on what a check finds; its own failure is a finding too."""
    try:
        for found in check():
            answers.put(found)
    except GridComputeError as exc:
        answers.put(_problem("database" if isinstance(exc, DatabaseError) else "shared folder", exc))
    except Exception as exc:
        log.exception("A check failed")
        advice = "The log has the whole of it: report it with that part of the log."
        answers.put(Check("doctor", ERROR, f"a check itself failed: {type(exc).__name__}: {exc}", advice))
    finally:
        answers.put(None)


class _Stopwatch:
    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._begin = 0.0

    def begin(self) -> None:
        self._begin = clock.monotonic()

    def lap(self, what: str) -> None:
        now = clock.monotonic()
        self.laps[what], self._begin = now - self._begin, now


def _problem(name: str, exc: GridComputeError) -> Check:
    """An error in its own words: the first sentences say what happened, the last what to do."""
    return Check(name, ERROR, *_split(str(exc)))


def _split(message: str) -> tuple[str, str]:
    """A message as what was found and what to do; the advice is empty where it is one sentence."""
    found, separator, advice = message.partition(". ")
    return (found, advice) if separator else (message, "")


def _what_decides(settings: Path) -> Iterator[Path]:
    """The folder Settings with everything below it that decides what runs."""
    yield settings
    yield from sorted(path for path in settings.rglob("*") if not path.is_symlink() and "__pycache__" not in path.parts)


def _everybody_may_write(path: Path) -> bool:
    """Whether the right to write is given to all users of the system; on Windows that is not asked."""
    return os.name == "posix" and bool(path.stat().st_mode & stat.S_IWOTH)


def may_write(path: Path) -> bool:
    """Whether this user may change a file: it is opened for writing, which changes nothing, and closed."""
    try:
        path.open("r+b").close()
    except PermissionError:
        return False
    return True


def _is_administrator_of(path: Path) -> bool:
    """Whether this user owns the file, or may do everything; on Windows that is not asked."""
    if not hasattr(os, "geteuid"):
        return False
    return os.geteuid() in (0, path.stat().st_uid)


def _space_check(name: str, free: int, advice: str) -> Check:
    found = f"{_size(free)} free"
    state = ERROR if free < _no_space else WARNING if free < _little_space else OK
    return Check(name, state, found, "" if state == OK else advice)


def _clock_check(name: str, difference: float) -> Check:
    if abs(difference) <= _clock_hint:
        return Check(name, OK, f"{abs(difference):.0f} s from the database's")
    way = "ahead of" if difference > 0 else "behind"
    return Check(
        name,
        WARNING,
        f"{abs(difference):,.0f} s {way} the database's",
        "No case is harmed, the grid goes by the database's clock; times of files and of the log will look odd.",
    )


def _without_password(address: str) -> str:
    """An address of MongoDB; a whole one may hold user and password."""
    scheme, separator, rest = address.rpartition("://")
    return scheme + separator + rest.rpartition("@")[2]


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.01 else f"{seconds * 1000:.1f} ms"


def _size(size: int) -> str:
    for unit, factor in (("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)):
        if size >= factor:
            return f"{size / factor:,.1f} {unit}"
    return f"{size} B"
