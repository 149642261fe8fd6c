"""``gridcompute demo``: a whole grid on this computer, on a MongoDB of its own, at work on real cases.

Two agents play two machines, each with a per-user folder of its own, and a third program submits, as Anna at pc-anna
would. Nothing is touched of the user's own grid, folder or home. Whatever the demo started ends with it, by whatever
way it ends; the results stay.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import secrets
import shutil
import site
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import psutil

from gridcompute import clock, config
from gridcompute.commands.new_grid import CALCULIX, RANDOM_COUNTER, find_solver, make_shared_folder
from gridcompute.commands.signals import stop_on_signals
from gridcompute.commands.template import example
from gridcompute.commands.words import number_of
from gridcompute.errors import DatabaseAway, UsageError
from gridcompute.grid.cases import CANCELLED, ERROR, RECEIVED, Case
from gridcompute.grid.database import Database
from gridcompute.grid.settings import Settings
from gridcompute.machine.guard import Guard
from gridcompute.machine.home import Home
from gridcompute.machine.mongod import PrivateMongod
from gridcompute.machine.processes import remove_tree
from gridcompute.machine.program import command
from gridcompute.server import Server

SUBMITTER, HELPER = "pc-anna", "pc-ben"
"""The two machines. Anna submits from hers, and receives there; Ben's computer lends a hand."""

USER_GROUP, INSTANCE = "demo", "0"
OUTPUT_NAME = "gridcompute_output.txt"  # of Random Counter
STUDY = "cantilever"

_silence = 90.0  # seconds without any news after which the demo is given up
_look_pause = 0.1
_agent_end = 12.0  # seconds that an agent has to end in order; it needs 10 at most

# The beam of template/examples/CalculiX/beam.inp: millimetres, newtons, MPa.
_length, _width, _height, _young = 400.0, 10.0, 20.0, 210_000.0


class Stopped(Exception):
    """The user ended the demo."""


class DemoFailed(Exception):
    """Something of the demo did not work; the message says what."""


def run(*, cases: int, keep: str | None, gui: bool) -> int:
    """Show the grid at work; 0 when every case was received, 1 when one failed, 130 when the user ended it."""
    if gui and importlib.util.find_spec("gridcompute.gui") is None:
        raise UsageError("This installation has no window (gridcompute.gui): run the demo without --gui.")
    with stop_on_signals() as stop, ExitStack() as stack:
        try:
            demo = Demo(_make_place(keep, stack), cases, gui, stop)
            demo.run(stack)
            return 0 if demo.succeeded else 1
        except Stopped:
            print("\ngridcompute: stopped; what the demo started is ended.", file=sys.stderr, flush=True)
            return 130
        except DemoFailed as exc:
            print(f"gridcompute: {exc}", file=sys.stderr, flush=True)
            return 1


@dataclass(frozen=True)
class Place:
    """Where the demo's things lie."""

    root: Path  # the grid; removed at the end unless it is kept
    results: Path  # stays
    kept: bool

    @property
    def share(self) -> Path:
        return self.root / "Shared_Folder"

    @property
    def data(self) -> Path:
        return self.root / "mongodb"

    def home(self, machine: str) -> Path:
        return self.root / machine


def _make_place(keep: str | None, stack: ExitStack) -> Place:
    """The folders, new ones in the system's temporary folder or the empty one that is kept."""
    if keep is not None:
        root = Path(keep).expanduser().absolute()
        try:
            root.mkdir(parents=True, exist_ok=True)
            if any(root.iterdir()):
                raise UsageError(f"Cannot keep the demo in {root}: it is not empty. Name a new or an empty folder.")
            results = root / "results"
            results.mkdir()
        except OSError as exc:
            raise UsageError(f"Cannot keep the demo in {root}: {exc.strerror or exc}. Name another folder.") from exc
        return Place(root, results, kept=True)
    root = Path(tempfile.mkdtemp(prefix="gridcompute-demo-"))
    stack.callback(remove_tree, root)
    results = Path(tempfile.mkdtemp(prefix="gridcompute-demo-results-"))
    stack.callback(_remove_if_empty, results)
    return Place(root, results, kept=False)


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


class Demo:
    """One run of the demo."""

    def __init__(self, place: Place, cases: int, gui: bool, stop: threading.Event):
        self.place, self.cases, self.gui, self.stop = place, cases, gui, stop
        self.solver = find_solver()[0]
        self.applications = [RANDOM_COUNTER, CALCULIX] if self.solver else [RANDOM_COUNTER]
        self.succeeded = False

    def run(self, stack: ExitStack) -> None:
        """Everything in order; `stack` ends what was started, the last first."""
        mongod = self._start_mongod(stack)
        self._make_grid(mongod)
        stack.enter_context(_environment(self._environ(SUBMITTER)))
        programs = stack.enter_context(Programs(self.place.root))
        self._start_programs(programs)
        server = stack.enter_context(
            Server(folder=str(self.place.share), machine=SUBMITTER, home=Home(self.place.home(SUBMITTER)))
        )
        server.connect()
        story = Story(server, programs.check, self.stop)
        begin = clock.monotonic()
        for application, files in self._studies().items():
            self._check_stop()
            story.submit(application, files)
        story.tell_until_ended()
        self.succeeded = story.all_received
        story.summarise(clock.monotonic() - begin)
        self._say_deflections()
        self._say_results()
        if self.gui:
            _say("The demo ends when its window is closed.")
            programs.wait_for_first(self.stop)
        if self.place.kept:
            self._say_kept(mongod)

    def _check_stop(self) -> None:
        if self.stop.is_set():
            raise Stopped

    # What is started.

    def _start_mongod(self, stack: ExitStack) -> PrivateMongod:
        mongod = PrivateMongod(self.place.data, user_group=USER_GROUP, password=secrets.token_urlsafe(9))
        stack.enter_context(mongod)
        _say(f"MongoDB     runs at {mongod.address}, with users; its files are in {self.place.data}")
        self._check_stop()
        return mongod

    def _make_grid(self, mongod: PrivateMongod) -> None:
        settings = Settings(mongod.address, mongod.user_group, mongod.password, INSTANCE)
        make_shared_folder(self.place.share, settings, dict.fromkeys((SUBMITTER, HELPER), self.applications))
        database = Database(settings)
        try:
            database.set_versions([{"_id": config.version, "status": "allowed"}])
        finally:
            database.close()
        _say(f"Folder      {self.place.share}")
        if not self.solver:
            _say("CalculiX    is left out: its solver ccx is not on this computer (Debian: calculix-ccx)")
        self._check_stop()

    def _start_programs(self, programs: Programs) -> None:
        number = max(1, min(4, config.max_number_process // 2))  # for each of two machines
        for machine in (SUBMITTER, HELPER):
            arguments = ["--server", str(self.place.share), "--machine", machine]
            if self.gui and machine == SUBMITTER:
                does = "shows its window"
            else:
                arguments += ["agent", "--processes", str(number)]
                does = f"is an agent that lends {number_of(number, 'process', 'es')}"
            programs.start(machine, arguments, self._environ(machine))
            _say(f"{machine:11} {does}")
        self._check_stop()

    def _environ(self, machine: str) -> dict[str, str]:
        """Variables of a machine's programs: nothing of the user's own; the home folder of Anna is the results'."""
        home = self.place.results if machine == SUBMITTER else self.place.home(machine)
        own = {
            config.environment_home: str(self.place.home(machine)),
            "HOME": str(home),
            "USERPROFILE": str(home),
        }
        # Packages that were installed for this user alone lie below the true home folder.
        return {**own, "PYTHONUSERBASE": site.getuserbase()} if hasattr(site, "getuserbase") else own

    # What is submitted.

    def _studies(self) -> dict[str, list[Path]]:
        """Application -> files that Anna selects."""
        folder = self.place.root / "files of Anna"
        folder.mkdir()
        files = [folder / f"sample {number:02}.txt" for number in range(1, self.cases + 1)]
        for number, file in enumerate(files, 1):
            file.write_text(f"Sample number {number} of the demo.\n", encoding="utf-8")
        studies = {RANDOM_COUNTER: files}
        if self.solver:
            study = self.place.results / STUDY
            study.mkdir()
            for name in ("beam.inp", "beam.csv"):
                shutil.copyfile(example(CALCULIX, name), study / name)
            studies[CALCULIX] = [study / "beam.inp"]
        return studies

    # What came back.

    def _say_deflections(self) -> None:
        """The tip of the cantilever beam beside the theory of slender beams."""
        rows = deflections(self.place.results / STUDY)
        if not rows:
            return
        _say("\nCantilever beam, deflection of the tip in mm; theory: P L^3 / 3 E I")
        _say("   load, N    CalculiX      theory    difference")
        for load, computed, theory in rows:
            _say(f"{load:10g}  {computed:10.4f}  {theory:10.4f}  {100 * (computed / theory - 1):+10.2f} %")

    def _say_results(self) -> None:
        _say("\nResults, as the submitter's machine received them:")
        output = self.place.results / OUTPUT_NAME
        if output.is_file():
            lines = output.read_text(encoding="utf-8").splitlines()
            _say(f"  {output}  ({number_of(len(lines), 'line')}, such as '{lines[0]}')")
        study = self.place.results / STUDY / "beam_results"
        if study.is_dir():
            rows = sum(1 for path in study.iterdir() if path.is_dir())
            _say(f"  {study}  ({number_of(rows, 'folder')}, one a row of beam.csv)")
        if not self.place.kept:
            _say("They stay until you remove them; the database and the shared folder of the demo are removed now.")

    def _say_kept(self, mongod: PrivateMongod) -> None:
        _say(f"\nThe grid stays in {self.place.root}. To use it again, in two terminals:")
        _say(
            f'  gridcompute serve --data "{self.place.data}" --host 127.0.0.1 --port {mongod.port} '
            f"--user-group {mongod.user_group} --password={mongod.password}"
        )
        _say(f'  gridcompute --server "{self.place.share}" --machine {SUBMITTER} agent')


class Story:
    """Submits cases and prints what happens to each, as the database tells it, until all have ended."""

    def __init__(self, server: Server, check: Callable[[], None], stop: threading.Event):
        self._server, self._check, self._stop = server, check, stop
        self._labels: dict[str, str] = {}  # of the cases, in the order submitted
        self._told: dict[str, int] = {}  # steps of each case that were printed
        self._cases: dict[str, Case] = {}
        self._begin: datetime | None = None
        self._last_news = clock.monotonic()

    def submit(self, application: str, files: Sequence[Path]) -> None:
        """Make cases of the files by the application's send.py, and submit them."""
        selected, errors = self._server.select_cases(files, application, lambda: not self._stop.is_set())
        if errors:
            raise DemoFailed(str(errors[0]))
        done = self._server.submit_to_server(selected, application, lambda: not self._stop.is_set())
        if self._stop.is_set():
            raise Stopped
        if done.errors:
            raise DemoFailed(str(done.errors[0][1]))
        for case_id, case_files in zip(done.ids, selected, strict=True):
            assert case_id is not None
            self._labels[case_id] = label(application, case_files)
        self._look()

    def tell_until_ended(self) -> None:
        """Print each step of each case as it happens, until every case is received or failed."""
        self._last_news = clock.monotonic()
        while not self._all_ended():
            if self._stop.wait(_look_pause):
                raise Stopped
            self._check()
            self._look()
            if clock.monotonic() - self._last_news > _silence:
                raise DemoFailed(f"Nothing happened for {_silence:g} s; the demo is given up. {self._unfinished()}")

    def summarise(self, seconds: float) -> None:
        received = sum(case.status == RECEIVED for case in self._cases.values())
        machines: dict[str, int] = {}
        for case in self._cases.values():
            machines[case.processor_machine] = machines.get(case.processor_machine, 0) + 1
        shares = ", ".join(f"{number} on {machine}" for machine, number in sorted(machines.items()))
        _say(f"\n{received} of {number_of(len(self._labels), 'case')} received in {seconds:.1f} s; processed: {shares}")

    @property
    def all_received(self) -> bool:
        """Whether every case came home."""
        return all(self._status(case_id) == RECEIVED for case_id in self._labels)

    def _all_ended(self) -> bool:
        return all(
            self._status(case_id) in (RECEIVED, CANCELLED) or self._status(case_id).startswith(ERROR)
            for case_id in self._labels
        )

    def _status(self, case_id: str) -> str:
        return self._cases[case_id].status if case_id in self._cases else ""

    def _unfinished(self) -> str:
        left = [f"{name}: {self._status(one)}" for one, name in self._labels.items() if self._status(one) != RECEIVED]
        return "; ".join(left[:5])

    def _look(self) -> None:
        """Read the cases and print what is new, in the order in which it happened."""
        try:
            found = self._server.cases(everybody=True)
        except DatabaseAway:
            return  # it is waited for; silence ends the demo
        self._cases = {str(case.id): case for case in found}
        news: list[tuple[datetime, str, str]] = []
        for case_id, name in self._labels.items():
            if case_id not in self._cases:
                continue
            steps = list(steps_of(self._cases[case_id]))
            news += [(moment, name, what) for moment, what in steps[self._told.get(case_id, 0) :]]
            self._told[case_id] = len(steps)
        for moment, name, what in sorted(news, key=lambda one: one[0]):  # a case's own steps stay in order
            self._begin = self._begin or moment
            self._last_news = clock.monotonic()
            _say(f"{(moment - self._begin).total_seconds():6.1f} s  {name:20} {what}")


def steps_of(case: Case) -> Iterator[tuple[datetime, str]]:
    """The way of a case so far: moments by the database's clock, and what happened then."""
    last = case.submitted
    if last is not None:
        yield last, f"submitted by {case.origin_user} on {case.origin_machine}"
    for attempt in case.processors:
        machine = attempt.get("machine", "?")
        if "start" in attempt:
            last = attempt["start"]
            yield last, f"processing on {machine}"
        if "end" in attempt:
            last = attempt["end"]
            yield last, f"{attempt.get('outcome', 'ended')} on {machine}"
    if case.received is not None:
        yield case.received, f"received on {case.origin_machine}"
    elif last is not None and (case.status == CANCELLED or case.status.startswith(ERROR)):
        yield last, case.status


def label(application: str, files: Sequence[str]) -> str:
    """A short name for a case: of its input file, or of its row."""
    if application == CALCULIX and len(files) > 1:
        return Path(files[1]).name.removesuffix(".job.json")
    return Path(files[0]).name


def deflections(study: Path) -> list[tuple[float, float, float]]:
    """Load, computed and theoretical deflection of the tip for each row of the study whose results are there."""
    if not study.is_dir():
        return []
    loads = (study / "beam.csv").read_text(encoding="utf-8").split()[1:]
    stiffness = 3 * _young * (_width * _height**3 / 12) / _length**3
    rows = []
    for number, load in enumerate(map(float, loads), 1):
        result = study / "beam_results" / f"row {number:03}" / "beam.dat"
        if result.is_file():
            rows.append((load, _tip_deflection(result.read_text(encoding="utf-8")), load / stiffness))
    return rows


def _tip_deflection(text: str) -> float:
    """The mean of the downward displacements of the tip's nodes that CalculiX printed."""
    block = re.search(r"displacements \(vx,vy,vz\) for set TIP.*\n\s*\n((?:\s+\d+(?:\s+\S+){3}\n)+)", text)
    if block is None:
        raise DemoFailed("CalculiX printed no displacements of the beam's tip.")
    sinking = [-float(line.split()[3]) for line in block[1].splitlines()]
    return sum(sinking) / len(sinking)


class Programs:
    """The programs of the demo's machines; as a context it ends all of them, whatever happened."""

    def __init__(self, logs: Path):
        self._logs = logs
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._guards: list[Guard] = []

    def start(self, machine: str, arguments: Sequence[str], environ: Mapping[str, str]) -> None:
        """Start this program again; what it prints goes to a file."""
        guard = Guard()  # ends it even if this program is killed
        self._guards.append(guard)
        with self._log(machine).open("wb") as output:
            process = self._running[machine] = subprocess.Popen(
                command(*arguments),
                env={**os.environ, **environ},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                **_apart_from_terminal(),  # type: ignore[call-overload]
            )
        guard.watch(process)

    def check(self) -> None:
        """Raise `DemoFailed` where one has ended unasked, with its last words."""
        for machine, process in self._running.items():
            if process.poll() is not None:
                words = " ".join(self._log(machine).read_text("utf-8", "replace").splitlines()[-3:])
                raise DemoFailed(f"The program of {machine} ended with code {process.returncode}: {words}")

    def wait_for_first(self, stop: threading.Event) -> None:
        """Wait until the program started first, the window, ends."""
        process = next(iter(self._running.values()))
        while process.poll() is None:
            if stop.wait(_look_pause):
                raise Stopped

    def __enter__(self) -> Programs:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._running.values():
            _ask_to_end(process)
        deadline = clock.monotonic() + _agent_end
        for process in self._running.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, deadline - clock.monotonic()))
            if process.poll() is None:
                _kill_tree(process)
        for guard in self._guards:
            guard.dismiss()

    def _log(self, machine: str) -> Path:
        return self._logs / f"{machine}.log"


def _ask_to_end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    with contextlib.suppress(OSError):
        if sys.platform == "win32":
            import signal

            process.send_signal(signal.CTRL_BREAK_EVENT)
        else:
            process.terminate()


def _kill_tree(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(psutil.Error):
        tree = psutil.Process(process.pid).children(recursive=True)
        for one in tree:
            with contextlib.suppress(psutil.Error):
                one.kill()
    process.kill()
    process.wait()


def _apart_from_terminal() -> dict[str, object]:
    """Arguments of Popen that keep the terminal's Ctrl+C from a program: the demo ends it when it is time."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}


@contextlib.contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    """This program's own variables for a while: what it starts to run send.py inherits them."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _say(text: str) -> None:
    print(text, flush=True)
