"""``gridcompute init``: a shared folder from the template, ready to use, with this machine listed."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import runpy
import shlex
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from gridcompute import config
from gridcompute.commands.template import SHARED_FOLDER, copy_template, template_folder
from gridcompute.errors import DatabaseError, DiskFull, GridComputeError, ShareError, UsageError
from gridcompute.grid import trouble
from gridcompute.grid.database import Database
from gridcompute.grid.settings import Settings, format_settings, machine_column, parse_settings
from gridcompute.grid.shared_folder import SharedFolder
from gridcompute.server import machine_name

RANDOM_COUNTER, CALCULIX = "Random Counter", "CalculiX"

_patience = 3.0  # seconds in which the database should answer; the folder is made whether it does or not
_litter = frozenset({".DS_Store", "Thumbs.db", "desktop.ini", ".directory"})
"""What file managers leave in a folder that people call empty."""


def run(folder: str, *, mongodb_server: str, user_group: str, password: str, instance: str, machine: str) -> int:
    """Make the shared folder and say what was decided and what to do next; the command's exit code."""
    target = Path(folder).expanduser().absolute()
    settings = checked_settings(mongodb_server, user_group, password, instance)
    solver, why_not = find_solver()
    software = [RANDOM_COUNTER, CALCULIX] if solver else [RANDOM_COUNTER]
    make_shared_folder(target, settings, {machine: software})
    print(f"Made the shared folder {target}")
    print(f"  settings.txt              database {mongodb_server}, user group {user_group}, instance {instance}")
    print(f"  Software_Per_Machine.csv  {machine} may process {' and '.join(software)}")
    print(f"{'':28}" + (f"(CalculiX: {solver})" if solver else f"(CalculiX has a 0: {why_not})"))
    sys.stdout.flush()
    _say_database(settings)
    _say_next(target, settings, machine)
    return 0


def checked_settings(mongodb_server: str, user_group: str, password: str, instance: str) -> Settings:
    """Settings of these values; UsageError where one of them could not be written to settings.txt and read again."""
    settings = Settings(mongodb_server.strip(), user_group, password, instance)
    try:
        if parse_settings(format_settings(settings), "the settings") != settings:
            raise UsageError("Cannot write these settings: they would not be read as they are. Use plainer values.")
        Database(settings).close()  # reaches nothing, but knows whether the address is one
    except GridComputeError as exc:
        raise UsageError(str(exc)) from exc
    return settings


def make_shared_folder(target: Path, settings: Settings, machines: Mapping[str, Iterable[str]]) -> SharedFolder:
    """Make `target`, which is new or empty, a shared folder with these settings.

    `machines` maps the name of each machine to the applications that it may process. Raises `UsageError` where the
    folder holds something: nothing is overwritten then. After any other error nothing is left of what was made.
    """
    was_there = _check_target(target)
    try:
        copy_template(target)
        for area in ("Cases", "Results"):
            (target / area).mkdir(exist_ok=True)
        share = SharedFolder(target)
        share.software_path.write_text(_software_text(target, machines), encoding="utf-8", newline="")
        # Whoever may use the grid has to read the password here, so the file keeps the mode that the share gives it.
        share.settings_path.write_text(_settings_text(share, settings), encoding="utf-8", newline="")
        share.check()
        return share
    except BaseException as exc:
        _undo(target, was_there)
        if isinstance(exc, OSError):
            raise _in_words(target, exc) from exc
        raise


def _check_target(target: Path) -> bool:
    """Whether the folder is there, empty; UsageError where it holds something."""
    try:
        there = {path.name for path in target.iterdir()} - _litter
    except NotADirectoryError as exc:
        raise UsageError(f"Cannot make a shared folder of {target}: that is a file. Name a new folder.") from exc
    except FileNotFoundError:
        return False
    except OSError as exc:
        raise _in_words(target, exc) from exc
    if "Settings" in there:
        raise UsageError(
            f"{target} holds a grid already; nothing was changed. To use it: gridcompute --server "
            f'"{target}". To change it edit its Settings/settings.txt; for another grid name another folder.'
        )
    if there:
        some = ", ".join(sorted(there)[:3])
        raise UsageError(
            f"Cannot make a shared folder of {target}: it is not empty ({some}{', ...' if len(there) > 3 else ''}). "
            "Nothing was changed. Name a new or an empty folder."
        )
    return True


def _undo(target: Path, was_there: bool) -> None:
    """Remove what was made in a folder that was empty or missing before."""
    with contextlib.suppress(OSError):
        if not was_there:
            shutil.rmtree(target, ignore_errors=True)
            return
        for path in (template_folder() / SHARED_FOLDER).iterdir():
            shutil.rmtree(target / path.name, ignore_errors=True)


def _in_words(target: Path, exc: OSError) -> GridComputeError:
    tried = f"Cannot make the shared folder {target}: {trouble.words(exc)}."
    if trouble.is_full(exc):
        return DiskFull(f"{tried} Free some space there.")
    return ShareError(f"{tried} Name a folder that you may write, or ask an administrator for the right.")


def _settings_text(share: SharedFolder, settings: Settings) -> str:
    """The template's settings.txt, its explanations kept, with the values of `settings`."""
    values = {line.partition(":")[0]: line for line in format_settings(settings).splitlines()}
    lines = []
    for line in share.settings_path.read_text(encoding="utf-8").splitlines():
        lines.append(values.pop(line.partition(":")[0], line))
    return "\n".join([*lines, *values.values()]) + "\n"


def _software_text(target: Path, machines: Mapping[str, Iterable[str]]) -> str:
    """A table of all applications that the folder has."""
    applications = sorted(path.name for path in SharedFolder(target).applications_path.iterdir() if path.is_dir())
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\r\n")
    table.writerow([machine_column, *applications])
    for machine, software in machines.items():
        software = set(software)
        table.writerow([machine, *(int(name in software) for name in applications)])
    # Excel takes a file without this mark for one in the code page of the computer at hand.
    return text.getvalue() if text.getvalue().isascii() else "\ufeff" + text.getvalue()


def find_solver() -> tuple[str, str]:
    """Where this computer's ccx is, as the template's CalculiX finds it, or an empty text and the reason."""
    solver = template_folder() / SHARED_FOLDER / "Settings" / "Applications" / CALCULIX / "solver.py"
    script = runpy.run_path(str(solver))
    try:
        return script["find"](), ""
    except script["SolverError"] as exc:
        return "", str(exc).partition(". ")[0]


def _say_database(settings: Settings) -> None:
    database = Database(settings, patience=_patience)
    try:
        database.ping()
        print("The database answers, and takes this user group and password.")
    except DatabaseError as exc:
        print(f"gridcompute: warning: {exc}", file=sys.stderr)
        print("The folder is ready; the grid works as soon as the database does.", file=sys.stderr, flush=True)
    finally:
        database.close()


def _say_next(target: Path, settings: Settings, machine: str) -> None:
    called = f'gridcompute --server "{target}"' + ("" if machine == machine_name() else f' --machine "{machine}"')
    print("Next:")
    print(f"  {called} doctor    checks the grid")
    print(f"  {called} agent     lends this computer to it")
    print(f'  {called} submit "{RANDOM_COUNTER}" FILE --wait')
    print(
        f"Each other computer: write the folder's path, as that computer sees it, into {config.server_file} beside the"
    )
    print(f"program, and add a row with the computer's name to {SharedFolder(target).software_path}")
    areas = [target / "Cases", target / "Results"]
    if os.name == "posix" and not all(area.stat().st_mode & 0o022 for area in areas):
        print("Other users need the right to write in two of its folders, for example by:")
        print("  chmod 777 " + " ".join(shlex.quote(str(area)) for area in areas))
    host = settings.mongodb_server.rpartition(":")[0].strip("[]")
    if host in ("localhost", "127.0.0.1", "::1"):
        print(
            f"'mongodb server: {settings.mongodb_server}' is this computer alone: for other computers write its name "
            "in place of it in settings.txt."
        )
