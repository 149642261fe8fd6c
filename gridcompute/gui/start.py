"""Starts the window: one for each user and machine; a second start brings the first to the front."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gridcompute import clock, config
from gridcompute.errors import AlreadyRunning, UsageError
from gridcompute.machine.home import Home

if TYPE_CHECKING:
    from gridcompute.gui.first_run import MakeGrid
    from gridcompute.gui.window import GUI
    from gridcompute.server import Server

_patience = 5.0  # seconds that the first window has to answer a second start


def start(
    home: Home,
    *,
    server: str | None = None,
    machine: str | None = None,
    make_grid: MakeGrid | None = None,
    on_window: Callable[[GUI], None] | None = None,
) -> int:
    """Show the window until it is closed; the program's exit code.

    `server` and `machine` are what the options of these names said. `make_grid` makes a shared folder for somebody who
    has no grid. `on_window` gets the window before its event loop runs.
    """
    name = machine or ""
    try:
        with home.lock("window", name):
            return _run(home, server, machine, make_grid, on_window)
    except AlreadyRunning:
        if ensure_single_instance(home):
            print(f"{config.program_name} runs already; its window is in front now.", file=sys.stderr)
            return 0
        raise


def ensure_single_instance(home: Home) -> bool:
    """Ask the window that runs already to come to the front; whether it did."""
    owner = home.lock_owner()
    if owner is None or owner["role"] != "window":
        return False
    note = home.path / "raise"
    note.touch()
    deadline = clock.monotonic() + _patience
    while clock.monotonic() < deadline:
        if not note.exists():
            return True
        clock.rest(0.05)
    note.unlink(missing_ok=True)
    return False


def _run(
    home: Home,
    folder: str | None,
    machine: str | None,
    make_grid: MakeGrid | None,
    on_window: Callable[[GUI], None] | None,
) -> int:
    _check_display()
    from gridcompute.gui.window import GUI

    # Threads beside the event loop give way quickly, so that a click is not felt to wait for them.
    sys.setswitchinterval(0.001)
    (home.path / "raise").unlink(missing_ok=True)
    signals: list[int] = []
    for name in ("SIGTERM", "SIGINT", "SIGBREAK"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda number, frame: signals.append(number))

    def new_server(event_queue: Any, dedicated: Any) -> Server:
        from gridcompute.server import Server

        return Server(event_queue, dedicated, folder=folder, machine=machine, home=home)

    options = {} if make_grid is None else {"make_grid": make_grid}
    window = GUI(home, new_server, machine=machine or "", fixed_grid=bool(folder), **options)
    window.close_asked = lambda: bool(signals)
    window.watch_for_second_start(home.path / "raise")
    if on_window is not None:
        on_window(window)
    return window.run()


def _check_display() -> None:
    """On a computer without a screen the other commands are what is wanted."""
    if sys.platform not in ("win32", "darwin") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise UsageError(
            "There is no screen to show the window on. Without one use the commands: gridcompute --help lists them, "
            "'gridcompute agent' lends this computer."
        )
    try:
        import tkinter  # noqa: F401
    except ImportError as exc:
        raise UsageError(
            f"The window needs Tk, which this Python lacks ({exc}). On Debian and Ubuntu: apt install python3-tk."
        ) from exc
