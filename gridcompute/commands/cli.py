"""The command line: arguments -> one call on the `Server` -> text or JSON -> exit code.

Exit codes: 0 done, 1 the work failed, 2 wrong use or a grid that can't be reached. Messages for people go to standard
error, results to standard output; ``--json`` prints one JSON document there and nothing else.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from gridcompute import clock, config, events
from gridcompute.commands.signals import stop_on_signals
from gridcompute.commands.words import number_of
from gridcompute.errors import (
    DatabaseAway,
    FolderMissing,
    GridComputeError,
    ShareAway,
    UsageError,
)
from gridcompute.gui import texts
from gridcompute.machine.home import Home, set_up_logging

if TYPE_CHECKING:
    from gridcompute.grid.cases import Case
    from gridcompute.server import Server
    from gridcompute.submission import Submitted

log = logging.getLogger(__name__)

DONE, FAILED, WRONG, STOPPED = 0, 1, 2, 130


def console() -> None:
    """The program ``gridcompute``: runs the command line and exits with its code."""
    code = main()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # what is done is done: only the interpreter is still to end
    if "gridcompute.softgrid" in sys.modules:  # an executor ends what it started by `atexit`
        sys.exit(code)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # nobody reads it any more, or there is none
            stream.flush()
    # PyMongo keeps the interpreter's end waiting for half a second, until the threads of clients that are closed have
    # woken from their sleep (`pymongo.periodic_executor`). That would be half the time of a short command.
    os._exit(code)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. A user never sees a traceback, the log always has it."""
    _have_outputs()
    _allow_any_name()
    logging.getLogger().addHandler(logging.NullHandler())  # before there is a log file, nothing goes to the screen
    options = parse(arguments)
    try:
        options.home = Home()
        set_up_logging(options.home, options.command or "window")
        code = _run(options)
        sys.stdout.flush()
        return code
    except GridComputeError as exc:
        _write_down(exc)
        _print_errors(options, [str(exc)])
        return complain(str(exc))
    except KeyboardInterrupt:
        return complain("stopped", STOPPED)
    except BrokenPipeError:  # the reader of our output has seen enough
        _forget_output()
        return DONE
    except OSError as exc:
        _forget_output()
        return complain(f"Cannot write the output: {exc.strerror or exc}.", FAILED)


def _run(options: argparse.Namespace) -> int:
    try:
        return options.run(options)
    except (GridComputeError, BrokenPipeError):
        raise
    except Exception as exc:
        if isinstance(exc, OSError) and _is_of_print(exc):
            raise
        log.exception("The command failed")
        message = (
            f"An error of the program itself: {type(exc).__name__}: {exc}. The log has it: {options.home.log_path}"
        )
        _print_errors(options, [message])
        return complain(message, FAILED)


def _have_outputs() -> None:
    """What is said goes nowhere where an output was closed before the start, or the program has no console."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - as long as the program


def _allow_any_name() -> None:
    """A terminal that can't show a letter of a file's name gets an escape for it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _is_of_print(exc: OSError) -> bool:
    """Whether an error comes from `print` in one of the commands, as on a full disk; it names no file then."""
    frame = exc.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    module = frame.tb_frame.f_globals.get("__name__", "") if frame is not None else ""
    return exc.filename is None and module.startswith("gridcompute.commands.")


def _forget_output() -> None:
    """What is still to be written goes nowhere, so that the interpreter does not complain of it at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def complain(message: str, code: int = WRONG) -> int:
    """Say `message` to the person at the terminal, if there is one still; returns `code`."""
    with contextlib.suppress(OSError):
        print(f"gridcompute: {message}", file=sys.stderr, flush=True)
    return code


def _write_down(exc: GridComputeError) -> None:
    """An error with all that is known of it goes to the log."""
    log.error("%s", exc, exc_info=exc)
    for more in (getattr(exc, "output", ""), getattr(exc, "traceback", "")):
        if more:
            log.error("%s", more)


def print_json(document: Any) -> None:
    """Print one JSON document, in letters that this output can show."""
    plain = (getattr(sys.stdout, "encoding", None) or "ascii").lower().replace("-", "") != "utf8"
    print(json.dumps(document, indent=2, default=_json_value, ensure_ascii=plain), flush=True)


def _json_value(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _print_errors(options: argparse.Namespace, errors: Sequence[str]) -> None:
    """With ``--json`` a command that failed prints a document too."""
    if getattr(options, "json", False):
        print_json({"errors": list(errors)})


# Arguments.


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Options, with `run` the function of the command; wrong use ends the program with exit code 2."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        return _parser().parse_args(words)
    except _WrongUse as exc:
        if "--json" in words:
            print_json({"errors": [str(exc)]})
        argparse.ArgumentParser.error(exc.parser, str(exc))


class _WrongUse(Exception):
    """What `parser`, that of the program or of a command, does not understand."""

    def __init__(self, parser: argparse.ArgumentParser, message: str):
        super().__init__(message)
        self.parser = parser


class _Parser(argparse.ArgumentParser):
    """Leaves it to `parse` to say what is wrong and to end the program."""

    def error(self, message: str) -> NoReturn:
        raise _WrongUse(self, message)


_epilog = f"""\
Without a command the window opens. 'gridcompute COMMAND --help' tells more of each.

The grid is the first of: --server, the variable {config.environment_server}, {config.server_file} beside the program or
in the current folder, the one chosen in the window. 'gridcompute doctor' says which, and what is wrong with it.

exit codes: 0 done, 1 the work failed, 2 wrong use or a grid that can't be reached, 130 stopped by Ctrl+C"""


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="gridcompute",
        description="A compute grid from the PCs of an office: a shared folder and one MongoDB.",
        epilog=_epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"{config.program_name} {config.version}")
    _add_place(parser, default=None)
    parser.set_defaults(run=_window, command=None)
    commands = parser.add_subparsers(metavar="COMMAND", dest="command")

    def command(name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text)
        made.set_defaults(run=run)
        _add_place(made, default=argparse.SUPPRESS)
        return made

    _add_grid_commands(command)
    _add_case_commands(command)
    _add_softgrid_commands(command)
    return parser


def _add_place(parser: argparse.ArgumentParser, default: Any) -> None:
    parser.add_argument("--server", metavar="FOLDER", default=default, help="the grid's shared folder")
    parser.add_argument("--machine", metavar="NAME", default=default, help="this machine's name in the grid")


def _add_login(parser: argparse.ArgumentParser, group: str, password: str) -> None:
    parser.add_argument("--user-group", required=True, metavar="G", help=group)
    given = os.environ.get(config.environment_password)
    words = f"{password} (default: the variable {config.environment_password})"
    parser.add_argument("--password", required=not given, default=given, metavar="P", help=words)


Adder = Callable[[str, Callable[[argparse.Namespace], int], str], argparse.ArgumentParser]


def _add_grid_commands(command: Adder) -> None:
    made = command("demo", _demo, "show a whole grid at work on this computer")
    made.add_argument("--cases", type=_number(1), default=8, metavar="N", help="cases of Random Counter (default: 8)")
    made.add_argument("--keep", metavar="FOLDER", help="keep the demo's grid in this folder")
    made.add_argument("--gui", action="store_true", help="open the window on the demo's grid")

    made = command("init", _init, "make a shared folder, ready to use")
    made.add_argument("folder", metavar="FOLDER", help="an empty or new folder that everybody may write")
    made.add_argument("--mongodb-server", required=True, metavar="H:P", help="host:port, or a mongodb:// address")
    _add_login(made, "user of the database, and the group whose cases are seen", "its password, for settings.txt")
    made.add_argument("--instance", default="0", metavar="I", help="isolates grids in one database (default: 0)")

    made = command("serve", _serve, "run a MongoDB for a team that has none")
    made.add_argument("--data", metavar="FOLDER", help="where the database keeps its files")
    made.add_argument("--host", default="0.0.0.0", metavar="H", help="address to listen on (default: all)")
    made.add_argument("--port", type=_number(0, 65535), default=27017, metavar="P", help="default: 27017")
    _add_login(made, "user to make in the database, for one group of people", "its password")

    made = command("agent", _agent, "lend processes and receive results, without a window")
    made.add_argument("--processes", type=_number(0), metavar="N", help="cases side by side (default: cores less one)")
    made.add_argument("--until-idle", action="store_true", help="end when nothing waits or runs")

    made = command("password", _password, "keep the user group's password in this user's keyring")
    made.add_argument("--forget", action="store_true", help="remove it from there")

    made = command("doctor", _doctor, "check the grid and say what to do")
    made.add_argument("--json", action="store_true", help="print one JSON document")


def _add_case_commands(command: Adder) -> None:
    made = command("submit", _submit, "submit files to an application")
    made.add_argument("application", metavar="APP", help="its name, as the folder in Settings/Applications has it")
    made.add_argument("files", metavar="FILE", nargs="+", help="what the application takes: it makes cases of each")
    made.add_argument(
        "--priority",
        type=_number(0, 100),
        default=config.default_priority,
        metavar="N",
        help=f"0 to 100, higher first (default: {config.default_priority})",
    )
    made.add_argument(
        "--wait", action="store_true", help="wait until the results are home; receive them here if nobody does"
    )
    made.add_argument("--json", action="store_true", help="print one JSON document")

    made = command("cases", _cases, "list my cases that are not received yet")
    made.add_argument("--all", action="store_true", help="the whole group's cases, received ones too")
    made.add_argument("--json", action="store_true", help="print one JSON document")

    for name, run, text in (
        ("cancel", _cancel, "cancel cases"),
        ("retry", _retry, "try failed or cancelled cases again"),
        ("remove", _remove, "give up failed or cancelled cases: their files leave the shared folder"),
    ):
        command(name, run, text).add_argument("ids", metavar="ID", nargs="+", help="a case's id or its beginning")
    made = command("log", _log, "print what the application said")
    made.add_argument("id", metavar="ID", help="a case's id or its beginning")
    made = command("report", _report, "write a table of all cases of the group")
    made.add_argument("file", metavar="FILE", help="ends with .txt, .csv or .xlsx")


def _add_softgrid_commands(command: Adder) -> None:
    made = command("softgrid", _softgrid, "start a softgrid, join this computer to one, print its tree")
    deeds = made.add_subparsers(metavar="start|join|tree", dest="deed", required=True)
    text = "run an orchestrator until Ctrl+C"
    start = deeds.add_parser("start", help=text, description=text)
    start.add_argument("--address", metavar="A", help="this computer's address as others reach it (default: found)")
    start.add_argument("--port", type=_number(1, 65535), default=5000, metavar="P", help="the next free one from P")
    start.add_argument("--workers", type=_number(0), metavar="N", help="workers on this computer (default: none)")
    text = "lend this computer's processes until Ctrl+C or the end of the grid"
    join = deeds.add_parser("join", help=text, description=text)
    join.add_argument("place", metavar="HOST:PORT", help="of the orchestrator")
    join.add_argument(
        "--processes",
        type=_number(0),
        metavar="N",
        help="workers side by side (default: as many as the window lends, else cores less one)",
    )
    text = "print who hangs on whom"
    tree = deeds.add_parser("tree", help=text, description=text)
    tree.add_argument("place", metavar="HOST:PORT", help="of the orchestrator")
    tree.add_argument("--json", action="store_true", help="print one JSON document")


def _number(least: int, most: int | None = None) -> Callable[[str], int]:
    """A type for arguments: a whole number of this range."""
    words = f"a whole number from {least}" + ("" if most is None else f" to {most}")

    def convert(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"'{text}' is not {words}") from None
        if number < least or (most is not None and number > most):
            raise argparse.ArgumentTypeError(f"{number} is not {words}")
        return number

    return convert


# Commands with a module of their own; imported when called, since most need little.


def _window(options: argparse.Namespace) -> int:
    from gridcompute.gui.start import start

    return start(options.home, server=options.server, machine=options.machine, make_grid=make_grid)


def make_grid(folder: Path, *, mongodb_server: str, user_group: str, password: str, machine: str) -> None:
    """A shared folder for a new grid, as *init* makes it, without a word on the terminal."""
    from gridcompute.commands import new_grid

    settings = new_grid.checked_settings(mongodb_server, user_group, password, "0")
    solver, _ = new_grid.find_solver()
    software = [new_grid.RANDOM_COUNTER, new_grid.CALCULIX] if solver else [new_grid.RANDOM_COUNTER]
    new_grid.make_shared_folder(folder, settings, {machine: software})


def _demo(options: argparse.Namespace) -> int:
    from gridcompute.commands import demo

    return demo.run(cases=options.cases, keep=options.keep, gui=options.gui)


def _init(options: argparse.Namespace) -> int:
    from gridcompute.commands import new_grid
    from gridcompute.server import machine_name

    return new_grid.run(
        options.folder,
        mongodb_server=options.mongodb_server,
        user_group=options.user_group,
        password=options.password,
        instance=options.instance,
        machine=options.machine or machine_name(),
    )


def _serve(options: argparse.Namespace) -> int:
    from gridcompute.commands import serve

    return serve.run(
        data=options.data,
        host=options.host,
        port=options.port,
        user_group=options.user_group,
        password=options.password,
        home=options.home,
    )


def _softgrid(options: argparse.Namespace) -> int:
    from gridcompute.commands import softgrid

    if options.deed == "start":
        return softgrid.start(address=options.address, port=options.port, workers=options.workers, home=options.home)
    if options.deed == "tree":
        return softgrid.tree(place=options.place, as_json=options.json)
    number = options.processes
    if number is None:
        number = _lent_by_the_window(options.home) or default_processes()
    return softgrid.join(place=options.place, processes=number, home=options.home)


def _lent_by_the_window(home: Home) -> int:
    """The number that the person dedicated in the window that is open; 0 where none is."""
    owner = home.lock_owner()
    number = home.preferences.load().get("processes") if owner and owner["role"] == "window" else 0
    return number if isinstance(number, int) else 0


def _password(options: argparse.Namespace) -> int:
    import getpass

    from gridcompute.grid import passwords

    server = _new_server(options)
    server.open()
    settings = server.grid_settings
    password = ""
    if not options.forget:
        question = f"Password of the user group '{settings.user_group}': "
        password = getpass.getpass(question) if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
        if not password:
            raise UsageError("No password was given. Type it, or pipe it to this command.")
    passwords.keep(settings, password)
    print("The keyring has forgotten the password." if options.forget else "The keyring has the password.")
    return DONE


def _doctor(options: argparse.Namespace) -> int:
    from gridcompute.commands import doctor

    return doctor.run(server=options.server, machine=options.machine, home=options.home, as_json=options.json)


# Commands on cases.


def _new_server(options: argparse.Namespace, **arguments: Any) -> Server:
    from gridcompute.server import Server

    return Server(queue.Queue(), folder=options.server, machine=options.machine, home=options.home, **arguments)


@contextmanager
def _connected(options: argparse.Namespace) -> Iterator[Server]:
    """A server that is connected; warnings of the way go to standard error."""
    with _new_server(options) as server:
        server.open()
        _drain(server)  # what is odd about some application is no news for whoever looks at cases; the log has it
        server.connect()
        _say_news(server)
        yield server


def _drain(server: Server) -> list[events.Event]:
    """The events that wait in the queue; none is left there."""
    found = []
    with contextlib.suppress(queue.Empty):
        while True:
            found.append(server.event_queue.get_nowait())
    return found


def _say_news(server: Server) -> None:
    """Print the warnings and errors that wait in the queue, leave nothing in it."""
    for event in _drain(server):
        _say_problem(event)


def _say_problem(event: events.Event) -> None:
    if event["type"] == "warning":
        complain(f"warning: {event['message']}")
    elif event["type"] in ("error", "critical") or (
        event["type"] == "state" and event["name"] != "ok" and event["message"]
    ):
        complain(event["message"])


def _submit(options: argparse.Namespace) -> int:
    for file in options.files:
        if not file:  # as a path it would be the current folder
            raise UsageError("One of the files has an empty name. Check what fills it in. Nothing was submitted.")
        if not Path(file).exists():
            raise UsageError(f"There is no file {Path(file).absolute()}. Check its name. Nothing was submitted.")
    with _connected(options) as server:
        selected, errors = server.select_cases(options.files, options.application)
        _drain(server)
        if not selected and not errors:
            raise UsageError(f"send.py of '{options.application}' made no case of these files. Nothing was submitted.")
        if selected:
            for doubt in server.doubts_about(options.application):
                complain(f"warning: {doubt}")
        result = _submit_with_bar(server, selected, options)
        errors += [exc for _, exc in result.errors]
        for exc in errors[:10]:
            _write_down(exc)
            complain(str(exc))
        if len(errors) > 10:
            complain(f"and {len(errors) - 10} more errors like these")
        submitted = {one: files for one, files in zip(result.ids, selected, strict=True) if one is not None}
        return _see_home(server, submitted, options, errors, stopped=result.stopped, doubtful=len(result.doubtful))


def _see_home(
    server: Server,
    submitted: dict[str, list[str]],
    options: argparse.Namespace,
    errors: Sequence[GridComputeError],
    *,
    stopped: bool,
    doubtful: int,
) -> int:
    """Print what was submitted, wait for it if told to, and decide on the exit code."""
    if not options.json:
        for case_id, files in submitted.items():
            print(f"{case_id}  {texts.one_line(Path(files[0]).name)}", flush=True)
    statuses = dict.fromkeys(submitted, "to process")
    if options.wait and submitted and not stopped:
        _say_if_nobody_lends(server, options.application)
        try:
            _wait_until_received(server, statuses)
        except KeyboardInterrupt:
            stopped = True
    if options.json:
        _print_submitted(submitted, statuses, options.application, errors)
    if stopped:
        more = "They go on: 'gridcompute cases' shows them." if submitted else "Nothing is left of the others."
        were = "was" if len(submitted) == 1 else "were"
        return complain(f"stopped; {number_of(len(submitted), 'case')} {were} submitted. {more}", STOPPED)
    if doubtful:
        return complain(
            f"{len(submitted)} cases were submitted to {options.application}; of {doubtful} it is not known."
        )
    if not submitted:
        return complain(f"Nothing was submitted to {options.application}.")
    failed = options.wait and _say_failed(statuses)
    return FAILED if errors or failed else DONE


def _say_if_nobody_lends(server: Server, application: str) -> None:
    with contextlib.suppress(DatabaseAway):  # it is said while the cases are waited for
        if not server.lenders(application):
            complain(
                f"warning: No computer lends a process for '{application}' at present: its cases wait until a window "
                "or 'gridcompute agent' on one that may process it does."
            )


def _say_failed(statuses: dict[str, str]) -> bool:
    """Say which cases did not come home; whether there is one."""
    failed = {one: status for one, status in statuses.items() if status != "received"}
    for case_id, status in failed.items():
        complain(f"case {case_id}: {status.rstrip('.')}. 'gridcompute log {case_id}' shows what the application said.")
    return bool(failed)


def _submit_with_bar(server: Server, selected: list[list[str]], options: argparse.Namespace) -> Submitted:
    """Submit beside a progress bar of the bytes copied (one case) or of the cases; Ctrl+C undoes what is not in yet."""
    from tqdm import tqdm

    results: queue.SimpleQueue[Any] = queue.SimpleQueue()
    stop = threading.Event()

    def work() -> None:
        try:
            results.put(
                server.submit_to_server(
                    selected, options.application, lambda: not stop.is_set(), priority=options.priority
                )
            )
        except BaseException as exc:  # noqa: BLE001 - raised again in the main thread
            results.put(exc)
        server.event_queue.put({"type": "end of submit"})

    by_cases = len(selected) > 20
    thread = threading.Thread(target=work, name="submit", daemon=True)
    with tqdm(total=0, disable=None, leave=False, unit_scale=not by_cases, unit=" cases" if by_cases else "B") as bar:
        bar.total = len(selected)
        thread.start()
        while True:
            try:
                event = server.event_queue.get()
            except KeyboardInterrupt:
                if stop.is_set():
                    raise  # asked twice: the journal tells the next start what was cut off
                stop.set()
                continue
            kind = event["type"]
            if kind == "end of submit":
                break
            if kind == "change progress max" and not by_cases:
                bar.total = event["maximum"]
            elif kind == "change progress" and not by_cases:
                bar.update(event["value"] - bar.n)
            elif kind == "submitted case" and by_cases:
                bar.update()
    thread.join()
    result = results.get()
    if isinstance(result, BaseException):
        raise result
    return result


def _wait_until_received(server: Server, statuses: dict[str, str]) -> None:
    """Wait until each case is received, an error or cancelled, receiving ourselves where nobody else does.

    `statuses`, by id, is brought up to date all the while. The receive daemon of another program of the same user and
    machine goes first; ours waits for its turn.
    """
    from tqdm import tqdm

    server.create_daemons(process=False)
    pauses = clock.Backoff(0.05, 1.0, factor=1.2)
    away = False
    with tqdm(total=len(statuses), disable=None, leave=False, unit=" cases") as bar:
        while True:
            try:
                found = server.statuses(list(statuses))
                statuses.update({one: found.get(one, "gone") for one in statuses})
                away = False
            except DatabaseAway as exc:
                if not away:
                    complain(f"{exc} Waiting for it.")
                away = True
            ended = sum(map(_has_ended, statuses.values()))
            if ended > bar.n:
                pauses.reset()
                bar.update(ended - bar.n)
            if ended == len(statuses):
                return
            _wait_for_news(server, pauses.next())


def _has_ended(status: str) -> bool:
    return status in ("received", "cancelled", "gone") or status.startswith("error:")


def _wait_for_news(server: Server, seconds: float) -> None:
    """Wait for events at most `seconds`; a received case ends the wait at once."""
    deadline = clock.monotonic() + seconds
    while True:
        try:
            event = server.event_queue.get(timeout=max(0.001, deadline - clock.monotonic()))
        except queue.Empty:
            return
        _say_problem(event)
        if event["type"] in ("case received", "case failed"):
            return


def _print_submitted(
    submitted: dict[str, list[str]],
    statuses: dict[str, str],
    application: str,
    errors: Sequence[GridComputeError],
) -> None:
    rows = [
        {"id": case_id, "application": application, "status": statuses[case_id], "files": [str(file) for file in files]}
        for case_id, files in submitted.items()
    ]
    print_json({"cases": rows, **({"errors": [str(exc) for exc in errors]} if errors else {})})


def _cases(options: argparse.Namespace) -> int:
    with _connected(options) as server:
        if options.json:
            print_json({"cases": server.rows(everybody=options.all)})
        else:
            _print_table(server.cases(everybody=options.all), everybody=options.all)
    return DONE


def _print_table(found: Sequence[Case], *, everybody: bool) -> None:
    if not found:
        print("No case of the group yet." if everybody else "All your cases are received.")
        return
    rows = [("ID", "SUBMITTED", "APPLICATION", "STATUS", "PROCESSOR", "ATTEMPT", "USER", "FILES")]
    for case in found:
        submitted = case.submitted.astimezone().strftime("%Y-%m-%d %H:%M:%S") if case.submitted else ""
        more = f" and {case.count - 1} more" if case.count > 1 else ""
        first = f"{case.names[0]}{more}" if case.names else ""
        status = _status(case)
        rows.append(
            (
                str(case.id),
                submitted,
                case.application,
                texts.one_line(status),
                case.processor_machine,
                str(case.attempt),
                case.origin_user,
                texts.one_line(first),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _status(case: Case) -> str:
    """The status in at most 60 characters, while a case runs with what its application says of its progress."""
    status = case.status
    if status == "processing" and case.progress:
        status = f"{status} {case.progress.get('fraction', 0):.0%} {case.progress.get('text', '')}".rstrip()
    return status if len(status) < 60 else status[:57] + "..."


def _cancel(options: argparse.Namespace) -> int:
    with _connected(options) as server:
        return _on_each(options.ids, server.cancel, "is cancelled")


def _retry(options: argparse.Namespace) -> int:
    with _connected(options) as server:
        return _on_each(options.ids, server.retry, "is tried again")


def _remove(options: argparse.Namespace) -> int:
    with _connected(options) as server:
        return _on_each(options.ids, server.remove, "is given up")


def _on_each(ids: Sequence[str], act: Callable[[str], Case], said: str) -> int:
    code = DONE
    for beginning in ids:
        try:
            print(f"{act(beginning).id} {said}")
        except UsageError as exc:
            log.error("%s", exc)
            code = complain(str(exc))
    return code


def _log(options: argparse.Namespace) -> int:
    with _connected(options) as server:
        case = server.case_log(options.id)
        place = case.output_place or {}
        whole = server.home.output / f"{case.id}-{case.attempt}.txt"
        if whole.exists():
            output = whole.read_text(encoding="utf-8", errors="replace")
        else:
            output = case.output
            size = place.get("bytes", 0)
            if size > len(output.encode("utf-8")):
                complain(
                    f"the end of {size:,} bytes follows; all of it is on {place.get('machine')}, in the folder "
                    f"'output' beside the program's log: {whole.name}"
                )
        print(output, end="" if not output or output.endswith("\n") else "\n")
        error = case.error or {}
        if error.get("message"):
            print(error["message"])
        if error.get("traceback"):
            print(error["traceback"].rstrip())
        if not output and not error:
            complain(f"Case {case.id} ({case.status}): its application printed nothing.")
    return DONE


def _report(options: argparse.Namespace) -> int:
    with _connected(options) as server:
        number = server.create_report(options.file)
        print(f"{number_of(number, 'case')} written to {Path(options.file).absolute()}")
    return DONE


# The agent.


def default_processes() -> int:
    """The cores this process may use, less one for the person at the PC; at least one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores - 1)


def _agent(options: argparse.Namespace) -> int:
    number = default_processes() if options.processes is None else options.processes
    server = _new_server(options, dedicated_process=number, patience=8.0)  # s; it asks again, and says so early
    with stop_on_signals() as stop, options.home.lock("agent", server.machine), server:
        if not _connect_patiently(server, stop):
            return DONE
        server.create_daemons()
        lent = number_of(number, "process", "es")
        _tell(f"Agent of {server.party.user} on {server.machine}: {lent} for {server.server_path}")
        _run_agent(server, stop, until_idle=options.until_idle)
    return DONE


def _tell(line: str) -> None:
    """Print a line at once; an agent whose terminal or pipe is gone works on."""
    with contextlib.suppress(OSError):
        print(line, flush=True)


def _connect_patiently(server: Server, stop: threading.Event) -> bool:
    """Connect; a share or database that is away is said once and waited for. False: stopped meanwhile."""
    pauses = clock.Backoff(0.5, 10.0)
    said = ""
    while not stop.is_set():
        try:
            server.connect()
            _say_news(server)
            return True
        except (DatabaseAway, ShareAway, FolderMissing) as exc:
            problem = str(exc)
        if problem != said:
            complain(f"{problem} Waiting for it.")
            said = problem
        stop.wait(pauses.next())
    return False


def _run_agent(server: Server, stop: threading.Event, *, until_idle: bool) -> None:
    next_look = 0.0
    while not stop.is_set():
        try:
            _say(server.event_queue.get(timeout=0.2))
        except queue.Empty:
            pass
        if until_idle and clock.monotonic() >= next_look:
            next_look = clock.monotonic() + 0.5
            try:
                if server.idle():
                    return
            except GridComputeError as exc:
                log.debug("Cannot ask whether anything waits: %s", exc)


def _say(event: events.Event) -> None:
    """One line for what a person at a server's console wants to see."""
    kind = event["type"]
    _say_problem(event)
    if kind == "info" or (kind == "state" and event["name"] == "ok"):
        _tell(event["message"])
    elif kind == "add my process":
        row = event["process"]
        _tell(f"case {row['id']} ({row['application']} of {row['origin']}) starts")
    elif kind == "remove my process":
        _tell(f"case {event['id']} ends here: {event['outcome']}")
    elif kind == "case received":
        _tell(f"case {event['id']} ({event['application']}) is received")
    elif kind == "case failed":
        complain(f"case {event['id']} ({event['application']}) could not be received: {event['message']}")
