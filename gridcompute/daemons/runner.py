"""One job with an application's code, in a process of its own: send.py, process.py or receive.py.

This runs in the child process (`gridcompute.machine.child`), which is forked from a helper that imported this module or
is a fresh interpreter that imports it now; so it imports as little as can be, and above all no pymongo. What happens
inside comes out as one ``outcome``:

=========  =============================================================================================
done       with ``prepared`` (process), ``cases`` (send), ``folder`` where receive_case wrote most files or ``again``
           if it had been done before
failed     the application's fault: ``message``, ``traceback``
input      the archive of the case is missing or damaged, or send.py's file is: ``message``
share      the shared folder can't be reached: ``message``
disk       no space is left: ``message``
busy       another process receives this case
refused    the application's code is not what the administrator pinned: ``message``
internal   a mistake of GridCompute: ``message``, ``traceback``
=========  =============================================================================================

A process that ends without an outcome was killed, by whomever (`gridcompute.machine.processes.describe_end`).
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import shutil
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gridcompute import clock
from gridcompute.daemons.marks import Busy, Marks, locked
from gridcompute.errors import (
    ApplicationError,
    ApplicationRefused,
    ArchiveError,
    ArchiveMissing,
    DiskFull,
    InputError,
    ShareAway,
    ShareError,
)
from gridcompute.grid import applications, archive
from gridcompute.grid.shared_folder import Prepared, SharedFolder
from gridcompute.machine import program
from gridcompute.machine.child import Report
from gridcompute.machine.written import Written

Job = dict[str, Any]

pack_patience = 3600.0
"""Seconds for which a finished result waits in the process of its case for a share that is away or full."""

little_space = 256_000_000
"""Bytes: where less was free before the application began, a full disk is this computer's fault, not its own."""

_full = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


def run(job: Job, report: Report) -> None:
    """Do `job` and report its outcome; `job` is as `gridcompute.daemons` and `gridcompute.server` write it."""
    modes = {"process": _process, "receive": _receive, "send": _send}
    outcome = _outcome_of(modes[job["mode"]], job, report)
    report({"kind": "outcome", **outcome})


def _outcome_of(mode: Callable[[Job, Report], Job], job: Job, report: Report) -> Job:
    try:
        return {"outcome": "done", **mode(_with_checked_code(job), report)}
    except Busy:
        return {"outcome": "busy"}
    except ApplicationRefused as exc:
        return {"outcome": "refused", "message": str(exc)}
    except ApplicationError as exc:
        return {"outcome": "failed", "message": str(exc), "traceback": exc.traceback}
    except archive.TargetError as exc:  # this computer's folder can't be written: no fault of the archive
        return {"outcome": "internal", "message": str(exc), "traceback": traceback.format_exc()}
    except (ArchiveError, ArchiveMissing, InputError) as exc:
        return {"outcome": "input", "message": str(exc)}
    except ShareError as exc:
        return {"outcome": "share", "message": str(exc)}
    except DiskFull as exc:
        return {"outcome": "disk", "message": str(exc)}
    except OSError as exc:
        if exc.errno in _full:
            return {"outcome": "disk", "message": f"No space is left on this computer for the case: {exc}."}
        return _internal(exc)
    except Exception as exc:  # noqa: BLE001 - told to the daemon, which logs it
        return _internal(exc)


def _with_checked_code(job: Job) -> Job:
    """Where the grid has pins, the job runs a copy of the application that was checked while it was read."""
    if "pinned" not in job:
        return job
    from gridcompute.grid import pins  # seldom

    path = Path(job["application_path"])
    try:
        copy = pins.copy_checked(path.name, path, job["pinned"], Path(job["work"], "code"))
    except OSError as exc:
        if exc.errno in _full:
            raise
        raise ShareAway(f"Cannot read the application in {path}: {exc}. It is waited for.") from exc
    return {**job, "application_path": str(copy)}


def _internal(exc: Exception) -> Job:
    message = f"A mistake of GridCompute in {type(exc).__name__}: {exc}"
    return {"outcome": "internal", "message": message, "traceback": traceback.format_exc()}


# --- the three modes --------------------------------------------------------------------------------------------------


def _process(job: Job, report: Report) -> Job:
    share, folder, files = _unpack_input(job, report)
    value = _call_on_files(job, "process", share, files, report)
    name = job.get("application") or Path(job["application_path"]).name
    outputs = applications.check_outputs(value, folder, name)
    report({"kind": "stage", "stage": "pack"})
    return {"prepared": _pack(share, job["result"], outputs, report)._asdict()}


def _pack(share: SharedFolder, result: Job, outputs: list[Path], report: Report) -> Prepared:
    """Pack the outputs on the share; one that is away or full is waited for, since the work would have to be done anew.

    What is waited for is told as ``waits``. After `pack_patience` seconds the last ShareAway or DiskFull is raised.
    """
    pauses = clock.Backoff(0.2, 10.0)
    deadline = clock.monotonic() + pack_patience
    while True:
        try:
            return share.prepare("Results", result["user"], result["machine"], result["stem"], outputs)
        except InputError as exc:
            raise ApplicationError(f"The output files of process.py can't be packed: {exc}") from exc
        except (ShareAway, DiskFull) as exc:
            if clock.monotonic() > deadline:
                raise
            report({"kind": "waits", "for": "disk" if isinstance(exc, DiskFull) else "share", "message": str(exc)})
        clock.rest(pauses.next())


def _receive(job: Job, report: Report) -> Job:
    with Marks(Path(job["marks"])) as marks:
        if marks.done:
            return {"again": True}
        share, _, files = _unpack_input(job, report)
        written = Written(job["work"])

        def begin() -> None:
            marks.begin()
            written.begin()

        def end() -> None:
            written.end()
            marks.finish()

        with locked(Path(job["turn"]), wait=True) if job.get("turn") else contextlib.nullcontext():
            _call_on_files(job, "receive", share, files, report, before=begin, after=end)
    return {"folder": written.folder}


def _send(job: Job, report: Report) -> Job:
    file = Path(job["file"])
    if not file.exists():
        raise InputError(f"Cannot make cases of {file}: there is no such file.")
    application = Path(job["application_path"])
    folder = file.parent
    with contextlib.suppress(OSError):
        os.chdir(folder)
    report({"kind": "stage", "stage": "run"})
    value = _call(application, "send", applications.load(application, "send"), str(file))
    cases = applications.check_cases(value, application.name, folder)
    _check_there(cases, application.name)
    report.sweep()
    return {"cases": [[str(path) for path in case] for case in cases]}


def _check_there(cases: list[list[Path]], application: str) -> None:
    for number, case in enumerate(cases, 1):
        for path in case:
            if not path.exists():
                raise ApplicationError(
                    f"send.py of the application '{application}' named '{path}' as an input file of case {number}, but "
                    "there is no such file."
                )


# --- steps ------------------------------------------------------------------------------------------------------------


def _unpack_input(job: Job, report: Report) -> tuple[SharedFolder, Path, list[Path]]:
    """Bring the archive of the case, unpack it, go to the folder of its files; the folder and the files in order."""
    report({"kind": "stage", "stage": "fetch"})
    share, work, source = SharedFolder(Path(job["share"])), Path(job["work"]), job["input"]
    folder, copy = work / "files", work / "archive.zip"
    folder.mkdir(parents=True, exist_ok=True)
    if source["size"] <= archive.SMALL_BYTES:
        content = share.read_archive(source["path"], source["size"], source["sha256"])
        files = archive.unpack(share.resolve(source["path"]), folder, verified=True, content=content)
    else:
        share.fetch(source["path"], source["size"], source["sha256"], copy)
        files = archive.unpack(copy, folder, verified=True)
        copy.unlink()
    os.chdir(folder)
    return share, folder, files


def _call_on_files(
    job: Job,
    function: applications.Function,
    share: SharedFolder,
    files: list[Path],
    report: Report,
    *,
    before: Callable[[], None] = lambda: None,
    after: Callable[[], None] = lambda: None,
) -> Any:
    """Load the script, call its function on the paths of `files`, end what it left behind; what it returned.

    `before` and `after` are called just beside it, `after` only when it returned.
    """
    application = Path(job["application_path"])
    free = shutil.disk_usage(job["work"]).free
    try:
        in_environment = function == "process" and job.get("python")
        called = None if in_environment else _load(application, function, share)
        before()
        report({"kind": "stage", "stage": "run"})
        if called is None:
            value = _call_in_environment(job, [str(file) for file in files], report)
        else:
            value = _call(application, function, called, [str(file) for file in files])
        after()
    except ApplicationError as exc:
        _look_for_other_causes(exc, share, free)
        raise
    report.sweep()
    return value


def _load(application: Path, function: applications.Function, share: SharedFolder) -> Callable[..., Any]:
    """Import the script; a second time if the share may have been away at the first, since it may be back by now."""
    try:
        return applications.load(application, function)
    except ApplicationError as exc:
        if not _may_come_of_the_share(exc):
            raise
        share.probe()
    importlib.invalidate_caches()  # what was not there may be remembered
    return applications.load(application, function)


def _call(application: Path, function: applications.Function, called: Callable[..., Any], argument: Any) -> Any:
    """Call a function of the application; whatever it raises becomes an `ApplicationError`."""
    sys.argv = [str(application / f"{function}.py")]
    try:
        return called(argument)
    except SystemExit as exc:
        message = f"{function}.py called sys.exit({'' if exc.code is None else repr(exc.code)})."
        text = applications.plugin_traceback(exc, application)
        raise ApplicationError(message, traceback=text) from exc
    except BaseException as exc:
        message = f"{function}.py failed with {type(exc).__name__}: {exc}".rstrip(": ")
        raise ApplicationError(message, traceback=applications.plugin_traceback(exc, application)) from exc


def _call_in_environment(job: Job, files: list[str], report: Report) -> list[str] | None:
    """Run process.py by the Python of the application's own environment; what process_case returned."""
    import json  # seldom
    import subprocess

    application = Path(job["application_path"])
    request, answer, progress = (Path(job["work"], f"environment-{name}") for name in ("request", "answer", "progress"))
    asked = {"application_path": str(application), "files": files, "answer": str(answer), "progress": str(progress)}
    request.write_text(json.dumps(asked), encoding="utf-8")
    command = [job["python"], str(Path(__file__).with_name("in_environment.py")), str(request)]
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=program.environment_for_others(os.environ))
    except OSError as exc:
        raise ApplicationError(f"Cannot start {job['python']}, which the application needs: {exc}") from exc
    told = 0
    while process.poll() is None:
        told = _pass_on_progress(progress, told, report)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.1)
    try:
        found = json.loads(answer.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise ApplicationError(
            f"process.py ended its Python ({job['python']}) with exit code {process.returncode} before it returned."
        ) from exc
    if "error" in found:
        raise ApplicationError(found["error"], traceback=found["traceback"])
    if "wrong" in found:
        raise ApplicationError(f"process.py returned {found['wrong']} where a list of output files is expected.")
    return found["value"]


def _pass_on_progress(path: Path, told: int, report: Report) -> int:
    """Tell the newest whole line of progress beyond the first `told` bytes; how many bytes are told then."""
    import json

    try:
        with path.open("rb") as file:
            file.seek(told)
            data = file.read()
    except OSError:
        return told
    whole = data[: data.rfind(b"\n") + 1]
    if whole:
        report.progress(*json.loads(whole.splitlines()[-1]))
    return told + len(whole)


def _look_for_other_causes(failure: ApplicationError, share: SharedFolder, free_before: int) -> None:
    """A failure while the share is away or the disk was nearly full before is not the application's.

    The share is asked only after an error that its absence could cause: reading a script or a file beside it.
    """
    cause = failure.__cause__
    if isinstance(cause, OSError) and cause.errno in _full and free_before < little_space:
        raise DiskFull(f"No space is left on this computer: {free_before:,} bytes were free before the case began.")
    if _may_come_of_the_share(failure):
        try:
            share.probe()
        except ShareAway as exc:
            raise exc from failure


def _may_come_of_the_share(failure: ApplicationError) -> bool:
    """Whether a script, or a file beside it, could not be read."""
    return failure.__cause__ is None or isinstance(failure.__cause__, (OSError, ImportError, SyntaxError))
