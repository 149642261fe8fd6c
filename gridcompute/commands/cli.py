"""The command line: arguments -> one call on the `Server` -> text or JSON -> exit code.

Exit codes: 0 done, 1 the work failed, 2 wrong use or a grid that can't be reached. Messages for people go to standard
error, results to standard output; ``--json`` prints one JSON document there and nothing else.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from gridcompute import config
from gridcompute.commands.terminal import DONE, FAILED, STOPPED, complain, print_json, write_down
from gridcompute.errors import GridComputeError
from gridcompute.machine.home import Home, set_up_logging

log = logging.getLogger(__name__)


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
        write_down(exc)
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


# Commands: each has a module, imported when it is called, since most need little.


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
    from gridcompute.commands import agent, softgrid

    if options.deed == "start":
        return softgrid.start(address=options.address, port=options.port, workers=options.workers, home=options.home)
    if options.deed == "tree":
        return softgrid.tree(place=options.place, as_json=options.json)
    number = options.processes
    if number is None:
        number = _lent_by_the_window(options.home) or agent.default_processes()
    return softgrid.join(place=options.place, processes=number, home=options.home)


def _lent_by_the_window(home: Home) -> int:
    """The number that the person dedicated in the window that is open; 0 where none is."""
    owner = home.lock_owner()
    number = home.preferences.load().get("processes") if owner and owner["role"] == "window" else 0
    return number if isinstance(number, int) else 0


def _agent(options: argparse.Namespace) -> int:
    from gridcompute.commands import agent

    return agent.run(options)


def _password(options: argparse.Namespace) -> int:
    from gridcompute.commands import password

    return password.run(options)


def _doctor(options: argparse.Namespace) -> int:
    from gridcompute.commands import doctor

    return doctor.run(server=options.server, machine=options.machine, home=options.home, as_json=options.json)


def _submit(options: argparse.Namespace) -> int:
    from gridcompute.commands import submit

    return submit.run(options)


def _cases(options: argparse.Namespace) -> int:
    from gridcompute.commands import cases

    return cases.show(options)


def _cancel(options: argparse.Namespace) -> int:
    from gridcompute.commands import cases

    return cases.cancel(options)


def _retry(options: argparse.Namespace) -> int:
    from gridcompute.commands import cases

    return cases.retry(options)


def _remove(options: argparse.Namespace) -> int:
    from gridcompute.commands import cases

    return cases.remove(options)


def _log(options: argparse.Namespace) -> int:
    from gridcompute.commands import cases

    return cases.show_log(options)


def _report(options: argparse.Namespace) -> int:
    from gridcompute.commands import cases

    return cases.report(options)
