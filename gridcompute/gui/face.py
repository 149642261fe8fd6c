"""What every part of the window uses."""

from __future__ import annotations

import logging
import queue
import tkinter as tk
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import ttkbootstrap as ttk

from gridcompute import clock
from gridcompute.errors import (
    GridComputeError,
)
from gridcompute.gui import state
from gridcompute.gui.dialogs import (
    ProgressWindow,
    Question,
)
from gridcompute.gui.environments import EnvironmentsWindow
from gridcompute.gui.first_run import MakeGrid, OwnServer
from gridcompute.gui.send_cases import SendCases
from gridcompute.gui.splash import Splash
from gridcompute.gui.state import State
from gridcompute.gui.worker import Lane
from gridcompute.machine.home import Home
from gridcompute.machine.lending import Rules

if TYPE_CHECKING:
    from gridcompute.server import Server


log = logging.getLogger(__name__)


class Shared:
    """A number that the main thread sets and any thread reads."""

    def __init__(self, value: int = 0):
        self.value = value

    def get(self) -> int:
        return self.value


class Face:
    """What every part of the window uses: the state, the lanes, the progress window, and words for the person.

    The parts call each other through the methods that stand here without a body.
    """

    home: Home
    preferences: dict[str, Any]
    event_queue: queue.Queue[dict[str, Any]]
    state: State
    server: Server | None
    long: Lane
    short: Lane
    root: ttk.App
    rules: Rules
    splash: Splash
    content: ttk.Frame
    send_cases: SendCases
    application: tk.StringVar
    priority: tk.StringVar
    dedicated_process: tk.StringVar
    progress_window: ProgressWindow | None
    environments_window: EnvironmentsWindow | None
    views: list[Any]
    most_processes: int
    own_server: OwnServer
    _lent: Shared
    _new_server: Callable[..., Server]
    _make_grid: MakeGrid
    _fixed_grid: bool
    _keep_running: bool
    _gone: bool
    _looking: bool
    _looking_at_grid: bool
    _next_look: float
    _next_offer: float
    _retries: clock.Backoff
    _calls: dict[int, tuple[Callable[[Any], Any], Callable[[Exception], Any]]]

    def lend(self) -> None:
        raise NotImplementedError

    def populate(self) -> None:
        raise NotImplementedError

    def exit_program(self) -> None:
        raise NotImplementedError

    def show_tab(self, view: tk.Misc) -> str:
        raise NotImplementedError

    def shown_tab(self) -> str:
        raise NotImplementedError

    def call(
        self,
        lane: Lane,
        function: Callable[..., Any],
        *arguments: Any,
        then: Callable[[Any], Any] = lambda value: None,
        failed: Callable[[Exception], Any] | None = None,
        **options: Any,
    ) -> None:
        """Call `function` beside the event loop; `then` or `failed` is called here with what came of it."""
        number = lane.do(function, *arguments, **options)
        self._calls[number] = (then, failed or self._show_failure)

    # The progress window.

    def is_wanted(self) -> bool:
        """Whether the user still wants what the progress window shows. Any thread may ask."""
        return self._keep_running

    def create_progress_window(
        self, progress_mode: str, progress_text: str, progress_max: float = 100, *, unit: str = ""
    ) -> None:
        """Show how far something is, with a way to stop it; events change it afterwards.

        `progress_mode` is determinate or indeterminate; `progress_max` 0 is one that an event will tell.
        """
        self._keep_running = True
        self.state.progress = state.Progress(
            progress_text, progress_max if progress_mode == "determinate" else 0, unit=unit
        )
        self.progress_window = ProgressWindow(self.root, progress_text, self._stop_work)

    def _stop_work(self) -> None:
        self._keep_running = False

    def close_progress(self) -> None:
        self.state.progress = None
        if self.progress_window is not None:
            self.progress_window.finish()
            self.progress_window = None

    def _long_failed(self, error: Exception) -> None:
        self.close_progress()
        self._show_failure(error)

    # Words for the person, and for the log.

    def info(self, msg: str) -> None:
        """Say something in the window."""
        self.state.say("info", msg)

    def warning(self, msg: str) -> None:
        """Warn in the window."""
        self.state.say("warning", msg)

    def error(self, msg: str) -> None:
        """Tell an error in the window."""
        log.error("%s", msg)
        self.state.say("error", msg)

    def askokcancel(self, msg: str) -> bool:
        """Ask a question and wait for the answer; the window goes on drawing meanwhile."""
        answer = tk.BooleanVar(self.root, False)
        asked = Question(
            self.root,
            "Question",
            msg,
            [("&Cancel", False, "secondary"), ("&OK", True, "primary")],
            lambda yes: answer.set(bool(yes)),
        )
        self.root.wait_window(asked)
        return answer.get()

    def dismiss_notice(self) -> None:
        self.state.notice = None

    def _show_failure(self, error: Exception) -> None:
        self._log_failure(error)
        if isinstance(error, GridComputeError):
            self.state.say("error", str(error))
        else:
            self.state.say(
                "error", f"An error of the program itself: {plain(error)}. The log has it: {self.home.log_path}"
            )

    def _log_failure(self, error: Exception) -> None:
        if isinstance(error, GridComputeError):
            log.error("%s", error)
            if getattr(error, "traceback", ""):
                log.error("%s", error.traceback)  # type: ignore[attr-defined]
        else:
            log.error("A call of the window failed", exc_info=error)

    def _callback_failed(self, kind: Any, exc: BaseException, trace: Any) -> None:
        log.error("A callback of the window failed", exc_info=(kind, exc, trace))
        self.state.say("error", f"An error of the program itself: {exc}. The log has it: {self.home.log_path}")

    def _remember(self, **changes: Any) -> None:
        self.preferences.update(changes)
        self.short.do(self.home.preferences.update, **changes)

    def _with_server(self, what: str, *arguments: Any) -> None:
        if self.server is not None and self.state.phase in ("ready", "connecting"):
            self.call(self.short, getattr(self.server, what), *arguments)


def plain(error: Exception) -> str:
    return str(error) if isinstance(error, GridComputeError) else f"{type(error).__name__}: {error}"
