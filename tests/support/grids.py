"""Whole grids for tests: a shared folder with settings, machines and small applications on the run's MongoDB."""

from __future__ import annotations

import csv
import os
import uuid
from collections.abc import Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pymongo import MongoClient

from gridcompute.config import database_name
from gridcompute.machine.mongod import PrivateMongod

if TYPE_CHECKING:
    from gridcompute.grid.settings import Settings

user_group, password = "engineers", "pass word:/@%"

send_each_file = """
def select_input_files(filepath):
    return [[filepath]]
"""

process_copy = """
import shutil
from pathlib import Path

def process_case(input_files):
    outputs = []
    for number, file in enumerate(input_files):
        output = Path(f"{number}-{Path(file).name}.out")
        output.write_bytes(b"processed:" + Path(file).read_bytes())
        outputs.append(str(output))
    return outputs
"""

receive_copy = """
import os
import shutil
from pathlib import Path

received = Path(RECEIVED)

def say(line):
    with open(received / "receive.log", "ab", buffering=0) as log:
        log.write(line.encode() + b"\\n")
        os.fsync(log.fileno())

def receive_case(output_files):
    name = Path(output_files[0]).name if output_files else "nothing"
    say(f"begun {name}")
    for file in output_files:
        shutil.copyfile(file, received / Path(file).name)
    say(f"done {name}")
"""

copy_application = {"send": send_each_file, "process": process_copy, "receive": receive_copy}
"""An application that brings each input file back as ``0-NAME.out`` with ``processed:`` before its content."""


@dataclass
class Grid:
    """A shared folder and the MongoDB that it names. `lines` are those of settings.txt."""

    root: Path
    received: Path
    """Where receive.py of the small applications puts files, and ``receive.log`` with a line at each begin and end."""
    lines: dict[str, str]
    machines: dict[str, list[str]] = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        """The settings as the program reads them."""
        from gridcompute.grid.settings import parse_settings

        return parse_settings(settings_text(self.lines), str(self.settings_path))

    @property
    def instance(self) -> str:
        return self.lines["instance"]

    @property
    def settings_path(self) -> Path:
        return self.root / "Settings" / "settings.txt"

    @property
    def applications_path(self) -> Path:
        return self.root / "Settings" / "Applications"

    def write_settings(self, **changes: str) -> None:
        """Write settings.txt, with changes: ``heartbeat_dead="3"`` is the line ``heartbeat dead: 3``."""
        self.lines.update({name.replace("_", " "): str(value) for name, value in changes.items()})
        self.settings_path.write_text(settings_text(self.lines), encoding="utf-8")

    def write_machines(self, machines: Mapping[str, Iterable[str]]) -> None:
        """Write Software_Per_Machine.csv: for each machine the applications that it has."""
        self.machines = {machine: list(applications) for machine, applications in machines.items()}
        columns = sorted({application for applications in self.machines.values() for application in applications})
        with (self.root / "Settings" / "Software_Per_Machine.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["Machine name", *columns])
            for machine, applications in self.machines.items():
                table.writerow([machine, *("1" if column in applications else "0" for column in columns)])

    def write_application(self, name: str, scripts: Mapping[str, str]) -> Path:
        """Write an application: its scripts by name without ending (``send``), other files with (``application.txt``).

        The word RECEIVED in a script stands for the path of `received`, as a Python string.
        """
        folder = self.applications_path / name
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in scripts.items():
            path = folder / (file if "." in file else f"{file}.py")
            path.write_text(text.replace("RECEIVED", repr(str(self.received))), encoding="utf-8")
        return folder

    @contextmanager
    def database(self):
        """The database `gridcompute` as a team member's tool sees it."""
        with MongoClient(
            self.lines["mongodb server"],
            username=self.lines["user group"],
            password=self.lines["password"],
            authSource=database_name,
            directConnection=True,
            tz_aware=True,
        ) as client:
            yield client[database_name]

    def machines_there(self) -> set[str]:
        """The names of the machines whose agents look for cases."""
        with self.database() as database:
            query = {"instance": self.instance, "offered": {"$gt": 0}}
            return {one["machine"] for one in database["machines"].find(query)}

    def documents(self, **query: Any) -> list[dict[str, Any]]:
        """The documents of this grid's cases, oldest first."""
        with self.database() as database:
            return list(database["cases"].find({"instance": self.instance, **query}).sort("_id"))

    def receive_log(self) -> list[str]:
        """What receive.py of the small applications told: ``begun NAME`` and ``done NAME``, in order."""
        path = self.received / "receive.log"
        return path.read_text("utf-8").splitlines() if path.exists() else []

    def archives(self) -> list[str]:
        """Every file below Cases and Results, relative to the shared folder with ``/``."""
        return sorted(
            path.relative_to(self.root).as_posix()
            for area in ("Cases", "Results")
            for path in (self.root / area).rglob("*")
            if path.is_file()
        )


def settings_lines(server: PrivateMongod | str, **changes: str) -> dict[str, str]:
    """The lines of a settings.txt on `server`, with an instance of their own, so that no test sees another's cases."""
    address = server if isinstance(server, str) else server.address
    lines = {
        "mongodb server": address,
        "user group": user_group,
        "password": password,
        "instance": f"test-{uuid.uuid4().hex}",
    }
    lines.update({name.replace("_", " "): str(value) for name, value in changes.items()})
    return lines


def settings_text(lines: Mapping[str, str]) -> str:
    return "".join(f"{name}: {value}\n" for name, value in lines.items())


def make_grid(
    root: Path,
    server: PrivateMongod | str,
    apps: Mapping[str, Mapping[str, str]] | None = None,
    machines: Mapping[str, Iterable[str]] | Iterable[str] | None = None,
    **settings: str,
) -> Grid:
    """Make a shared folder at `root`; by default one application *Copy* that the machines *PC-1* and *PC-2* have."""
    apps = {"Copy": copy_application} if apps is None else apps
    machines = ("PC-1", "PC-2") if machines is None else machines
    if not isinstance(machines, Mapping):
        machines = {machine: list(apps) for machine in machines}
    received = root.with_name(f"{root.name}-received")
    for folder in (root / "Settings" / "Applications", root / "Cases", root / "Results", received):
        folder.mkdir(parents=True)
    grid = Grid(root, received, settings_lines(server, **settings))
    grid.write_settings()
    grid.write_machines(machines)
    for name, scripts in apps.items():
        grid.write_application(name, scripts)
    return grid


def command_environment(home: Path) -> dict[str, str]:
    """The environment for a command of the program: its own home folder, and nothing of this user's grid."""
    environ = {name: value for name, value in os.environ.items() if name != "GRIDCOMPUTE_SERVER"}
    return {**environ, "GRIDCOMPUTE_HOME": str(home)}
