"""The applications of a grid: finding their scripts, importing them, checking what they return.

The module of a script is named ``APPLICATION.function`` and its package is the application's folder, as it was in the
first version of the program. So ``from . import helper`` works, names pickle, and a process that multiprocessing
started fresh finds the module again by its name; ``import helper`` works since the folder also leads the path.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import sys
import traceback
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gridcompute.errors import ApplicationError

if TYPE_CHECKING:
    from gridcompute.grid.settings import ApplicationSettings

Function = Literal["send", "process", "receive"]

function_names: dict[str, str] = {
    "send": "select_input_files",
    "process": "process_case",
    "receive": "receive_case",
}
"""What each script defines."""

settings_file = "application.txt"

_traceback_limit = 16_000


@dataclass(frozen=True)
class Application:
    """The folder of one application and which of its scripts are there."""

    name: str
    path: Path
    send: bool
    process: bool
    receive: bool

    @property
    def settings(self) -> ApplicationSettings:
        """What ``application.txt`` says, read now; the defaults where there is none. Raises `SettingsError`."""
        from gridcompute.grid import settings

        path = self.path / settings_file
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            data = b""
        return settings.parse_application_settings(settings.decode(data, str(path)), str(path))


@dataclass(frozen=True)
class Scan:
    """The applications by name, and a sentence about each folder that is none."""

    applications: dict[str, Application]
    warnings: list[str]


def scan(folder: Path) -> Scan:
    """Look at the folder of the applications. Raises `OSError` where it can't be read."""
    found: dict[str, Application] = {}
    skipped: list[str] = []
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.name.startswith((".", "__")) or not entry.is_dir():
            continue
        if "." in entry.name:
            skipped.append(
                f"The application folder '{entry.name}' in {folder} is skipped: its name has a dot. Rename the folder."
            )
            continue
        application = _look(entry.name, Path(entry.path))
        if application.send or application.process or application.receive:
            found[application.name] = application
        else:
            skipped.append(
                f"The folder '{entry.name}' in {folder} is skipped: it has neither send.py nor process.py nor "
                "receive.py. Add the application's scripts or move the folder elsewhere."
            )
    return Scan(found, skipped)


def _look(name: str, path: Path) -> Application:
    there = {function: (path / f"{function}.py").is_file() for function in function_names}
    return Application(name, path, **there)


def fault_of(application_path: Path, function: str) -> str:
    """Why a script can't be used, as far as that is seen without running it; empty where nothing is seen."""
    import ast  # the process of a case needs neither of these
    import warnings

    path = application_path / f"{function}.py"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an author's doubtful escape in a string is none of the submitter's
            tree = ast.parse(path.read_bytes(), filename=str(path))
    except (SyntaxError, ValueError) as exc:
        line = f"line {exc.lineno} of " if isinstance(exc, SyntaxError) and exc.lineno else ""
        return f"{line}{path.name} has a syntax error: {getattr(exc, 'msg', exc)}."
    except OSError as exc:
        return f"{path.name} can't be read: {exc.strerror or exc}."
    wanted = function_names[function]
    if any(_may_define(node, wanted) for node in ast.walk(tree)):
        return ""
    return f"{path.name} does not define the function '{wanted}'."


def _may_define(node: Any, name: str) -> bool:
    import ast

    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return node.name == name
    if isinstance(node, (ast.ImportFrom, ast.Import)):
        return any(alias.name == "*" or (alias.asname or alias.name) == name for alias in node.names)
    return isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Store)


# --- importing --------------------------------------------------------------------------------------------------------


def load(application_path: Path, function: Function) -> Callable[..., Any]:
    """Import a script of the application and return its function.

    Raises `ApplicationError`, with the script's traceback, where the script or its function is missing or it can't be
    imported. Nothing is written beside the scripts. A script that calls ``sys.exit`` while it is imported counts as one
    that can't be.
    """
    path = Path(application_path)
    script, name = f"{function}.py", path.name
    if not (path / script).is_file():
        raise ApplicationError(
            f"The application '{name}' has no {script} in {path}. Its author adds it, or see whether the folder can be "
            "read."
        )
    sys.dont_write_bytecode = True
    _prepare_path(path)
    module = _import(path, function)
    wanted = function_names[function]
    found = getattr(module, wanted, None)
    if not callable(found):
        raise ApplicationError(
            f"{script} of the application '{name}' does not define the function '{wanted}'. Its author adds it."
        )
    return found


def _prepare_path(path: Path) -> None:
    """The application's folder leads the path; the one above it, for the package, comes last."""
    folder, parent = str(path), str(path.parent)
    if folder in sys.path:
        sys.path.remove(folder)
    sys.path.insert(0, folder)
    if parent not in sys.path:
        sys.path.append(parent)


def _package(path: Path) -> str:
    """The name of the package that stands for the application's folder, made if it is not there.

    An application named as something importable, like ``json``, gets another name, or it would replace it.
    """
    for name in (path.name, f"gridcompute application {path.name}"):
        present = sys.modules.get(name)
        if present is None and not _importable_elsewhere(name, path.parent):
            package = types.ModuleType(name, f"The application in {path}.")
            package.__path__ = [str(path)]
            package.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)
            sys.modules[name] = package
            return name
        if present is not None and list(getattr(present, "__path__", ())) == [str(path)]:
            return name
    sys.modules.pop(name)  # an application of the same name from another folder
    return _package(path)


def _importable_elsewhere(name: str, parent: Path) -> bool:
    # A look of our own: the import system's takes as long as all else that loading a script takes.
    if name in sys.stdlib_module_names:
        return True
    return any(
        os.path.exists(f"{entry}/{name}/__init__.py") or os.path.exists(f"{entry}/{name}.py")  # noqa: PTH110
        for entry in sys.path
        if entry != str(parent)
    )


def _import(path: Path, function: Function) -> types.ModuleType:
    name = f"{_package(path)}.{function}"
    spec = importlib.util.spec_from_file_location(name, path / f"{function}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as exc:
        sys.modules.pop(name, None)
        if isinstance(exc, KeyboardInterrupt):
            raise
        raise _import_error(exc, path, f"{function}.py") from exc
    return module


def _import_error(exc: BaseException, path: Path, script: str) -> ApplicationError:
    return ApplicationError(
        f"{script} of the application '{path.name}' can't be used: {_cause(exc, path)}",
        traceback=plugin_traceback(exc, path),
    )


def _cause(exc: BaseException, path: Path) -> str:
    if isinstance(exc, SyntaxError):
        return f"line {exc.lineno} of {Path(exc.filename or '?').name} has a syntax error: {exc.msg}."
    if isinstance(exc, ModuleNotFoundError):
        return f"it needs the Python module '{exc.name}', which is neither in {path} nor installed on this computer."
    if isinstance(exc, SystemExit):
        return f"it calls sys.exit({exc.code!r}) while it is imported."
    return f"{type(exc).__name__}: {exc}"


def plugin_traceback(exc: BaseException, application_path: Path) -> str:
    """The traceback of `exc` from the first frame of the application on; without any frame where it has none there.

    Paths below the shared folder begin at it: it is mounted elsewhere where the traceback is read.
    """
    folder = os.path.join(str(application_path), "")  # noqa: PTH118 - the separator at the end
    frame = exc.__traceback__
    while frame is not None and not frame.tb_frame.f_code.co_filename.startswith(folder):
        frame = frame.tb_next
    text = "".join(traceback.format_exception(type(exc), exc, frame))
    text = text.replace(f'File "{os.path.join(str(application_path.parent.parent.parent), "")}', 'File "')  # noqa: PTH118
    if len(text) > _traceback_limit:
        half = _traceback_limit // 2
        text = f"{text[:half]}\n[... {len(text) - 2 * half} characters are left out here ...]\n{text[-half:]}"
    return text


# --- what the functions return ----------------------------------------------------------------------------------------


def check_cases(value: Any, application: str, folder: Path | None = None) -> list[list[Path]]:
    """What ``select_input_files`` returned, as one list of absolute paths for each case, in order.

    Relative paths start at `folder`. Raises `ApplicationError` that says what is wrong; that the files exist is not
    looked at.
    """
    where = f"send.py of the application '{application}'"
    if not isinstance(value, (list, tuple)):
        raise ApplicationError(f"{where} returned {_describe(value)} where a list of cases is expected.")
    return [_check_case(case, where, number, folder or Path.cwd()) for number, case in enumerate(value, 1)]


def _check_case(case: Any, where: str, number: int, folder: Path) -> list[Path]:
    if not isinstance(case, (list, tuple)):
        raise ApplicationError(
            f"{where} returned {_describe(case)} as case {number}. Each case is a list of input files: a single file "
            "needs brackets too, [[filepath]]."
        )
    if not case:
        raise ApplicationError(f"{where} returned case {number} without any input file.")
    return [_check_path(item, f"{where} returned a case {number}", folder) for item in case]


def check_outputs(value: Any, folder: Path, application: str = "") -> list[Path]:
    """What ``process_case`` returned, as absolute paths in order; nothing returned means no output.

    Relative paths start at `folder`. Raises `ApplicationError` where it is no list or tuple, or a file is not there.
    """
    where = f"process.py of the application '{application}'" if application else "process.py"
    if value is None:
        return []
    if not isinstance(value, (list, tuple)):
        raise ApplicationError(f"{where} returned {_describe(value)} where a list of output files is expected.")
    outputs = [_check_path(item, f"{where} returned a list", folder) for item in value]
    for output in outputs:
        if not os.path.lexists(output):
            raise ApplicationError(f"{where} returned '{output}' as an output file, but there is no such file.")
    return outputs


def _check_path(item: Any, what: str, folder: Path) -> Path:
    try:
        path = os.fspath(item)
    except TypeError:
        path = b""
    if not isinstance(path, str) or not path:
        raise ApplicationError(f"{what} with {_describe(item)} where the path of a file is expected.")
    return Path(os.path.abspath(Path(folder, path)))  # noqa: PTH100 - links are not resolved


def _describe(value: Any) -> str:
    if value is None:
        return "nothing (None)"
    text = repr(value)
    kind = type(value).__name__
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind} ({text if len(text) <= 60 else text[:57] + '...'})"
