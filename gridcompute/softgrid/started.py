"""The started side of a launch: the executor is made here, connected, and serves until its grid ends it."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from typing import Any

from . import Executors, Globals, travel
from .errors import SoftgridError


def become(start: dict[str, Any], say: Callable[[dict[str, Any]], None], guard: int | None) -> None:
    """Makes the executor, connects it, says so and serves until the grid ends it; does not return."""
    Globals.INTERACTIVE_MODE = False
    kwargs = travel.loads([base64.b64decode(start["kwargs"])])
    address, port, password, fingerprint, tracking = start["connect"]
    try:
        executor = getattr(Executors, start["role"].capitalize())(**kwargs)
        executor._tell_guardian(guard)
        executor._connect(address, port, password, start["timeout"], fingerprint, tracking)
    except (SoftgridError, OSError, TypeError, ValueError) as exc:
        say(
            {
                "failed": f"{type(exc).__name__}: {exc}".replace(password, "***"),
                "again": isinstance(exc, (SoftgridError, OSError)),
            }
        )
        os._exit(1)
    say({"joined": executor.gridUniqueName, "last": True})
    if not start["detach"]:
        nothing = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(nothing, number)
        os.close(nothing)
    executor._ends_process = True
    executor._serve_grid()
