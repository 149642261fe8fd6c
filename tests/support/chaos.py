"""A grid of several machines on one computer, and the faults that may befall it.

`Arena` has the machines, the database behind a faulty network, and people who submit, cancel and try again. Each fault
is a method named after its kind. What was done, and when, is kept as the evidence that `tests.support.audit` asks for.
"""

from __future__ import annotations

import contextlib
import hashlib
import heapq
import itertools
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from bson import ObjectId
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from gridcompute.config import database_name
from gridcompute.errors import DatabaseError, MongodError
from gridcompute.grid import cases
from gridcompute.grid.database import Database
from gridcompute.machine.mongod import PrivateMongod
from tests.stress.application.ledger import whole_lines
from tests.support.audit import ALL_MACHINES, Call, Fault, Order
from tests.support.commands import Agent, program
from tests.support.grids import Grid, command_environment
from tests.support.proxy import Proxy

JUMPS = (-2, 3, 45, 600, 3600)
"""Seconds by which the server's clock jumps while it runs.

Not far back: mongod waits by the wall clock, in its journal among others, so after a jump back under load every write
that is acknowledged by the majority stands still until the clock is again where it was (seen with 6.0.5, 600 s for
600 s). A clock that is wrong by more is set right while the server is down.
"""

CLOCKS = (-7200, -600, 0, 0, 600, 7200)
"""Seconds by which the clock of a server is wrong that was killed and comes back."""

REPLIES = ("update", "findAndModify", "insert", "find")
"""Commands whose replies are lost."""

patience = 60.0
"""Seconds in which a person who cancels or submits has an answer, and a victim its end."""

stalled = 0.8
"""Seconds after which a computer that did not come round to a short nap, or a byte on its disk, counts as stalled."""


@dataclass
class Machine:
    """One computer of the grid, with the agent of its user."""

    name: str
    user: str
    home: Path
    agent: Agent
    down: str = ""  # the fault that has it now

    @property
    def environ(self) -> dict[str, str]:
        return {"LOGNAME": self.user, "USER": self.user}


@dataclass
class _Submitting:
    call: Call
    process: subprocess.Popen[bytes]
    out: Path
    began: float
    killed_after: float | None  # seconds


@dataclass(frozen=True)
class Running:
    """A script of the application that runs now."""

    pid: int
    mark: str
    case: str
    machine: str


@dataclass
class Kept:
    """The evidence that is made while the arena lives."""

    calls: list[Call] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)
    missing_archives: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    looks: int = 0  # how often the archives were looked for


class Arena:
    """Carries out faults. The thread of the test alone calls its methods; `turn` does what has become due meanwhile."""

    def __init__(
        self,
        folder: Path,
        grid: Grid,
        mongod: PrivateMongod,
        proxy: Proxy,
        clock: Path | None,
        start_agent: Callable[..., Agent],
        *,
        lease: float,
        processes: int = 3,
    ):
        self.folder, self.grid, self.mongod, self.proxy, self.clock = folder, grid, mongod, proxy, clock
        self.kept = Kept()
        self.machines: dict[str, Machine] = {}
        self._start_agent, self._lease, self._processes = start_agent, lease, processes
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._number = itertools.count()
        self._people = ThreadPoolExecutor(8, thread_name_prefix="people")
        self._errands: list[Future[None]] = []
        self._submitting: list[_Submitting] = []
        self._paused: list[psutil.Process] = []
        self._network = self._mongod_down = self._share_is_away = False
        self._share_moves = 0
        self._clock_is_wrong_by = 0  # seconds
        self._stop = threading.Event()
        self._watchers = [threading.Thread(target=one, daemon=True) for one in (self._watch_stalls, self._watch_names)]
        self._database = Database(grid.settings, patience=2.0)
        (folder / "in").mkdir()
        (folder / "received").mkdir()

    # --- the machines -----------------------------------------------------------------------------------------------

    def open(self, machines: dict[str, str]) -> None:
        """Start an agent on each of `machines` (name -> user), and those who watch."""
        for name, user in machines.items():
            home = self.folder / f"home of {name}"
            self.machines[name] = Machine(name, user, home, self._agent(name, user, home))
        for machine in self.machines.values():
            machine.agent.wait_for_line("Agent of", patience)
        for watcher in self._watchers:
            watcher.start()

    def _agent(self, name: str, user: str, home: Path, *options: str) -> Agent:
        environ = {"LOGNAME": user, "USER": user, "GRIDCOMPUTE_STRESS": str(self.folder)}
        return self._start_agent(self.grid, name, self._processes, *options, home=home, **environ)

    def _restart(self, machine: Machine, *options: str) -> None:
        machine.agent = self._agent(machine.name, machine.user, machine.home, *options)
        machine.down = ""

    def close(self) -> None:
        """End what watches, the people, and faults that last; the agents are their maker's to end."""
        self._stop.set()
        self.proxy.clear()
        self.proxy.accept()
        for process in self._paused:
            with contextlib.suppress(psutil.Error):
                process.resume()
        if self._share_is_away:
            self.grid.root.with_name("away").rename(self.grid.root)
        for watcher in self._watchers:
            if watcher.is_alive():
                watcher.join(10)
        for one in self._submitting:
            one.process.kill()
            one.process.wait()
        self._people.shutdown(wait=True, cancel_futures=True)
        self._database.close()

    # --- time -------------------------------------------------------------------------------------------------------

    def turn(self) -> None:
        """Do what has become due: restarts, resumes, returns; hear those who submitted."""
        while self._later and self._later[0][0] <= time.monotonic():
            heapq.heappop(self._later)[2]()
        for one in list(self._submitting):
            self._hear_submit(one)
        for errand in [errand for errand in self._errands if errand.done()]:
            self._errands.remove(errand)
            errand.result()

    @property
    def quiet(self) -> bool:
        """Whether no fault lasts and nobody waits for an answer."""
        return not (self._later or self._submitting or self._errands)

    def _do_later(self, seconds: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._later, (time.monotonic() + seconds, next(self._number), action))

    def _fault(self, kind: str, machine: str, seconds: float, mark: str = "") -> Fault:
        now = time.monotonic()
        fault = Fault(kind, machine, now, now + seconds, mark)
        self.kept.faults.append(fault)
        return fault

    # --- submitting -------------------------------------------------------------------------------------------------

    def submit(self, machine: str, orders: Sequence[dict[str, Any]], killed_after: float | None) -> None:
        """Run the command that submits a file for each of `orders`; killed after so many seconds."""
        for order in orders:
            (self.folder / "in" / order["name"]).write_text(json.dumps(order), encoding="utf-8")
        self._submit(machine, [order["name"] for order in orders], killed_after)

    def _submit(self, machine: str, names: Sequence[str], killed_after: float | None = None) -> None:
        one = self.machines[machine]
        place = ["--server", str(self.grid.root), "--machine", machine]
        out = self.folder / f"submit-{next(self._number)}.json"
        with out.open("wb") as target:
            process = subprocess.Popen(
                [*program, *place, "submit", f"Stress {one.user}", "--json", *(self.folder / "in" / n for n in names)],
                env={**command_environment(one.home), **one.environ},
                stdin=subprocess.DEVNULL,
                stdout=target,
                stderr=subprocess.DEVNULL,
            )
        call = Call(machine, dict.fromkeys(names))
        self.kept.calls.append(call)
        self._submitting.append(_Submitting(call, process, out, time.monotonic(), killed_after))

    def _hear_submit(self, one: _Submitting) -> None:
        code = one.process.poll()
        if code is None:
            if one.killed_after is not None and time.monotonic() - one.began >= one.killed_after:
                one.process.kill()
            return
        self._submitting.remove(one)
        with contextlib.suppress(ValueError):  # it printed nothing
            for case in json.loads(one.out.read_text("utf-8")).get("cases", ()):
                one.call.files[Path(case["files"][0]).name] = case["id"]
        one.call.killed = code != 0
        if code > 0:
            self._do_later(2.0, lambda: self._submit_again(one.call))

    def _submit_again(self, call: Call) -> None:
        """As a person does who was told that the grid can't be reached: what is not there is submitted once more."""
        there: set[str] = set()
        away = self._network or self._mongod_down or self._share_is_away  # something may be on its way still
        try:
            there = {document["input_names"]["first"][0] for document in self.documents()}
        except PyMongoError:
            away = True
        if away:
            self._do_later(2.0, lambda: self._submit_again(call))
            return
        again = [name for name, case in call.files.items() if case is None and name not in there]
        for name in again:
            del call.files[name]
        if again:
            self._submit(call.machine, again)

    # --- what runs now ----------------------------------------------------------------------------------------------

    def ledger(self) -> list[dict[str, Any]]:
        """What the scripts noted until now."""
        return whole_lines(self.folder / "ledger.jsonl")

    def running(self) -> list[Running]:
        """The scripts that have begun and not ended."""
        found = {line["pid"]: line for line in self.ledger() if line["what"].endswith(" begun")}
        return [
            Running(pid, line["mark"], line["case"], machine)
            for pid, line in found.items()
            if _runs_as(pid, line["mark"]) and (machine := self._machine_of(pid))
        ]

    def _machine_of(self, pid: int) -> str:
        with contextlib.suppress(psutil.Error, OSError):
            home = psutil.Process(pid).environ().get("GRIDCOMPUTE_HOME")
            return next((one.name for one in self.machines.values() if str(one.home) == home), "")
        return ""

    # --- faults -----------------------------------------------------------------------------------------------------

    def do(self, kind: str, machine: str, seconds: float, choice: float) -> bool:
        """Make a fault of `kind` on `machine`, or on the next one if that one can't have it; False: on none now."""
        names = sorted(self.machines)
        first = names.index(machine)
        fault = getattr(self, "_" + kind.replace(" ", "_"))
        return any(fault(self.machines[name], seconds, choice) for name in (names[first:] + names[:first]))

    def _kill_agent(self, machine: Machine, seconds: float, choice: float) -> bool:
        return self._kill_and_restart("kill agent", machine, seconds, lambda: machine.agent.kill())

    def _kill_front_end(self, machine: Machine, seconds: float, choice: float) -> bool:
        def kill() -> None:
            machine.agent.process.kill()
            machine.agent.process.wait(patience)

        return self._kill_and_restart("kill front end", machine, seconds, kill)

    def _kill_and_restart(self, kind: str, machine: Machine, seconds: float, kill: Callable[[], None]) -> bool:
        if machine.down or machine.agent.process.poll() is not None:
            return False
        machine.down = kind
        fault = self._fault(kind, machine.name, patience)
        kill()
        self._do_later(seconds * 2, lambda: self._end_by_restart(fault, machine))
        return True

    def _end_by_restart(self, fault: Fault, machine: Machine) -> None:
        self._restart(machine)
        fault.end = time.monotonic()

    def _kill_process_daemon(self, machine: Machine, seconds: float, choice: float) -> bool:
        return self._kill_daemon("process", machine)

    def _kill_receive_daemon(self, machine: Machine, seconds: float, choice: float) -> bool:
        return self._kill_daemon("receive", machine)

    def _kill_daemon(self, name: str, machine: Machine) -> bool:
        if machine.down:
            return False
        with contextlib.suppress(AssertionError, psutil.Error, OSError):
            victim = machine.agent.daemon(name)
            self._fault(f"kill {name} daemon", machine.name, 1.0)
            victim.kill()
            return True
        return False

    def _kill_child(self, machine: Machine, seconds: float, choice: float) -> bool:
        victim = _chosen(self.running(), choice)
        if victim is None:
            return False
        self._fault("kill child", victim.machine, 1.0, victim.mark)
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim.pid, signal.SIGKILL)
        return True

    def _kill_keeper(self, machine: Machine, seconds: float, choice: float) -> bool:
        return self._kill_above("kill keeper", 1, choice)

    def _kill_helper(self, machine: Machine, seconds: float, choice: float) -> bool:
        return self._kill_above("kill helper", 2, choice)

    def _kill_above(self, kind: str, levels: int, choice: float) -> bool:
        """Kill the process that stands `levels` above a script that runs."""
        below = _chosen(self.running(), choice)
        if below is None:
            return False
        with contextlib.suppress(psutil.Error, IndexError):
            victim = psutil.Process(below.pid).parents()[levels - 1]
            if "--case-helper" not in victim.cmdline():
                return False
            self._fault(kind, below.machine, 1.0)
            victim.kill()
            return True
        return False

    def _kill_mongod(self, machine: Machine, seconds: float, choice: float) -> bool:
        if self._mongod_down or self.mongod.pid is None:
            return False
        self._mongod_down = True
        fault = self._fault("kill mongod", ALL_MACHINES, patience)
        os.kill(self.mongod.pid, signal.SIGKILL)

        def restart() -> None:
            self.mongod.wait(patience)
            self._set_clock(_chosen(CLOCKS, choice))
            time.sleep(seconds * 2)
            try:
                self.mongod.start()
            except MongodError:  # a port or folder that was not free yet: once more
                self.mongod.start()
            fault.end = time.monotonic()
            self._mongod_down = False

        self._send_errand(restart)
        return True

    def _pause_process_daemon(self, machine: Machine, seconds: float, choice: float) -> bool:
        with contextlib.suppress(AssertionError, psutil.Error, OSError):
            return self._pause(machine, [machine.agent.daemon("process")], seconds)
        return False

    def _pause_computer(self, machine: Machine, seconds: float, choice: float) -> bool:
        with contextlib.suppress(psutil.Error):
            return self._pause(machine, machine.agent.tree(), seconds)
        return False

    def _pause(self, machine: Machine, processes: Sequence[psutil.Process], seconds: float) -> bool:
        """Stop processes for longer than a lease and the observers' patience."""
        if machine.down:
            return False
        machine.down = "pause"
        length = 1.7 * self._lease + 2 * seconds
        fault = self._fault("pause", machine.name, patience)
        self._paused += processes
        for one in processes:
            with contextlib.suppress(psutil.Error):
                one.suspend()

        def resume() -> None:
            for one in reversed(processes):
                with contextlib.suppress(psutil.Error):
                    one.resume()
            machine.down = ""
            fault.end = time.monotonic()

        self._do_later(length, resume)
        return True

    def _quit(self, machine: Machine, seconds: float, choice: float) -> bool:
        """Ask the agent to end, as a service manager does; start it again on the same home."""
        agent = machine.agent
        if machine.down or agent.process.poll() is not None or "Agent of" not in agent.text:
            return False
        machine.down = "quit"
        fault = self._fault("quit", machine.name, patience)
        agent.process.send_signal(signal.SIGTERM)
        asked = time.monotonic()

        def look() -> None:
            if agent.process.poll() is None and time.monotonic() - asked < patience:
                self._do_later(0.1, look)
                return
            if agent.process.poll() != 0:
                self.kept.complaints.append(f"the agent on {machine.name} quit with {agent.process.poll()}")
            self._end_by_restart(fault, machine)

        look()
        return True

    def _lose_replies(self, machine: Machine, seconds: float, choice: float) -> bool:
        command = _chosen(REPLIES, choice)
        assert command is not None
        hang = (choice * 7919) % 1 > 0.8
        self.proxy.swallow(command, times=1 + int(seconds * 3), hang=hang)
        self._fault("lose replies", ALL_MACHINES, 3.0, "dumb" if hang else "")
        return True

    def _cut(self, machine: Machine, seconds: float, choice: float) -> bool:
        self._fault("cut", ALL_MACHINES, 1.0)
        self.proxy.cut()
        return True

    def _refuse(self, machine: Machine, seconds: float, choice: float) -> bool:
        return self._break_network("refuse", 0.3 + 2.5 * seconds, self.proxy.refuse, self.proxy.accept)

    def _black_hole(self, machine: Machine, seconds: float, choice: float) -> bool:
        return self._break_network("black hole", 0.3 + 4 * seconds, self.proxy.blackhole, self.proxy.clear)

    def _delay(self, machine: Machine, seconds: float, choice: float) -> bool:
        return self._break_network(
            "delay", 1 + 2 * choice, lambda: self.proxy.delay(0.01 + 0.2 * seconds), self.proxy.clear
        )

    def _break_network(self, kind: str, seconds: float, begin: Callable[[], None], end: Callable[[], None]) -> bool:
        if self._network:
            return False
        self._network = True
        fault = self._fault(kind, ALL_MACHINES, patience)
        begin()

        def mend() -> None:
            end()
            self._network = False
            fault.end = time.monotonic()

        self._do_later(seconds, mend)
        return True

    def _clock(self, machine: Machine, seconds: float, choice: float) -> bool:
        if self.clock is None:
            return False
        jump = _chosen(JUMPS, choice)
        self._fault("clock", ALL_MACHINES, max(0.0, -jump))
        self._set_clock(self._clock_is_wrong_by + jump)
        return True

    def _set_clock(self, offset: int) -> None:
        if self.clock is not None:
            self._clock_is_wrong_by = offset
            set_clock(self.clock, offset)

    def _share_away(self, machine: Machine, seconds: float, choice: float) -> bool:
        if self._share_is_away:
            return False
        self._share_is_away = True
        self._share_moves += 1
        fault = self._fault("share away", ALL_MACHINES, patience)
        away = self.grid.root.with_name("away")
        self.grid.root.rename(away)

        def bring_back() -> None:
            away.rename(self.grid.root)
            self._share_moves += 1
            self._share_is_away = False
            fault.end = time.monotonic()

        self._do_later(0.05 + 3 * seconds**2, bring_back)
        return True

    # --- people -----------------------------------------------------------------------------------------------------

    def _cancel(self, machine: Machine, seconds: float, choice: float) -> bool:
        wanted = [cases.PROCESSING] if seconds < 0.7 else [cases.TO_PROCESS, cases.PROCESSED]
        return self._order("cancel", choice, lambda document: document["status"] in wanted)

    def _retry(self, machine: Machine, seconds: float, choice: float) -> bool:
        return self._order("retry", choice, lambda document: cases.kind(document["status"]) in ("error", "cancelled"))

    def _order(self, what: str, choice: float, fits: Callable[[dict[str, Any]], bool]) -> bool:
        try:
            document = _chosen([one for one in self.documents() if fits(one)], choice)
        except PyMongoError:
            return False
        if document is None:
            return False
        self._send_errand(lambda: self._ask(what, document["_id"], document["origin"]["user"]))
        return True

    def _ask(self, what: str, case: ObjectId, user: str) -> None:
        """Ask until there is an answer; then see how long the processes of a cancelled case live."""
        order = Order(what, str(case), time.monotonic(), float("inf"))
        if what == "retry":
            order.acknowledged = float("inf")
            self.kept.orders.append(order)  # an unanswered one may have been done
        while time.monotonic() < order.asked + patience:
            with contextlib.suppress(DatabaseError):
                done = getattr(self._database, what)(case, user)
                break
            time.sleep(0.1)
        else:
            return
        order.acknowledged = time.monotonic()
        if what == "cancel" and done:
            running = [one for one in self.running() if one.case == order.case and "-" in one.mark]
            order.machine = running[0].machine if running else ""
            self.kept.orders.append(order)
            for one in running:
                while _runs_as(one.pid, one.mark) and time.monotonic() < order.acknowledged + patience:
                    time.sleep(0.03)
                order.gone[one.pid] = time.monotonic()

    def _send_errand(self, errand: Callable[[], None]) -> None:
        self._errands.append(self._people.submit(errand))

    # --- who watches ------------------------------------------------------------------------------------------------

    def documents(self) -> list[dict[str, Any]]:
        """All cases, read past the faulty network. Raises `PyMongoError` while the server is away."""
        with MongoClient(self.mongod.url, serverSelectionTimeoutMS=500, socketTimeoutMS=5000, tz_aware=True) as client:
            found = client[database_name]["cases"].find({"instance": self.grid.instance}, {"output": 0})
            return list(found.sort("_id"))

    def _watch_stalls(self) -> None:
        """Thread: a computer that naps too long is paused by somebody else: it is a fault of all machines."""
        probe = self.folder / "probe"
        while not self._stop.is_set():
            begin = time.monotonic()
            self._stop.wait(0.1)
            with probe.open("wb") as file:
                file.write(b"x")
                os.fsync(file.fileno())
            if time.monotonic() - begin > stalled:
                self.kept.faults.append(Fault("stall", ALL_MACHINES, begin, time.monotonic()))

    def _watch_names(self) -> None:
        """Thread: while all goes on, the archives that the cases name are on the share, whole."""
        while not self._stop.wait(0.5):
            with contextlib.suppress(PyMongoError):
                moves, before = self._share_moves, self.documents()
                wrong = [(one, words) for one in before if (words := self._wrong_archive(one))]
                again = {one["_id"]: one for one in self.documents()} if wrong else {}
                if moves != self._share_moves or self._share_is_away:
                    continue
                self.kept.looks += 1
                for one, words in wrong:
                    now = again.get(one["_id"], {})
                    if all(one.get(key) == now.get(key) for key in ("status", "token", "input", "result", "files")):
                        self.kept.missing_archives.append(f"case {one['_id']} ({one['status']}): {words}")

    def _wrong_archive(self, document: dict[str, Any]) -> str:
        status = document["status"]
        if status not in (cases.TO_PROCESS, cases.PROCESSING, cases.PROCESSED):
            return ""
        for part in ("input", "result") if status == cases.PROCESSED else ("input",):
            named = document[part]
            try:
                data = (self.grid.root / named["path"]).read_bytes()
            except OSError as exc:
                return f"its {part} {named['path']} can't be read: {exc}"
            if len(data) != named["size"] or hashlib.sha256(data).hexdigest() != named["sha256"]:
                return f"its {part} {named['path']} is not what the case says"
        return ""

    # --- the end ----------------------------------------------------------------------------------------------------

    def calm(self) -> None:
        """End all faults, and let everybody come back."""
        deadline = time.monotonic() + 2 * patience
        while not self.quiet:
            self.turn()
            if time.monotonic() > deadline:
                raise AssertionError(f"the faults did not end: {self._later}, {self._errands}, {self._submitting}")
            time.sleep(0.05)
        self.proxy.clear()
        self.proxy.accept()
        for machine in self.machines.values():
            if machine.agent.process.poll() is not None:
                self.kept.complaints.append(f"the agent on {machine.name} ended by itself:\n{machine.agent.text}")
                self._restart(machine)

    def quit_all(self) -> None:
        """Every agent quits, side by side."""
        for machine in self.machines.values():
            machine.agent.process.send_signal(signal.SIGTERM)
        self._wait_for_ends(30.0)

    def sweep(self) -> None:
        """Every agent starts once more and ends when nothing is left to do."""
        for machine in self.machines.values():
            self._restart(machine, "--until-idle")
        self._wait_for_ends(patience)

    def _wait_for_ends(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        for machine in self.machines.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                machine.agent.process.wait(max(0.1, deadline - time.monotonic()))
            code = machine.agent.process.poll()
            if code != 0:
                self.kept.complaints.append(f"the agent on {machine.name} ended with {code}:\n{machine.agent.text}")

    def logs(self) -> dict[str, str]:
        """What each machine wrote to its log, all agents that ran there together."""
        return {
            name: "".join(path.read_text("utf-8", "replace") for path in sorted(one.home.glob("gridcompute.log*")))
            for name, one in self.machines.items()
        }

    def left_in_homes(self) -> Iterator[tuple[str, str]]:
        """What lies in the work folders and journals, with the id of the case that its name holds."""
        for one in self.machines.values():
            for path in sorted([*(one.home / "work").rglob("*"), *(one.home / "journal").rglob("*")]):
                case = path.name[:24] if _is_id(path.name[:24]) else ""
                if path.is_file() or case:
                    yield str(path.relative_to(self.folder)), case


def set_clock(file: Path, offset: int) -> None:
    """Let the server that reads `file` (libfaketime) have a clock that is wrong by `offset` seconds.

    May be called from several threads: a jump may come while a killed server is started again.
    """
    aside = file.with_suffix(f".aside-{threading.get_ident()}")
    aside.write_text(f"{offset:+d}\n")
    aside.replace(file)


def _chosen(among: Sequence[Any], choice: float) -> Any:
    return among[min(int(choice * len(among)), len(among) - 1)] if among else None


def _runs_as(pid: int, mark: str) -> bool:
    """Whether process `pid` is the run `mark` of a script still: it works in that run's folder."""
    try:
        folder = os.readlink(f"/proc/{pid}/cwd")  # noqa: PTH115 - may name what is deleted
    except OSError:
        return False
    return f"/{mark}/" in folder


def _is_id(text: str) -> bool:
    return len(text) == 24 and all(character in "0123456789abcdef" for character in text)
