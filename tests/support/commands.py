"""The installed command in its own processes: single commands and agents, as people and scripts run them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.support.grids import Grid, command_environment
from tests.support.waiting import wait_for

program = [sys.executable, "-m", "gridcompute"]


@dataclass
class Finished:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def run_command(
    *arguments: str | Path,
    home: Path,
    grid: Grid | None = None,
    cwd: Path | None = None,
    timeout: float = 90.0,
    text: str = "",
    **environ: str,
) -> Finished:
    """Run ``gridcompute ARGUMENTS`` to its end; `text` is what is typed."""
    place = ["--server", str(grid.root)] if grid is not None else []
    done = subprocess.run(
        [*program, *place, *map(str, arguments)],
        env={**command_environment(home), **environ},
        cwd=cwd,
        input=text.encode(),
        capture_output=True,
        timeout=timeout,
        check=False,
    )
    return Finished(done.returncode, done.stdout.decode(), done.stderr.decode())


class Command:
    """A command that still runs, in a session of its own; `finish` waits for its end, `interrupt` is Ctrl+C."""

    def __init__(self, *arguments: str | Path, home: Path, grid: Grid):
        self.process = subprocess.Popen(
            [*program, "--server", str(grid.root), *map(str, arguments)],
            env=command_environment(home),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def interrupt(self) -> None:
        """Send what a terminal sends on Ctrl+C, to the command and all that it started."""
        os.killpg(self.process.pid, signal.SIGINT)

    def finish(self, timeout: float = 30.0) -> Finished:
        out, err = self.process.communicate(timeout=timeout)
        return Finished(self.process.returncode, out.decode(), err.decode())

    def __enter__(self) -> Command:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            for one in [*psutil.Process(self.process.pid).children(recursive=True), self.process]:
                with contextlib.suppress(psutil.Error):
                    one.kill()
            self.process.wait(10)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()


class Agent:
    """A running ``gridcompute agent``; what it prints is in `lines`."""

    def __init__(self, grid: Grid, home: Path, machine: str, processes: int, options: Sequence[str], environ: dict):
        arguments = ["--server", str(grid.root), "--machine", machine, "agent", "--processes", str(processes), *options]
        self.machine, self.home = machine, home
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [*program, *arguments],
            env={**command_environment(home), **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def wait_for_line(self, part: str, timeout: float = 30.0) -> str:
        """The first line that has `part` in it."""
        return wait_for(
            lambda: next((line for line in self.lines if part in line), ""),
            timeout,
            lambda: f"no line of the agent on {self.machine} has '{part}' in it:\n{self.text}",
        )

    def tree(self) -> list[psutil.Process]:
        """The agent's own process and all that it started."""
        top = psutil.Process(self.process.pid)
        return [top, *top.children(recursive=True)]

    def daemon(self, name: str) -> psutil.Process:
        """The process of the daemon `name` (process or receive)."""
        log = (self.home / "gridcompute.log").read_text(errors="replace")
        for one in self.tree()[1:]:
            with contextlib.suppress(psutil.Error):
                if f"{name}[{one.pid}]" in log or f"[{name} {one.pid}]" in log:
                    return one
        raise AssertionError(f"no {name} daemon among {self.tree()}")

    def stop(self, timeout: float = 15.0) -> int:
        """Ask it to end by SIGTERM, as a service manager does."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout)
        self._reader.join(5)
        return code

    def kill(self) -> None:
        """SIGKILL the agent and both daemons at once; helpers and cases are left to end by themselves."""
        tree = [one for one in self.tree() if _is_own(one)]
        for one in tree:  # none may see another's end, and hand its cases back
            with contextlib.suppress(psutil.Error):
                one.suspend()
        for one in tree:
            with contextlib.suppress(psutil.Error):
                one.kill()
        self.process.wait(10)

    def end(self) -> None:
        """At the end of a test: whatever still runs is killed."""
        if self.process.poll() is None:
            with contextlib.suppress(psutil.Error):
                for one in reversed(self.tree()):
                    with contextlib.suppress(psutil.Error):
                        one.resume()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.stop(12)
        if self.process.poll() is None:
            self.kill()
        if self.process.stdout is not None:
            self._reader.join(5)
            self.process.stdout.close()


def _is_own(process: psutil.Process) -> bool:
    """Whether a process is the agent itself or one of its daemons, not a helper or a case."""
    with contextlib.suppress(psutil.Error):
        line = " ".join(process.cmdline())
        return "multiprocessing" in line or " agent" in line
    return False


@contextlib.contextmanager
def agents(folder: Path) -> Iterator[Any]:
    """Makes agents, each with a per-user folder of its own below `folder`, and ends them."""
    made: list[Agent] = []

    def start(
        grid: Grid, machine: str = "PC-1", processes: int = 1, *options: str, home: Path | None = None, **environ
    ):
        made.append(Agent(grid, home or folder / f"home of {machine}", machine, processes, options, dict(environ)))
        return made[-1]

    try:
        yield start
    finally:
        for agent in made:
            agent.end()


def write_files(folder: Path, number: int, text: str = "content") -> list[Path]:
    """Small input files, each with content of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for index in range(number):
        file = folder / f"input {index}.txt"
        file.write_text(f"{text} {index}", encoding="utf-8")
        files.append(file)
    return files
