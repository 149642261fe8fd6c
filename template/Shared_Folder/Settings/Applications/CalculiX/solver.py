"""The solver: where ``ccx`` is on this machine, how it is run, and how to see that it failed."""

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

VARIABLE = "GRIDCOMPUTE_CCX"
NAMES = ("ccx", "ccx_static", "ccx_dynamic")
ERRORS_SHOWN = 3  # a broken model may print one for each element
ERROR_LENGTH = 300  # characters of one error
NOTES = ("*WARNING", "*INFO")  # how a message begins that is no error

_STEP = re.compile(r"\s*STEP\s+(\d+)\s*$")
_TIME = re.compile(r"\s*actual step time=\s*(\S+)")


class SolverError(RuntimeError):
    """The solver is missing or failed."""


def find():
    """The path of ccx: the variable GRIDCOMPUTE_CCX, then PATH (``ccx``, then the newest ``ccx_2.*``), then FreeCAD's.

    Each machine has its own, which is why the place is a variable of the machine's and no line of the shared folder.
    """
    named = os.environ.get(VARIABLE)
    if named:
        found = shutil.which(named)
        if not found:
            raise SolverError(
                f"The variable {VARIABLE} names {named}, which is no program on this machine ({platform.node()}). "
                "Correct the variable, or remove it to look for ccx on the PATH."
            )
        return found
    for name in NAMES:
        found = shutil.which(name)
        if found:
            return found
    others = _versioned() or _with_freecad()
    if others:
        return str(max(others, key=_version))
    raise SolverError(
        f"CalculiX (ccx) is not installed on this machine ({platform.node()}). Install it, or name it in the variable "
        f"{VARIABLE}, or set 0 for CalculiX in this machine's row of Software_Per_Machine.csv."
    )


def run(ccx, deck, log, *, on_time):
    """Run ccx on `deck` (an ``.inp`` file) in its folder; its output is printed and kept in `log`.

    `on_time(step, time)` hears of each increment. SolverError says why ccx failed. It may do so with exit code 0, so
    its words and its results count as well.
    """
    command = [str(ccx), "-i", deck.stem]
    try:
        process = subprocess.Popen(
            command,
            cwd=deck.parent,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),  # on Windows
        )
    except OSError as error:
        raise SolverError(f"{ccx} can't be started on this machine ({platform.node()}): {error}") from error
    watch = _Watch(on_time)
    with process, log.open("w", encoding="utf-8") as kept:
        try:
            for line in process.stdout:
                print(line, end="", flush=True)
                kept.write(line)
                watch.see(line)
        except BaseException:
            process.kill()
            raise
    watch.check(process.returncode)
    if not any(_has_content(deck.with_suffix(ending)) for ending in (".dat", ".frd")):
        raise SolverError("ccx ended without an error but wrote no results. Does the model have a *STEP with output?")


class _Watch:
    """Reads what ccx prints: errors, the step and the time it is at, the last words."""

    def __init__(self, on_time):
        self._on_time = on_time
        self._errors, self._step, self._finished, self._in_error = [], 1, False, False

    def see(self, line):
        text = line.strip()
        if "*ERROR" in text:
            self._errors.append(" ".join(text.split()))
            self._in_error = True
        elif self._in_error and text and not text.startswith(NOTES) and len(self._errors[-1]) < ERROR_LENGTH:
            self._errors[-1] += " " + " ".join(text.split())  # ccx breaks a message into several lines
        else:
            self._in_error = False
        if step := _STEP.match(line):
            self._step = int(step[1])
            self._tell(0.0)
        elif time := _TIME.match(line):
            self._tell(time[1])
        self._finished = self._finished or text == "Job finished"

    def check(self, code):
        if self._errors:
            more = len(self._errors) - ERRORS_SHOWN
            raise SolverError("; ".join(self._errors[:ERRORS_SHOWN]) + (f" (and {more} more)" if more > 0 else ""))
        if code < 0:
            raise SolverError(f"ccx was ended by signal {-code}.")
        if code:
            raise SolverError(f"ccx ended with exit code {code} ({code & 0xFFFFFFFF:#x}).")
        if not self._finished:
            raise SolverError("ccx stopped before it said 'Job finished'; its output tells how far it came.")

    def _tell(self, time):
        try:
            self._on_time(self._step, float(time))
        except ValueError:
            pass  # no number that Python reads, such as 1.0-100


def _environment():
    """This process's environment, with one thread: the grid gives a case one core."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CCX_NPROC", "NUMBER_OF_CPUS"))}
    return {**kept, "OMP_NUM_THREADS": "1"}


def _versioned():
    pattern = "ccx_[0-9]*.exe" if os.name == "nt" else "ccx_[0-9]*"
    folders = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    found = [path for folder in folders if folder.is_dir() for path in folder.glob(pattern)]
    return [path for path in found if path.is_file() and os.access(path, os.X_OK)]


def _with_freecad():
    programs = os.environ.get("PROGRAMFILES") if os.name == "nt" else None
    return list(Path(programs).glob("FreeCAD*/bin/ccx.exe")) if programs else []


def _version(path):
    return [int(number) for number in re.findall(r"\d+", str(path))]


def _has_content(path):
    return path.is_file() and path.stat().st_size > 0
