"""The tab *My cases*: every case of mine that is not received yet, live, then those received lately."""

from __future__ import annotations

import tkinter as tk
from collections.abc import Mapping
from typing import TYPE_CHECKING

import ttkbootstrap as ttk

from gridcompute.gui import texts
from gridcompute.gui.table import Table, scaled

if TYPE_CHECKING:
    from gridcompute.gui.window import GUI

_colours = {
    "to process": "fg",
    "processing": "primary",
    "processed": "success",
    "received": "success",
    "cancelled": "secondary",
    "error": "danger",
}
FILTERS = {
    "All": (),
    "On the grid": ("to process", "processing", "processed", "error", "cancelled"),
    "Waiting": ("to process",),
    "Running": ("processing",),
    "To receive": ("processed",),
    "Received": ("received",),
    "Failed": ("error",),
    "Cancelled": ("cancelled",),
}


class MyCases(ttk.Frame):
    """The list with its filter, its actions and the time of the last look."""

    def __init__(self, master: tk.Misc, gui: GUI):
        super().__init__(master, name="mycases", padding=scaled(master, 12))
        self.gui = gui
        self.rows = gui.state.my_cases
        gap = scaled(self, 8)
        self._drawn = -1
        self._filter_row(gap)
        self._foot(gap)
        self.table = Table(
            self,
            self.rows,
            name="cases",
            empty=self._empty,
            colours=_colours,
            on_select=self._enable,
            on_open=gui.show_output,
            menu=self._menu(),
        )
        self.table.pack(fill="both", expand=True, pady=(gap, 0))
        self.table.tree.bind("<Delete>", lambda event: gui.cancel_selected())
        self._enable()

    def _filter_row(self, gap: int) -> None:
        row = ttk.Frame(self, name="buttons")
        row.pack(fill="x")
        gui = self.gui
        self.cancel = gui.button(row, "Ca&ncel", gui.cancel_selected, name="cancel", icon="x-circle")
        self.retry = gui.button(row, "R&etry", gui.retry_selected, name="retry", icon="arrow-clockwise")
        self.output = gui.button(row, "O&utput", gui.show_output, name="output", icon="terminal")
        self.folder = gui.button(row, "Results fo&lder", gui.open_results, name="results", icon="folder2-open")
        for button in (self.cancel, self.retry, self.output, self.folder):
            button.pack(side="left", padx=(0, gap))
        self.words = tk.StringVar(self)
        entry = ttk.Entry(row, name="search", textvariable=self.words, width=18)
        entry.pack(side="right")
        entry.bind("<KeyRelease>", lambda event: self._filter())
        entry.bind("<Escape>", lambda event: self._forget_filter())
        gui.root.bind("<Control-f>", lambda event: self._go_to_filter(entry))
        self.kind = tk.StringVar(self, "All")
        kinds = ttk.Combobox(row, name="kind", textvariable=self.kind, values=list(FILTERS), state="readonly", width=11)
        kinds.pack(side="right", padx=(gap // 2, gap))
        kinds.bind("<<ComboboxSelected>>", lambda event: self._filter())
        kinds.bind("<<ComboboxSelected>>", lambda event: kinds.selection_clear(), add="+")
        ttk.Label(row, text="Filter").pack(side="right")
        entry.lift()  # Tab goes from left to right

    def _foot(self, gap: int) -> None:
        row = ttk.Frame(self, name="foot")
        row.pack(side="bottom", fill="x", pady=(gap, 0))
        refresh = self.gui.button(row, "Refresh no&w", self.gui.refresh_my_cases, name="refresh", icon="arrow-repeat")
        refresh.pack(side="left")
        self.cases_refresh_label = ttk.Label(row, name="refreshed", bootstyle="secondary")
        self.cases_refresh_label.pack(side="left", padx=gap)
        self.cases_status_label = ttk.Label(row, name="state", bootstyle="secondary")
        self.cases_status_label.pack(side="left")
        self.count = ttk.Label(row, name="count", bootstyle="secondary")
        self.count.pack(side="right")

    def _menu(self) -> tk.Menu:
        gui = self.gui
        menu = ttk.Menu(self, tearoff=False, postcommand=lambda: enable_entries(menu, self.possible()))
        menu.add_command(label="Output and traceback", accelerator="Return", command=gui.show_output)
        menu.add_command(label="Show the input", command=gui.show_input)
        menu.add_command(label="Open the results' folder", command=gui.open_results)
        menu.add_separator()
        menu.add_command(label="Cancel", accelerator="Del", command=gui.cancel_selected)
        menu.add_command(label="Retry", command=gui.retry_selected)
        menu.add_command(label="Remove from the grid", command=gui.give_up_selected)
        return menu

    def possible(self) -> dict[str, bool]:
        """Entry of a menu -> whether that can be done with the selected cases."""
        kinds = {texts.kind(row["status"]) for row in self.rows.chosen}
        one = len(self.rows.chosen) == 1
        return {
            "Output and traceback": one,
            "Show the input": one and "received" not in kinds,
            "Open the results' folder": bool(kinds & {"processed", "received"}),
            "Cancel": bool(kinds - {"received", "cancelled"}),
            "Retry": bool(kinds & {"error", "cancelled"}),
            "Remove from the grid": bool(kinds & {"error", "cancelled"}),
        }

    def _go_to_filter(self, entry: ttk.Entry) -> None:
        self.gui.show_tab(self)
        entry.focus_set()

    def _filter(self) -> None:
        self.rows.search(self.words.get())
        self.rows.show_only(FILTERS[self.kind.get()])
        self.table.scroll_to(0)
        self.show()

    def _forget_filter(self) -> None:
        self.words.set("")
        self.kind.set("All")
        self._filter()
        self.table.tree.focus_set()

    def _empty(self) -> str:
        if self.gui.state.refreshed is None:
            return "Your cases are being read …"
        return (
            "No case of yours is on the grid.\n"
            "Submit some in the tab Send cases. Received ones stay here for a day, and in the report (Ctrl+R)."
        )

    def show(self) -> None:
        """Draw what changed."""
        current = self.gui.state
        when = f"Last refresh {texts.moment(current.refreshed)}" if current.refreshed else "Not read yet"
        set_text(self.cases_refresh_label, when)
        set_text(self.cases_status_label, current.refresh_state if current.refreshed else "")
        if self._drawn != self.rows.version:
            self._drawn = self.rows.version
            self._enable()
        self.table.draw()

    def _enable(self) -> None:
        chosen, possible = self.rows.chosen, self.possible()
        enable(self.cancel, possible["Cancel"])
        enable(self.retry, possible["Retry"])
        enable(self.output, possible["Output and traceback"])
        enable(self.folder, possible["Open the results' folder"])
        shown, total = len(self.rows.order), len(self.rows)
        words = texts.number(total, "case") if shown == total else f"{shown:,} of {texts.number(total, 'case')}"
        set_text(self.count, words + (f", {len(chosen):,} selected" if chosen else ""))


def set_text(label: ttk.Label | ttk.Button, text: str) -> None:
    """Change a label only where it differs: each change draws."""
    if label.cget("text") != text:
        label.configure(text=text)


def enable_entries(menu: tk.Menu, possible: Mapping[str, bool]) -> None:
    """Make the entries grey that can't be done now."""
    for label, on in possible.items():
        menu.entryconfigure(label, state="normal" if on else "disabled")


def enable(button: ttk.Button, on: bool) -> None:
    wanted = "normal" if on else "disabled"
    if str(button.cget("state")) != wanted:
        button.configure(state=wanted)
