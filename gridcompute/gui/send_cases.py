"""The tab *Send cases*: choose an application, add files, submit."""

from __future__ import annotations

import contextlib
import tkinter as tk
from typing import TYPE_CHECKING

import ttkbootstrap as ttk

from gridcompute.gui import state, texts
from gridcompute.gui.dialogs import Reading
from gridcompute.gui.table import Table, scaled

if TYPE_CHECKING:
    from gridcompute.gui.window import GUI

_colours = {state.READY: "fg", state.SENDING: "primary", state.SUBMITTED: "success", state.FAILED: "danger"}


class SendCases(ttk.Frame):
    """What is about to be submitted."""

    def __init__(self, master: tk.Misc, gui: GUI):
        super().__init__(master, name="send", padding=scaled(master, 12))
        self.gui = gui
        gap = scaled(self, 8)
        self._shown_applications: list[str] = []
        self._drawn = -1
        self._choose(gap)
        self._buttons(gap)
        self.table = Table(
            self,
            gui.state.sends,
            name="cases",
            empty=self._empty,
            colours=_colours,
            on_select=self._enable,
            on_open=self._details,
            menu=self._menu(),
        )
        self.table.pack(fill="both", expand=True, pady=(gap, 0))
        self.table.tree.bind("<Delete>", lambda event: gui.remove_selected())
        self._accept_drops()

    def _choose(self, gap: int) -> None:
        row = ttk.Frame(self)
        row.pack(fill="x")
        label = ttk.Label(row, text="Application", underline=0)
        label.pack(side="left", padx=(0, gap))
        self.app_combobox = ttk.Combobox(
            row, name="application", textvariable=self.gui.application, state="readonly", width=28
        )
        self.app_combobox.pack(side="left")
        self.app_combobox.bind("<<ComboboxSelected>>", lambda event: self._chosen())
        self.gui.root.bind("<Alt-a>", lambda event: self.app_combobox.focus_set())
        self.description = ttk.Label(row, name="description", bootstyle="secondary", justify="left")
        self.description.pack(side="left", padx=(2 * gap, 0), fill="x", expand=True)
        self.description.bind(
            "<Configure>", lambda event: self.description.configure(wraplength=max(100, event.width - gap))
        )

    def _chosen(self) -> None:
        self.app_combobox.selection_clear()
        self.gui.choose_application()

    def _buttons(self, gap: int) -> None:
        row = ttk.Frame(self, name="buttons")
        row.pack(fill="x", pady=(gap, 0))
        gui = self.gui
        add = gui.button(row, "A&dd cases …", gui.add_cases, name="add", icon="file-earmark-plus", bootstyle="primary")
        folder = gui.button(
            row, "Add f&older …", gui.add_folder, name="folder", icon="folder-plus", bootstyle="secondary-outline"
        )
        self.remove = gui.button(
            row, "&Remove", gui.remove_selected, name="remove", icon="trash", bootstyle="secondary-outline"
        )
        for button in (add, folder, self.remove):
            button.pack(side="left", padx=(0, gap))
        self.submit = gui.button(
            row, "&Submit list to server", gui.submit_to_server, name="submit", icon="send", bootstyle="success"
        )
        self.submit.pack(side="right")
        self.priority = ttk.Spinbox(
            row, name="priority", from_=0, to=100, width=4, textvariable=gui.priority, justify="right"
        )
        self.priority.pack(side="right", padx=(gap // 2, 2 * gap))
        self.priority.bind("<FocusOut>", lambda event: gui.tidy_priority())
        ttk.Label(row, text="Priority").pack(side="right")
        self.submit.lift()  # Tab goes from left to right
        self.adders = (add, folder)

    def _menu(self) -> tk.Menu:
        menu = ttk.Menu(self, tearoff=False)
        menu.add_command(label="Details", command=self._details)
        menu.add_command(label="Remove", accelerator="Del", command=self.gui.remove_selected)
        menu.add_command(label="Remove submitted and failed ones", command=self.gui.remove_submitted)
        return menu

    def _accept_drops(self) -> None:
        """Files may be dropped onto the window where the platform's library is there."""
        with contextlib.suppress(ImportError, tk.TclError, RuntimeError, OSError):
            from tkinterdnd2 import DND_FILES, TkinterDnD  # type: ignore[import-untyped]

            TkinterDnD._require(self.gui.root)
            root = self.gui.root
            root.tk.call("tkdnd::drop_target", "register", root._w, DND_FILES)  # type: ignore[attr-defined]
            name = root.register(lambda data: self._dropped(data))
            root.tk.call("bind", root._w, "<<Drop:DND_Files>>", f"{name} %D")  # type: ignore[attr-defined]
            self.gui.drops = True

    def _dropped(self, data: str) -> str:
        """The files that were dropped: a Tcl list, which some programs end with a byte of zero."""
        self.gui.add_files([file for file in self.tk.splitlist(data.replace("\0", "")) if file])
        return "copy"

    def _empty(self) -> str:
        gui = self.gui
        if not gui.state.applications:
            return (
                "The grid has no application that cases can be submitted to.\n"
                "Its administrator adds one to Settings/Applications in the shared folder."
            )
        drop = " or drop them here" if gui.drops else ""
        return f"Nothing to submit yet.\n1. Choose an application.   2. Add cases (Ctrl+O){drop}.   3. Submit the list."

    def _details(self) -> None:
        rows = self.gui.state.sends.chosen
        if rows:
            row = rows[0]
            files = "\n".join(row["files"])
            text = f"{row['application']}: {row['state']}\n\n{texts.number(len(row['files']), 'file')}:\n{files}"
            Reading(self.gui.root, "Case", [("Case", text)], size=(90, 14))

    def show(self) -> None:
        """Draw what changed."""
        current = self.gui.state
        names = list(current.applications)
        if names != self._shown_applications:
            self._shown_applications = names
            self.app_combobox.configure(values=names)
            self.table.draw(always=True)
        description = current.applications.get(self.gui.application.get(), "")
        if self.description.cget("text") != description:
            self.description.configure(text=description)
        if self._drawn != current.sends.version:
            self._drawn = current.sends.version
            self._enable()
        self.table.draw()

    def possible(self) -> dict[str, bool]:
        """Entry of the menu File -> whether that can be done with the list."""
        current = self.gui.state
        return {
            "Add cases …": bool(current.applications),
            "Add folder …": bool(current.applications),
            "Submit list to server": bool(current.of_kind(state.READY)),
            "Remove submitted and failed ones": bool(current.of_kind(state.SUBMITTED, state.FAILED)),
        }

    def _enable(self) -> None:
        current = self.gui.state
        chosen = [row for row in current.sends.chosen if row["kind"] != state.SENDING]
        self.remove.configure(state="normal" if chosen else "disabled")
        ready = current.of_kind(state.READY)
        number = f" ({len(ready):,})" if ready else ""
        self.submit.configure(state="normal" if ready else "disabled", text=f"Submit list to server{number}")
        for button in self.adders:
            button.configure(state="normal" if current.applications else "disabled")
