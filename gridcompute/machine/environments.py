"""Environments for applications that declare what they need, at the head of process.py (PEP 723).

Each machine makes one for each application and head, by the program ``uv``, in the per-user folder. It counts as made
when ``made.json`` lies in it; what went wrong at the last try stands beside it, and whether somebody asked for it
anew. So doctor and the window, which are other processes, find all of it there: `survey`. `make` may take minutes and
is called in a thread of its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

import filelock

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]

from gridcompute.errors import EnvironmentMissing
from gridcompute.machine import program

__all__ = ["Environment", "Found", "Head", "examine", "find_uv", "head_of", "parse_head", "survey", "unused"]

MISSING, MAKING, READY, FAILED, UNUSED = "not made yet", "being made", "ready", "failed", "not used"
"""The states of an environment on this computer."""

patience = 1800.0
"""Seconds that making an environment may take: hundreds of megabytes over an office's line."""

_made, _used = "made.json", "used"
"""Files in an environment: what it is, and one whose time is that of the last case in it."""

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


def head_of(application: Path) -> Head | None:
    """What process.py in the folder of an application declares; `EnvironmentMissing` as `parse_head`, or OSError."""
    return parse_head((application / "process.py").read_text("utf-8", "replace"))


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
        """``{"application", "python", "packages", "seconds", "bytes"}`` of one that is there; None where it is not."""
        found = _read(self.folder / _made)
        return found if found is not None and self.python.exists() else None

    @property
    def trouble(self) -> str:
        """Why the last try to make it failed; empty where none did."""
        return str((_read(self._failure) or {}).get("message", ""))

    @property
    def being_made(self) -> bool:
        """Whether a process of this person makes it at this moment."""
        if not self._lock.exists():
            return False
        try:
            with filelock.FileLock(self._lock, timeout=0.0):
                return False
        except filelock.Timeout:
            return True
        except OSError:
            return False

    @property
    def asked_anew(self) -> bool:
        """Whether somebody asked for it to be made anew, which waits until no case runs in it."""
        return self._wish.exists()

    def ask_anew(self) -> None:
        """Let the daemon that makes it remove it and make it again, or try again now. OSError if it can't be noted."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        self._wish.touch()

    def note_use(self) -> None:
        """A case begins to run in it."""
        with contextlib.suppress(OSError):  # it is told to people, nothing depends on it
            (self.folder / _used).touch()

    @property
    def _failure(self) -> Path:
        return self.folder.with_suffix(".failed.json")

    @property
    def _lock(self) -> Path:
        return self.folder.with_suffix(".lock")

    @property
    def _wish(self) -> Path:
        return self.folder.with_suffix(".anew")

    def make(self) -> None:
        """Make it, unless it is there and nobody asked for it anew. May take minutes.

        Another process that makes it now is waited for. Raises `EnvironmentMissing` that says what uv said.
        """
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(self._lock, timeout=patience):
            if self.made is not None and not self.asked_anew:
                return
            began = time.monotonic()
            try:
                self._wish.unlink(missing_ok=True)
                self._build()
                version = _run([str(self.python), "-c", "import platform; print(platform.python_version())"]).strip()
            except (EnvironmentMissing, OSError) as exc:
                shutil.rmtree(self.folder, ignore_errors=True)
                message = self._sentence(str(exc))
                self._failure.write_text(json.dumps({"message": message}), "utf-8")
                raise EnvironmentMissing(message) from exc
            made = {
                "application": self.application,
                "python": version,
                "packages": list(self.head.dependencies),
                "seconds": round(time.monotonic() - began, 1),
                "bytes": _bytes_of(self.folder),
            }
            (self.folder / _made).write_text(json.dumps(made), "utf-8")
            self._failure.unlink(missing_ok=True)

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

    def remove_earlier(self) -> None:
        """Remove those that the application had before its head changed; called while none of its cases runs."""
        beginning = self.folder.name.partition("-")[0]
        for path in self.folder.parent.glob(f"{beginning}-*"):
            if path.is_dir() and path != self.folder:
                shutil.rmtree(path, ignore_errors=True)  # one in use under Windows stays until the next time


@dataclass(frozen=True)
class Found:
    """What stands of the environment of one application on this computer."""

    application: str
    state: str  # MISSING, MAKING, READY, FAILED or UNUSED
    message: str = ""  # why it could not be made; of a head that can't be read, what is wrong with it
    packages: tuple[str, ...] = ()  # as the application declares them
    python: str = ""  # version of the one that is there; else the specifier that is asked for
    folder: Path | None = None  # None for a head that can't be read
    size: int | None = None  # bytes when it was made
    used: datetime | None = None  # begin of the last case in it
    asked_anew: bool = False


def examine(application: str, folder: Path, home: Path) -> Found | None:
    """What stands of the environment of the application in `folder`; None where it needs none.

    OSError where process.py can't be read.
    """
    try:
        head = head_of(folder)
    except EnvironmentMissing as exc:
        return Found(application, FAILED, str(exc))
    if head is None:
        return None
    one = Environment.of(application, head, home)
    made, trouble = one.made, one.trouble
    state = MAKING if one.being_made else READY if made is not None else FAILED if trouble else MISSING
    return Found(
        application,
        state,
        trouble if state == FAILED else "",
        head.dependencies,
        str((made or {}).get("python", head.requires_python)),
        one.folder,
        (made or {}).get("bytes"),
        _last_use(one.folder),
        one.asked_anew,
    )


def survey(applications: Mapping[str, Path], home: Path) -> list[Found]:
    """The environments of these applications (name -> folder) in their order, then those of others that lie here.

    The latter are UNUSED: of another grid, of an earlier head, or of an application that is gone. Applications whose
    process.py can't be read are left out.
    """
    found = []
    for name, folder in applications.items():
        with contextlib.suppress(OSError):
            one = examine(name, folder, home)
            if one is not None:
                found.append(one)
    return found + list(unused(home, {one.folder for one in found}))


def unused(home: Path, wanted: Collection[Path | None]) -> Iterator[Found]:
    """The environments below the per-user folder that are not among the folders `wanted`."""
    for folder in sorted(path for path in (home / "environments").glob("*") if path.is_dir()):
        made = _read(folder / _made)
        if made is not None and folder not in wanted:
            yield Found(
                str(made.get("application", "")),
                UNUSED,
                packages=tuple(map(str, made.get("packages", ()))),
                python=str(made.get("python", "")),
                folder=folder,
                size=made.get("bytes"),
                used=_last_use(folder),
            )


def remove(folder: Path) -> None:
    """Remove an environment that is UNUSED, with what stands beside it. OSError if it can't be removed whole."""
    (folder / _made).unlink(missing_ok=True)  # first: half an environment must not count as one
    shutil.rmtree(folder)
    for ending in (".failed.json", ".anew"):
        folder.with_suffix(ending).unlink(missing_ok=True)


def _last_use(folder: Path) -> datetime | None:
    try:
        return datetime.fromtimestamp((folder / _used).stat().st_mtime, timezone.utc)
    except OSError:
        return None


def _bytes_of(folder: Path) -> int:
    """What the files below a folder hold; of one that vanishes meanwhile nothing is counted."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(Path(place) / name).st_size
    return total


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
