"""Environments for applications that declare what they need, at the head of process.py (PEP 723).

Each machine makes one for each application and head, by the program ``uv``, in the per-user folder. It counts as made
when ``made.json`` lies in it; what went wrong at the last try stands beside it, for doctor. `make` may take minutes and
is called in a thread of its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import filelock

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]

from gridcompute.errors import EnvironmentMissing
from gridcompute.machine import program

__all__ = ["Environment", "Head", "find_uv", "parse_head"]

patience = 1800.0
"""Seconds that making an environment may take: hundreds of megabytes over an office's line."""

_running: set[subprocess.Popen[str]] = set()

_block = re.compile(r"(?m)^# /// (?P<type>[a-zA-Z0-9-]+)$\s(?P<content>(^#(| .*)$\s)+)^# ///$")
"""The standard's own expression for a block of metadata."""


class Head(NamedTuple):
    """What an application declares."""

    dependencies: tuple[str, ...]
    requires_python: str
    """A version specifier; empty where none is given."""

    @property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps([sorted(self.dependencies), self.requires_python]).encode()).hexdigest()[:12]


def parse_head(script: str) -> Head | None:
    """The head of a script; None where it has none. Raises `EnvironmentMissing` for one that can't be read."""
    found = [match for match in _block.finditer(script.replace("\r\n", "\n")) if match["type"] == "script"]
    if not found:
        return None
    if len(found) > 1:
        raise EnvironmentMissing("process.py has two heads '# /// script'. Its author removes one.")
    lines = found[0]["content"].splitlines()
    text = "".join((line[2:] if line.startswith("# ") else line[1:]) + "\n" for line in lines)
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise EnvironmentMissing(f"The head of process.py is no TOML: {exc}. Its author corrects it.") from exc
    dependencies, python = values.get("dependencies", []), values.get("requires-python", "")
    if not isinstance(dependencies, list) or not all(isinstance(one, str) for one in dependencies):
        raise EnvironmentMissing(
            "'dependencies' at the head of process.py is no list of texts. Its author corrects it."
        )
    if not isinstance(python, str):
        raise EnvironmentMissing("'requires-python' at the head of process.py is no text. Its author corrects it.")
    return Head(tuple(dependencies), python)


def find_uv() -> Path:
    """The program uv: on PATH, beside the executable, or in the Python package. Raises `EnvironmentMissing`."""
    name = "uv.exe" if os.name == "nt" else "uv"
    beside = program.folder() / name if program.is_frozen() else Path(sys.executable).parent / name
    on_path = shutil.which("uv")
    for found in (Path(on_path) if on_path else beside, beside):
        if found.is_file():
            return found
    raise EnvironmentMissing(
        "The program uv, which makes environments for applications, is not on this computer: neither on PATH nor at "
        f"{beside}. Install it: pip install uv."
    )


@dataclass(frozen=True)
class Environment:
    """The environment of one application on this computer, made or not."""

    application: str
    head: Head
    folder: Path

    @classmethod
    def of(cls, application: str, head: Head, home: Path) -> Environment:
        """Where that environment lies below the per-user folder `home`."""
        name = hashlib.sha256(application.encode("utf-8", "surrogatepass")).hexdigest()[:8]
        return cls(application, head, home / "environments" / f"{name}-{head.digest}")

    @property
    def python(self) -> Path:
        return self.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    @property
    def made(self) -> dict[str, Any] | None:
        """``{"application", "python", "packages", "seconds"}`` of one that is there; None where it is not."""
        found = _read(self.folder / "made.json")
        return found if found is not None and self.python.exists() else None

    @property
    def trouble(self) -> str:
        """Why the last try to make it failed; empty where none did."""
        return str((_read(self._failure) or {}).get("message", ""))

    @property
    def _failure(self) -> Path:
        return self.folder.with_suffix(".failed.json")

    def make(self) -> None:
        """Make it, unless it is there; an earlier one of the application is removed. May take minutes.

        Another process that makes it now is waited for. Raises `EnvironmentMissing` that says what uv said.
        """
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(self.folder.with_suffix(".lock"), timeout=patience):
            if self.made is not None:
                return
            began = time.monotonic()
            try:
                self._build()
            except (EnvironmentMissing, OSError) as exc:
                shutil.rmtree(self.folder, ignore_errors=True)
                message = self._sentence(str(exc))
                self._failure.write_text(json.dumps({"message": message}), "utf-8")
                raise EnvironmentMissing(message) from exc
            made = {
                "application": self.application,
                "python": _run([str(self.python), "-c", "import platform; print(platform.python_version())"]).strip(),
                "packages": list(self.head.dependencies),
                "seconds": round(time.monotonic() - began, 1),
            }
            (self.folder / "made.json").write_text(json.dumps(made), "utf-8")
            self._failure.unlink(missing_ok=True)
            self._remove_earlier()

    def _build(self) -> None:
        uv = str(find_uv())
        shutil.rmtree(self.folder, ignore_errors=True)  # one that was broken off
        version = ["--python", self.head.requires_python] if self.head.requires_python else []
        _run([uv, "venv", "--quiet", "--no-project", *version, str(self.folder)], self.folder.parent)
        if self.head.dependencies:
            install = [uv, "pip", "install", "--quiet", "--python", str(self.python), *self.head.dependencies]
            _run(install, self.folder.parent)

    def _sentence(self, what: str) -> str:
        return (
            f"The environment of the application '{self.application}' can't be made on this computer: "
            f"{what.rstrip('.')}. Its cases are left to other machines; it is tried again."
        )

    def _remove_earlier(self) -> None:
        beginning = self.folder.name.partition("-")[0]
        for path in self.folder.parent.glob(f"{beginning}-*"):
            if path.is_dir() and path != self.folder:
                shutil.rmtree(path, ignore_errors=True)  # one in use under Windows stays until the next time


def _run(command: list[str], folder: Path | None = None) -> str:
    """What a command printed; raises `EnvironmentMissing` with its complaint."""
    with subprocess.Popen(
        command,
        cwd=folder,
        env=program.environment_for_others(os.environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
    ) as process:
        _running.add(process)
        try:
            printed, complaint = process.communicate(timeout=patience)
        except subprocess.TimeoutExpired as exc:
            process.kill()
            raise EnvironmentMissing(f"{Path(command[0]).name} took longer than {patience:g} s") from exc
        finally:
            _running.discard(process)
    if process.returncode != 0:
        said = " ".join(complaint.split())[-600:] or f"exit code {process.returncode}"
        raise EnvironmentMissing(f"{Path(command[0]).name} says: {said}")
    return printed


def stop_making() -> None:
    """End the programs that make environments for this process; what they had begun is begun anew the next time."""
    for process in list(_running):
        process.kill()


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
