"""*gridcompute softgrid*: starts an orchestrator, joins this computer to one, prints the tree of a grid.

The only module outside of softgrid that imports it, and does so when the command runs.
"""

from __future__ import annotations

import getpass
import json
import os
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from gridcompute.commands.signals import stop_on_signals
from gridcompute.errors import UsageError
from gridcompute.machine import lent

if TYPE_CHECKING:
    from gridcompute.machine.home import Home
    from gridcompute.softgrid import Orchestrator

PASSWORD_VARIABLE = "GRIDCOMPUTE_SOFTGRID_PASSWORD"


def start(*, address: str | None, port: int, workers: int | None, home: Home) -> int:
    """Runs an orchestrator, with `workers` on this computer, until a signal ends it and its grid.

    The workers count among the processes that this person's window or agent lends.
    """
    from gridcompute.softgrid import Orchestrator

    _quiet()
    with stop_on_signals() as stop, _counted(home, workers or 0):
        try:
            orchestrator = Orchestrator(address=address, port=port, password=_password(), killAtDisconnect=False)
        except OSError as exc:
            raise UsageError(f"No orchestrator can listen at {address or 'this computer'}, port {port}: {exc}") from exc
        try:
            failed = _launch_workers(orchestrator, workers)
            _say(f"{orchestrator.gridUniqueName} is ready. Join with:")
            _say(f"gridcompute softgrid join {orchestrator.address}:{orchestrator.port}")
            while not stop.wait(1.0):
                pass
        finally:
            orchestrator.disconnect(kill=False)
    return 1 if failed else 0


def join(*, place: str, processes: int, home: Home) -> int:
    """Lends `processes` of this computer to the grid at `place`, host:port, until a signal or the grid ends it.

    A manager joins, and so many workers below it. They count among those that this person's window or agent lends.
    """
    from gridcompute.softgrid import Globals, Manager
    from gridcompute.softgrid.errors import SoftgridError

    host, port = _host_and_port(place)
    _quiet()
    Globals.RULES["machine_maximum_number_of_workers"] = None
    password = _password()
    with stop_on_signals() as stop:
        manager = Manager(killAtDisconnect=False)
        try:
            try:
                manager.connect_to_grid(host, port, password)
            except SoftgridError as exc:
                raise UsageError(f"{exc} Is it the orchestrator's address and password?") from exc
            manager._ends_process = False  # its end is this command's end, not the process's own
            with _counted(home, processes):
                failed = _launch_workers(manager, processes)
                _say(f"{manager.gridUniqueName} lends {len(manager.workers)} processes.")
                while not stop.wait(0.2):
                    if manager.isDisconnected:
                        _say("The grid has ended.")
                        break
        finally:
            manager.disconnect(kill=False)
    return 1 if failed else 0


def tree(*, place: str, as_json: bool) -> int:
    """Prints the tree of the grid whose orchestrator is at `place`, host:port."""
    from gridcompute.softgrid import Router
    from gridcompute.softgrid.errors import SoftgridError

    host, port = _host_and_port(place)
    _quiet()
    # A router that looks and leaves: it may stand anywhere and counts for no limit.
    looker = Router(name="Tree", killAtDisconnect=False, relaunch=False)
    try:
        looker.connect_to_grid(host, port, _password())
        looker._ends_process = False
        answer = looker._call_there("paths", (), "upgrid", 20)
        if not isinstance(answer, list) or not isinstance(answer[0], dict):
            failed = answer[0] if isinstance(answer, list) else answer
            raise UsageError(f"The orchestrator at {place} does not tell its tree: {failed.error}")
        top = looker.gridPath[0]
        paths = {name: path for of_role in answer[0].values() for name, path in of_role.items()}
        paths.pop(looker.gridUniqueName, None)
    except SoftgridError as exc:
        raise UsageError(f"{exc} Is it the orchestrator's address and password?") from exc
    finally:
        looker.disconnect(kill=False)
    if as_json:
        _say(json.dumps({"orchestrator": top, "paths": paths}, indent=2))
    else:
        for line in lines_of(top, paths):
            _say(line)
    return 0


def lines_of(top: str, paths: dict[str, list[str]]) -> list[str]:
    """A tree as text: each executor below its upgrid, two spaces further in."""
    below: dict[str, list[str]] = {}
    for name, path in paths.items():
        below.setdefault(path[-1], []).append(name)

    def lines(name: str, depth: int) -> list[str]:
        found = ["  " * depth + name]
        for child in below.get(name, []):
            found += lines(child, depth + 1)
        return found

    return lines(top, 0)


def _counted(home: Home, processes: int) -> AbstractContextManager[None]:
    return lent.hold(home.softgrid, processes) if processes else nullcontext()


def _launch_workers(executor: Orchestrator | Any, count: int | None) -> bool:
    """Whether one failed."""
    if not count:
        return False
    statuses, _, failed = executor.launch_worker([executor.address] * count, timeout=30)
    for status in statuses:
        if not status:
            sys.stderr.write(f"gridcompute: {status}\n")
    return bool(failed)


def _quiet() -> None:
    """Standard output is the command's own; what the executors log goes to standard error."""
    from gridcompute.softgrid import Globals

    Globals.INTERACTIVE_MODE = True  # this command ends its executor itself
    Globals.Logger().console = sys.stderr


def _say(line: str) -> None:
    print(line, flush=True)


def _password() -> str:
    """From the environment, a line of standard input, or the terminal; never from the command line, which all see."""
    found = os.environ.pop(PASSWORD_VARIABLE, None)
    if found is None:
        found = getpass.getpass("Password of the grid: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    if not found:
        raise UsageError(f"The grid needs a password: type it, pipe it in, or set {PASSWORD_VARIABLE}.")
    return found


def _host_and_port(place: str) -> tuple[str, int]:
    host, colon, port = place.rpartition(":")
    if not colon or not host or not port.isdigit():
        raise UsageError(
            f"{place!r} is no orchestrator's place; write HOST:PORT, as 'gridcompute softgrid start' prints."
        )
    return host.strip("[]"), int(port)
