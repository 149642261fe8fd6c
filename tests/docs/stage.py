"""Runs the blocks of a page in order, as somebody does who reads it: in a clean home folder, on a real grid."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path

from pymongo import MongoClient

from gridcompute.grid.database import Database
from gridcompute.grid.settings import parse_application_settings, parse_settings, parse_software
from tests.docs.fences import Command, Fence, matches, root, session
from tests.support.waiting import wait_for

_patience = 60.0  # seconds for one command
_commands = Path(sys.executable).parent


class Background:
    """A command that goes on while the reader reads on; what it prints is in `text`."""

    def __init__(self, command: str, **options):
        self.command = command
        self.text = ""
        self.process = subprocess.Popen(
            ["bash", "-c", f"exec {command}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            **options,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.text += line

    def end(self) -> None:
        """Press Ctrl+C in its terminal; it ends in order."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGINT)
        try:
            code = self.process.wait(25)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise
        finally:
            self._reader.join(5)
            assert self.process.stdout is not None
            self.process.stdout.close()
        assert code in (0, 130), f"{self.command} ended with {code}:\n{self.text}"


class Stage:
    """A page's own home folder and current folder, in which lie the template and the administrator's script.

    `stands_for` maps what the page writes to what is there in its place, such as an address. `shell` is the
    address, with user and password, of the MongoDB on which statements for its shell are done.
    """

    def __init__(self, folder: Path, stands_for: Mapping[str, str], shell: str):
        self.home, self.here = folder / "home", folder / "here"
        self.stands_for = dict(stands_for)
        self._mongodb = shell
        self.shown: list[str] = []
        """Everything that was printed, by command."""
        self._background: list[Background] = []
        self.home.mkdir(parents=True)
        self.here.mkdir()
        for part in ("admin", "template"):
            shutil.copytree(root / part, self.here / part, ignore=shutil.ignore_patterns("__pycache__"))
        kept = {name: os.environ[name] for name in ("GRIDCOMPUTE_TEST", "TMPDIR", "DISPLAY") if name in os.environ}
        self._environ = {
            "HOME": str(self.home),
            "PATH": os.pathsep.join([str(_commands), os.environ["PATH"]]),
            "LANG": "C.UTF-8",
            **kept,
        }

    def run(self, fence: Fence) -> None:
        """Run a block as its first word and its options tell."""
        if "file" in fence.options:
            self._write(fence)
        else:
            {
                "console": self._session,
                "python": self._script,
                "mongosh": self._shell,
                "settings": self._settings,
            }[fence.language](fence)

    def end(self) -> None:
        """End what goes on, the last first."""
        with contextlib.ExitStack() as stack:
            for one in self._background:
                stack.callback(one.end)
            self._background = []

    def _end_all(self, name: str) -> None:
        """A user has one agent and one server at a time: a page that shows the next means it in place of the last."""
        for one in [one for one in self._background if _command_name(one.command) == name]:
            self._background.remove(one)
            one.end()

    def _there(self, text: str) -> str:
        """`text` with what is really there in place of what the page writes; ID is the last id that was shown."""
        for written, real in self.stands_for.items():
            text = text.replace(written, real)
        ids = re.findall(r"\b[0-9a-f]{24}\b", "\n".join(self.shown))
        return re.sub(r"\bID\b(?! +SUBMITTED)", ids[-1], text) if ids else text

    # Commands.

    def _session(self, fence: Fence) -> None:
        for command in session(fence.text):
            expected = [self._there(line) for line in command.expected]
            self._command(Command(self._there(command.text), expected), fence)

    def _command(self, command: Command, fence: Fence) -> None:
        if name := _command_name(command.text):
            self._end_all(name)
        if _goes_on(command.text):
            self._start(command, fence)
            return
        folder = self.here.parent / "folder.txt"
        done = subprocess.run(
            ["bash", "-c", f"{command.text}\ncode=$?; pwd >{str(folder)!r}; exit $code"],
            env=self._environ,
            cwd=self.here,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_patience,
            check=False,
        )
        self.here = Path(folder.read_text("utf-8").strip())  # cd holds for the commands that follow
        self.shown.append(done.stdout)
        said = f"{fence.where}: $ {command.text}\n{done.stdout}"
        assert done.returncode == 0, said
        assert matches(command.expected, done.stdout), f"{said}\nexpected:\n" + "\n".join(command.expected)

    def _start(self, command: Command, fence: Fence) -> None:
        made = Background(command.text, env=self._environ, cwd=self.here)
        self._background.append(made)
        expected = command.expected or ["..."]
        wait_for(
            lambda: made.text and matches(expected, made.text),
            _patience,
            lambda: f"{fence.where}: $ {command.text}\n{made.text}\nexpected:\n" + "\n".join(expected),
        )
        assert made.process.poll() is None, f"{fence.where}: $ {command.text} ended:\n{made.text}"

    def _script(self, fence: Fence) -> None:
        script = self.here / "example.py"
        script.write_text(self._there(fence.text), encoding="utf-8")
        command = Command(f"python {script.name}", re.findall(r"# prints (.*)$", fence.text, re.MULTILINE))
        self._command(command, fence)

    # Files.

    def _write(self, fence: Fence) -> None:
        text = self._there(fence.text)
        path = self.here / self._there(fence.options["file"])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        readers = {
            "settings.txt": parse_settings,
            "Software_Per_Machine.csv": parse_software,
            "application.txt": parse_application_settings,
        }
        if path.name in readers:
            readers[path.name](text, fence.where)
        elif path.suffix == ".py":
            compile(text, fence.where, "exec")

    def _settings(self, fence: Fence) -> None:
        needed = {"mongodb server": "localhost:27017", "user group": "g", "password": "p", "instance": "0"}
        text = self._there(fence.text)
        named = {line.partition(":")[0].strip() for line in text.splitlines()}
        lines = [f"{name}: {value}" for name, value in needed.items() if name not in named]
        settings = parse_settings("\n".join([text, *lines]), fence.where)
        Database(settings).close()  # reaches nothing, but knows whether the address is one

    # MongoDB's shell.

    def _shell(self, fence: Fence) -> None:
        """What the statements do, done by their names on the real server, by its administrator."""
        with MongoClient(self._mongodb) as client:
            database = client["test"]
            for line in fence.text.splitlines():
                if name := re.fullmatch(r"use (\w+)", line):
                    database = client[name[1]]
                elif called := re.fullmatch(r"db\.createUser\((.*)\)", line):
                    made = _document(called[1])
                    database.command("createUser", made.pop("user"), **made)
                elif called := re.fullmatch(r"db\.(\w+)\.deleteMany\((.*)\)", line):
                    database[called[1]].delete_many(_document(called[2]))
                else:
                    raise AssertionError(f"{fence.where}: {line} is no statement that this test knows")


def _goes_on(command: str) -> bool:
    """Whether a command runs until it is ended: an agent that nothing ends by itself, and serve."""
    name = _command_name(command)
    return name == "serve" or (name == "agent" and "--until-idle" not in command)


def _command_name(command: str) -> str:
    found = re.match(r"(?:\S*/)?gridcompute(?: --\w+ (?:\"[^\"]*\"|\S+))* (\w+)", command)
    return found[1] if found else ""


def _document(text: str) -> dict:
    """A document as MongoDB's shell writes it: names without quotes, moments as ISODate."""
    text = re.sub(r"([{,]\s*)([$\w]+):", r'\1"\2":', text)
    text = re.sub(r"ISODate\((\"[^\"]*\")\)", r'{"moment": \1}', text)

    def moment(found: dict) -> object:
        if set(found) != {"moment"}:
            return found
        return datetime.fromisoformat(found["moment"]).replace(tzinfo=timezone.utc)

    return json.loads(text, object_hook=moment)
