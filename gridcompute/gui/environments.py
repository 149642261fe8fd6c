"""The window of the environments that applications with needs of their own have on this computer."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import ttkbootstrap as ttk

from gridcompute import clock
from gridcompute.gui.dialogs import Dialog, bind_mnemonic, mnemonic_button
from gridcompute.gui.my_cases import enable, set_text
from gridcompute.gui.table import Table, scaled
from gridcompute.machine.environments import FAILED, MAKING, MISSING, READY, UNUSED

if TYPE_CHECKING:
    from gridcompute.gui.window import GUI

_colours = {READY: "success", MAKING: "primary", FAILED: "danger", MISSING: "fg", UNUSED: "secondary"}
_said = {
    MAKING: "It is being made. Cases of the application are left to other computers until it is there.",
    READY: "Cases of the application run in it.",
    MISSING: "It is made in the background, as soon as this computer has looked at the application.",
    UNUSED: "No application that this computer may process asks for it any more: it can be removed.",
}
look_interval = 5.0

log = logging.getLogger(__name__)


class EnvironmentsWindow(Dialog):
    """One row for each environment; below it what stands of the selected one, and what can be done."""

    def __init__(self, gui: GUI):
        super().__init__(gui.root, "Environments", name="environments", resizable=True)
        self.gui = gui
        self.rows = gui.state.environments
        self._gap = scaled(self, 8)
        self._complaint = ""
        self._next_look = clock.monotonic() + look_interval
        wrap = scaled(self, 720)
        ttk.Label(self.body, text="Environments of applications on this computer", font="GridHeading").pack(anchor="w")
        ttk.Label(
            self.body,
            text="An application that needs libraries of its own, or another Python, says so at the head of its "
            "process.py. Its cases run in an environment that is made here once.",
            bootstyle="secondary",
            wraplength=wrap,
            justify="left",
        ).pack(anchor="w", pady=(self._gap // 2, self._gap))
        self._buttons()
        self.details = ttk.Label(self.body, name="details", wraplength=wrap, justify="left")
        self.details.pack(side="bottom", anchor="w", fill="x", pady=(self._gap, 0))
        self.details.bind(  # a line may be a letter wider than Tk was told
            "<Configure>", lambda event: self.details.configure(wraplength=max(200, event.width - 2 * self._gap))
        )
        self.table = Table(
            self.body,
            self.rows,
            name="list",
            height=7,
            colours=_colours,
            empty="No application that this computer may process asks for an environment.",
            on_select=self._enable,
            on_open=self._open_folder,
        )
        self.table.pack(fill="both", expand=True)
        self.minsize(scaled(self, 620), scaled(self, 320))
        self.draw()
        self.show(self.table.tree)
        self.geometry(f"{self.winfo_reqwidth()}x{self.winfo_reqheight() + 3 * self._gap}")  # long reasons move nothing

    def _buttons(self) -> None:
        row = ttk.Frame(self.body, name="buttons")
        row.pack(side="bottom", fill="x", pady=(self._gap, 0))
        self.folder = self._button(row, "Open &folder", self._open_folder, "folder")
        self.anew = self._button(row, "&Make again", self._make_anew, "anew")
        self.remove = self._button(row, "&Remove", self._remove, "remove")
        for button in (self.folder, self.anew, self.remove):
            button.pack(side="left", padx=(0, self._gap))
        self._button(row, "&Close", lambda: self.close(None), "close", "primary").pack(side="right")
        self.bind("<Delete>", lambda event: self.remove.invoke())

    def _button(self, row: Any, text: str, command: Any, name: str, style: str = "secondary-outline") -> ttk.Button:
        button = mnemonic_button(row, text, command, name=name, bootstyle=style)
        bind_mnemonic(self, text, button)
        return button

    def draw(self) -> None:
        """Draw what changed, and ask for a new look now and then: the last use is told by no event."""
        now = clock.monotonic()
        if now >= self._next_look:
            self._next_look = now + look_interval
            self.gui.state.environments_stale = True
        if not self.rows.chosen and len(self.rows):
            self.rows.select(self.rows.order[0])
        self._enable()
        self.table.draw()

    def _enable(self) -> None:
        row = self._chosen()
        state = row["state"] if row else ""
        enable(self.folder, row is not None and row["folder"] is not None and state in (READY, UNUSED))
        enable(self.anew, row is not None and state in (READY, FAILED) and row["folder"] is not None)
        enable(self.remove, row is not None and state == UNUSED and not self.gui.state.is_used(row))
        set_text(self.details, self._details(row) if row else "")

    def _details(self, row: dict[str, Any]) -> str:
        said = self._complaint or row["message"] or _said.get(row["state"], "")
        if row["anew"] and not self._complaint:
            said = "It is made anew as soon as none of its cases runs here; no further one begins until then."
        return f"{said}\n{row['folder']}" if row["folder"] is not None and row["state"] in (READY, UNUSED) else said

    def _chosen(self) -> dict[str, Any] | None:
        rows = self.rows.chosen
        return rows[0] if rows else None

    def _open_folder(self) -> None:
        row = self._chosen()
        if row is not None and str(self.folder.cget("state")) != "disabled":
            self.gui.open_environment(row["folder"], self._failed)

    def _make_anew(self) -> None:
        row = self._chosen()
        if row is not None:
            self._complaint = ""
            self.gui.act_on_environment("make_environment_anew", row["application"], self._failed)

    def _remove(self) -> None:
        row = self._chosen()
        if row is not None:
            self._complaint = ""
            self.gui.act_on_environment("remove_environment", row["folder"], self._failed)

    def _failed(self, error: Exception) -> None:
        log.error("%s", error)
        self._complaint = str(error)
