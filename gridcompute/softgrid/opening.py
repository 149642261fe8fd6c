"""A grid of local workers in one call: for a script, and for a case of GridCompute over the processes it was given."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from .Core.machine_management import usable_cores
from .errors import SoftgridError
from .Executors import Orchestrator

PROCESSES_VARIABLE = "GRIDCOMPUTE_PROCESSES"
"""Says within a case how many processes its machine gives it."""

_START_TIMEOUT = 60.0


@contextmanager
def open_softgrid(processes: int | None = None) -> Iterator[Orchestrator]:
    """An Orchestrator with workers on this computer, which end with the `with`.

    Within a case of GridCompute there are as many workers as the machine gives the case (`processes` in its
    application.txt), or `processes` where that is less. Elsewhere there are `processes`, by default the cores that this
    process may use, less one. Only this computer reaches the grid. Raises SoftgridError where a worker does not start.
    """
    number = _number_of_workers(processes)
    orchestrator = Orchestrator(
        address="127.0.0.1", rules={"machine_maximum_number_of_workers": None}, killAtDisconnect=False
    )
    try:
        statuses, _, failed = orchestrator.launch_worker([orchestrator.address] * number, timeout=_START_TIMEOUT)
        if failed:
            reasons = dict.fromkeys(str(status.error) for status in statuses if not status)
            raise SoftgridError(f"{len(failed)} of {number} workers did not start: {' '.join(reasons)}")
        yield orchestrator
    finally:
        orchestrator.disconnect(kill=False)


def _number_of_workers(asked: int | None) -> int:
    """Raises ValueError for a number below 1."""
    if asked is not None and asked < 1:
        raise ValueError(f"A softgrid needs at least one process, not {asked}.")
    given = os.environ.get(PROCESSES_VARIABLE, "")
    lent = int(given) if given.isdigit() else 0
    if lent:
        return lent if asked is None else min(asked, lent)
    return asked or max(1, usable_cores() - 1)
