"""Offices for stories of faults: a grid, the people who submit, and the agents that are killed, stopped and cut off."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from gridcompute.grid.database import Database, object_id
from gridcompute.grid.settings import Settings
from gridcompute.machine.home import Home
from gridcompute.server import Server
from tests.faults.doors import door_application
from tests.support.commands import Agent, Finished, agents, run_command
from tests.support.grids import Grid
from tests.support.waiting import wait_for

short_lease = {"heartbeat_frequency": "0.5", "heartbeat_dead": "2"}
"""Settings of a grid on which a machine is soon taken for lost: after 3 seconds without a sign."""

patience = 60.0
"""Seconds that a story waits for what must come; the test machine may be busy."""


class Office:
    """A grid with people and machines. Each machine's per-user folder is its own: `home_of`."""

    def __init__(self, grid: Grid, folder: Path, start: Callable[..., Agent], database: Database):
        self.grid, self.folder, self._start, self.database = grid, folder, start, database

    def home_of(self, machine: str) -> Path:
        return self.folder / f"home of {machine}"

    def agent(self, machine: str = "PC-1", processes: int = 1, *options: str, **environ: Any) -> Agent:
        """Start an agent; `environ` may also say ``home``."""
        environ.setdefault("home", self.home_of(machine))
        return self._start(self.grid, machine, processes, *options, **environ)

    def command(self, *arguments: str | Path, machine: str = "PC-1", **environ: str) -> Finished:
        """Run ``gridcompute ARGUMENTS`` as the person at `machine`."""
        return run_command("--machine", machine, *arguments, home=self.home_of(machine), grid=self.grid, **environ)

    def submit(
        self,
        names: Sequence[str | Path] = ("case",),
        application: str = "Door",
        *,
        machine: str = "PC-1",
        priority: int = 50,
    ) -> list[str]:
        """Submit one case for each file, made with its name as content if it is not there; the ids."""
        files = [self.folder / "in" / name for name in names]
        for file in files:
            file.parent.mkdir(parents=True, exist_ok=True)
            if not file.exists():
                file.write_text(file.name, encoding="utf-8")
        with Server(folder=str(self.grid.root), machine=machine, home=Home(self.home_of(machine))) as server:
            server.connect()
            done = server.submit_to_server([[file] for file in files], application, priority=priority)
            assert not done.errors, done.errors
            return [str(one) for one in done.ids]

    # What is seen.

    def case(self, case_id: str) -> dict[str, Any]:
        """The document of a case."""
        case = self.database.case(object_id(case_id))
        assert case is not None, f"case {case_id} is gone"
        return case.document

    def attempts(self, case_id: str) -> list[tuple[str, str | None]]:
        """Machine and outcome of each attempt of a case."""
        return [
            (one["machine"], one.get("outcome")) for one in self.case(case_id)["processors"].get("processor_list", [])
        ]

    def wait_for_status(self, case_id: str, *statuses: str, timeout: float = patience) -> dict[str, Any]:
        """Wait until a case's status begins with one of `statuses`; its document."""

        def there() -> bool:
            return self.case(case_id)["status"].startswith(statuses)

        def seen() -> str:
            document = self.case(case_id)
            return f"case {case_id} is {statuses}; it is {document['status']!r}, attempts {self.attempts(case_id)}"

        wait_for(there, timeout, seen)
        return self.case(case_id)

    def wait_for_all(self, case_ids: Sequence[str], status: str = "received", timeout: float = patience) -> None:
        """Wait until every case has `status`."""
        ids = [object_id(one) for one in case_ids]

        def seen() -> dict[str, int]:
            counts: dict[str, int] = {}
            for one in self.database.statuses(ids).values():
                counts[one] = counts.get(one, 0) + 1
            return counts

        wait_for(lambda: seen() == {status: len(ids)}, timeout, lambda: f"all are {status}; there are {seen()}")

    def told(self, log: str = "process.log") -> list[str]:
        """The lines that the applications wrote to `log`, in order."""
        path = self.grid.received / log
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []

    def wait_until_told(self, line: str, times: int = 1, log: str = "process.log") -> None:
        """Wait until an application wrote a line that begins so, so many times."""
        wait_for(
            lambda: sum(one.startswith(line) for one in self.told(log)) >= times,
            patience,
            lambda: f"{times} times {line!r} in {log}, which has {self.told(log)}",
        )

    def open(self, door: str) -> None:
        """Open a door that an application waits behind."""
        (self.grid.received / f"open {door}").touch()

    def wait_until_empty(self) -> None:
        """Wait until no archive is left on the share."""
        wait_for(lambda: not self.grid.archives(), patience, lambda: f"archives are left: {self.grid.archives()}")


@pytest.fixture
def make_office(make_grid, make_settings, make_proxy, tmp_path) -> Iterator[Callable[..., Office]]:
    """Makes offices: ``make_office({"Name": scripts}, ["PC-1"], server=mongod, heartbeat_dead="2")``.

    By default the application *Door*, two machines, and the run's MongoDB. `seen_at` is the address at which the test
    itself looks at the database, where the grid's own leads through a proxy. Proxies end after the agents.
    """
    started: list[Agent] = []
    with contextlib.ExitStack() as stack:
        make_agent = stack.enter_context(agents(tmp_path))
        stack.callback(_stop_together, started)

        def start(*arguments: Any, **environ: Any) -> Agent:
            started.append(make_agent(*arguments, **environ))
            return started[-1]

        def make(apps=None, machines=None, *, server=None, seen_at: str = "", **settings: str) -> Office:
            grid = make_grid({"Door": door_application} if apps is None else apps, machines, server=server, **settings)
            seen: Settings = grid.settings
            if seen_at:
                seen = make_settings(seen_at, instance=grid.instance)
            database = Database(seen, patience=20.0)
            stack.callback(database.close)
            return Office(grid, tmp_path, start, database)

        yield make


def _stop_together(started: Sequence[Agent]) -> None:
    """Ask all agents to end, so that they need not be waited for one after the other."""
    for agent in started:
        if agent.process.poll() is None:
            with contextlib.suppress(psutil.NoSuchProcess):
                wake_up(agent.tree())
                agent.process.terminate()


def stop_tree(agent: Agent, *, children: bool = True) -> list[psutil.Process]:
    """SIGSTOP an agent and its daemons, and with `children` its cases too; wakes it up: `wake_up`."""
    tree = agent.tree() if children else own_processes(agent)
    for one in tree:
        one.suspend()
    return tree


def own_processes(agent: Agent) -> list[psutil.Process]:
    """The agent's own process and its two daemons, without helpers and cases."""
    return [psutil.Process(agent.process.pid), daemon_of(agent, "process"), daemon_of(agent, "receive")]


def daemon_of(agent: Agent, name: str) -> psutil.Process:
    """The process of an agent's daemon, as soon as it has started."""

    def there() -> psutil.Process | None:
        with contextlib.suppress(AssertionError, FileNotFoundError, psutil.Error):
            return agent.daemon(name)
        return None

    return wait_for(there, patience, f"the {name} daemon of {agent.machine} has started")


def wake_up(processes: Sequence[psutil.Process]) -> None:
    for one in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.resume()


def is_gone(pid: int) -> bool:
    """Whether a process has ended; a zombie has."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
