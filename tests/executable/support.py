"""The executable in the hands of one person: its programs, started in an environment that is empty."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.support.commands import Finished


class Executable:
    """`folder` is where it lies, `person` this person's home folder; `environ` is all there is beside that."""

    def __init__(self, folder: Path, person: Path, environ: dict[str, str]):
        person.mkdir(exist_ok=True)
        self.folder, self.person = folder, person
        self.home = person / ".local" / "share" / "GridCompute"
        self.environ = {"HOME": str(person), **environ}
        self._running: list[subprocess.Popen[bytes]] = []

    def run(self, *arguments: str | Path, program: Path | None = None, timeout: float = 90.0) -> Finished:
        """Run ``gridcompute-cli ARGUMENTS`` to its end."""
        done = subprocess.run(
            [program or self.folder / "gridcompute-cli", *map(str, arguments)],
            env=self.environ,
            cwd=self.person,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
        return Finished(done.returncode, done.stdout.decode(), done.stderr.decode())

    def start(self, program: str, *arguments: str | Path) -> subprocess.Popen[bytes]:
        """Start one of the programs; it is ended with the test."""
        self._running.append(
            subprocess.Popen(
                [self.folder / program, *map(str, arguments)],
                env=self.environ,
                cwd=self.person,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )
        return self._running[-1]

    def log_end(self, lines: int = 30) -> str:
        path = self.home / "gridcompute.log"
        return "\n".join(path.read_text("utf-8").splitlines()[-lines:]) if path.exists() else "no log"

    def end(self) -> None:
        for process in self._running:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait(10)
