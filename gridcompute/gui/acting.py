"""What the buttons of *My cases* and *My processes* do."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gridcompute import clock
from gridcompute.errors import (
    DatabaseAway,
    GridComputeError,
)
from gridcompute.gui import help_texts, texts
from gridcompute.gui.dialogs import (
    Question,
    Reading,
)
from gridcompute.gui.environments import EnvironmentsWindow
from gridcompute.gui.face import Face
from gridcompute.gui.rules import RulesWindow
from gridcompute.machine.lending import Rules

if TYPE_CHECKING:
    pass


log = logging.getLogger(__name__)

look_pause, look_share, look_interval = 0.4, 6.0, 10.0
"""Seconds between two looks at my cases at least; times the duration of the last look; at most."""


folders_at_once = 20
"""Selected cases whose results' folders are opened together; most have one in common."""


class Acting(Face):
    """Reads my cases and acts on them; lends processes and acts on what runs."""

    # What the buttons do: my cases.

    def _look_if_due(self) -> None:
        """Read my cases anew when something changed, and now and then anyway."""
        now = clock.monotonic()
        if self.server is None or self.state.phase != "ready" or self._looking:
            return
        due = self._next_look if self.state.stale else self._next_look + look_interval
        if now >= due:
            self._look()

    def _look(self) -> None:
        assert self.server is not None
        self._looking, self.state.stale = True, False
        began = clock.monotonic()
        self.call(
            self.short,
            self.server.look,
            then=lambda look: self._looked(began, lambda: self.state.take_look(look)),
            failed=lambda error: self._looked(began, lambda: self._look_failed(error)),
        )

    def _looked(self, began: float, take: Callable[[], None]) -> None:
        now = clock.monotonic()
        self._looking = False
        self._next_look = now + max(look_pause, min(look_share * (now - began), look_interval))
        take()

    def _look_failed(self, error: Exception) -> None:
        away = isinstance(error, DatabaseAway)
        self.state.look_failed(str(error), away=away)
        if not away:
            self._log_failure(error)

    def look_at_grid(self) -> None:
        """Read who is there and what they finished, for the tab *Grid*."""
        if self.server is not None and not self._looking_at_grid:
            self._looking_at_grid = True
            self.call(self.short, self.server.look_at_grid, then=self._looked_at_grid, failed=self._grid_not_read)

    def _looked_at_grid(self, look: dict[str, Any]) -> None:
        self._looking_at_grid = False
        self.state.grid.take(look)

    def _grid_not_read(self, error: Exception) -> None:
        self._looking_at_grid = False
        if isinstance(error, DatabaseAway):
            self._look_failed(error)
        else:
            self._log_failure(error)  # my cases may well be read

    def refresh_my_cases(self) -> None:
        """Read my cases now."""
        if self.state.phase == "ready":
            self.state.refresh_state = "refreshing …"
            self._next_offer = 0.0
            self._next_look, self.state.stale = 0.0, True

    def cancel_selected(self) -> None:
        """Cancel the selected cases, after a question."""
        rows = [
            row
            for row in self.state.my_cases.chosen
            if texts.kind(row["status"]) in ("to process", "processing", "processed", "error")
        ]
        if rows:
            Question(
                self.root,
                "Cancel cases",
                f"Cancel {texts.number(len(rows), 'case')}? What runs of them is ended. They can be retried later.",
                [("&Keep", None, "secondary"), ("&Cancel them", True, "danger")],
                lambda yes: self._on_each("cancel", rows) if yes else None,
                name="confirm",
            )

    def retry_selected(self) -> None:
        """Try the selected failed or cancelled cases again."""
        self._on_each(
            "retry", [r for r in self.state.my_cases.chosen if texts.kind(r["status"]) in ("error", "cancelled")]
        )

    def give_up_selected(self) -> None:
        """Remove the archives of the selected failed or cancelled cases, after a question: it is for good."""
        rows = [r for r in self.state.my_cases.chosen if texts.kind(r["status"]) in ("error", "cancelled")]
        if rows:
            Question(
                self.root,
                "Remove cases",
                f"Remove {texts.number(len(rows), 'case')} from the grid for good? The files on the shared folder go, "
                "and no retry is possible any more. Your own files stay.",
                [("&Keep", None, "secondary"), ("&Remove", True, "danger")],
                lambda yes: self._on_each("remove", rows) if yes else None,
                name="confirm",
            )

    def _on_each(self, what: str, rows: Sequence[dict[str, Any]]) -> None:
        ids = [row["id"] for row in rows]
        if ids and self.server is not None:
            self.call(self.short, self._do_each, what, ids, then=self._done_each)

    def _do_each(self, what: str, ids: list[str]) -> list[str]:
        """In the lane: what could not be done, in words."""
        complaints = []
        for case_id in ids:
            try:
                getattr(self.server, what)(case_id)
            except DatabaseAway:
                raise
            except GridComputeError as exc:
                complaints.append(str(exc))
        return complaints

    def _done_each(self, complaints: list[str]) -> None:
        self.refresh_my_cases()
        if complaints:
            more = f" (and {len(complaints) - 1} more)" if len(complaints) > 1 else ""
            self.state.say("error", complaints[0] + more)

    def _one_chosen(self) -> dict[str, Any] | None:
        rows = self.state.my_cases.chosen
        return rows[0] if rows else None

    def show_output(self) -> None:
        """What the application of the selected case printed, and its traceback."""
        row = self._one_chosen()
        if row is not None and self.server is not None:
            self.call(self.short, self.server.case_log, row["id"], then=self._show_case)

    def _show_case(self, case: Any) -> None:
        pages = help_texts.case_pages(case)
        Reading(self.root, f"Case {str(case.id)[-8:]} of {case.application}", pages, fixed=True, name="output")

    def show_input(self) -> None:
        """Open the archive on the share that holds the input of the selected case."""
        row = self._one_chosen()
        if row is not None and self.server is not None:
            self.call(self.short, self._open_input, row["id"])

    def _open_input(self, case_id: str) -> None:
        """In the lane."""
        from gridcompute.machine import desktop

        assert self.server is not None
        desktop.open_file(self.server.input_place(case_id))

    def open_results(self) -> None:
        """Open the folder where the results of the selected cases lie, each folder once."""
        ids = [row["id"] for row in self.state.my_cases.chosen][:folders_at_once]
        if ids and self.server is not None:
            self.call(self.short, self._open_results, ids)

    def _open_results(self, ids: list[str]) -> None:
        """In the lane."""
        from gridcompute.machine import desktop

        assert self.server is not None
        for folder in dict.fromkeys([self.server.results_folder(case_id) for case_id in ids]):
            desktop.open_folder(folder)

    # What the buttons do: environments of applications.

    def _read_environments_if_due(self) -> None:
        if self.server is not None and self.state.phase == "ready" and self.state.environments_stale:
            self.state.environments_stale = False
            self.call(
                self.short,
                self.server.environments,
                then=self.state.take_environments,
                failed=lambda error: log.info("The environments could not be read: %s", error),
            )

    def open_environments(self) -> None:
        """Show the environments that applications have on this computer."""
        if self.state.phase == "ready":
            self.state.environments_stale = True
            self.environments_window = EnvironmentsWindow(self)  # type: ignore[arg-type]

    def open_environment(self, folder: Path, failed: Callable[[Exception], None]) -> None:
        from gridcompute.machine import desktop

        self.call(self.short, desktop.open_folder, folder, failed=failed)

    def act_on_environment(self, what: str, which: str | Path, failed: Callable[[Exception], None]) -> None:
        """`what` is make_environment_anew with an application, or remove_environment with a folder."""
        if self.server is not None:
            self.call(self.short, getattr(self.server, what), which, then=self._environments_changed, failed=failed)

    def _environments_changed(self, value: Any) -> None:
        self.state.environments_stale = True

    # What the buttons do: my processes.

    def wanted_processes(self) -> int:
        try:
            return max(0, min(self.most_processes, int(self.dedicated_process.get())))
        except ValueError:
            return self.state.lent

    def lend(self) -> None:
        """Tell the process daemon the number of processes: raised it starts or resumes, lowered it pauses."""
        number = self.wanted_processes()
        self.dedicated_process.set(str(number))
        self.state.lent = self._lent.value = number
        if self.preferences.get("processes") != number:
            self._remember(processes=number)
        self._with_server("notify_number_process_daemon")

    def act_on_processes(self, what: str) -> None:
        """`what` is pause, resume or terminate: the selected running cases."""
        for row in self.state.processes.chosen:
            self._with_server("act_on_process", what, row["id"])

    def stop_processes(self) -> None:
        """Give the selected running cases back to the grid, after a question."""
        number = len(self.state.processes.chosen)
        if number:
            Question(
                self.root,
                "Stop cases",
                f"Stop {texts.number(number, 'case')} on this computer? The grid gives them to another machine.",
                [("&Keep running", None, "secondary"), ("&Stop", True, "danger")],
                lambda yes: self.act_on_processes("terminate") if yes else None,
                name="confirm",
            )

    def open_rules(self) -> None:
        """Let the user set when this computer lends."""
        RulesWindow(self.root, self.rules, self._set_rules)

    def _set_rules(self, rules: Rules) -> None:
        self.rules = rules
        self._remember(rules=rules.document())
        self._with_server("set_lending_rules", rules.document())

    def rules_in_words(self) -> str:
        words = self.rules.words()
        return f"Lends only: {words}" if words else ""
