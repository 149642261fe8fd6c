"""The log pane at the bottom: what happened, with the time; the log file tells more."""

from __future__ import annotations

import tkinter as tk
from typing import TYPE_CHECKING

import ttkbootstrap as ttk

from gridcompute.gui import state, texts
from gridcompute.gui.dialogs import read_only
from gridcompute.gui.table import scaled

if TYPE_CHECKING:
    from gridcompute.gui.window import GUI


class LogPane(ttk.Frame):
    """Shows the lines of the state's log; bounded, and drawn only while it is open."""

    def __init__(self, master: tk.Misc, gui: GUI):
        gap = scaled(master, 12)
        super().__init__(master, name="logpane", padding=(gap, gap // 2, gap, 0))
        self.gui = gui
        self._drawn = 0
        self.open = bool(gui.preferences.get("log", True))
        head = ttk.Frame(self, name="head")
        head.pack(fill="x")
        self.switch = ttk.Button(head, name="switch", bootstyle="secondary-link", command=self.toggle, padding=0)
        self.switch.pack(side="left")
        self.last = ttk.Label(head, name="last", bootstyle="secondary")
        self.last.pack(side="left", padx=gap)
        ttk.Button(
            head, name="file", text="Open the log file", bootstyle="secondary-link", padding=0, command=self._open_file
        ).pack(side="right")
        self.box = ttk.Frame(self, name="box")
        self.text = ttk.Text(self.box, name="text", height=5, wrap="word", relief="flat", padx=gap // 2, pady=gap // 3)
        bar = ttk.Scrollbar(self.box, command=self.text.yview)
        self.text.configure(yscrollcommand=bar.set)
        bar.pack(side="right", fill="y")
        self.text.pack(side="left", fill="both", expand=True)
        read_only(self.text)
        self.restyle()
        self._arrange()

    def restyle(self) -> None:
        colours = ttk.Style.get_instance().colors
        self.text.tag_configure("warning", foreground=colours.get("primary"))
        self.text.tag_configure("error", foreground=colours.get("danger"))
        self.text.tag_configure("time", foreground=colours.get("secondary"))

    def toggle(self) -> None:
        self.open = not self.open
        self.gui.preferences["log"] = self.open
        self.gui.short.do(self.gui.home.preferences.update, log=self.open)
        self._arrange()

    def _arrange(self) -> None:
        self.switch.configure(text="▾ Log" if self.open else "▸ Log")
        if self.open:
            self.box.pack(fill="x", pady=(scaled(self, 4), 0))
        else:
            self.box.pack_forget()
        self.show(always=True)

    def _open_file(self) -> None:
        from gridcompute.machine import desktop

        self.gui.call(self.gui.short, desktop.open_file, self.gui.home.log_path)

    def show(self, *, always: bool = False) -> None:
        """Add the lines that are new."""
        current = self.gui.state
        if current.logged == self._drawn and not always:
            return
        last = current.log[-1] if current.log else None
        self.last.configure(text="" if self.open or last is None else texts.first_sentence(last.text, 100))
        if not self.open:
            return
        new = min(current.logged - self._drawn, len(current.log))
        self._drawn = current.logged
        at_end = self.text.yview()[1] > 0.999
        for line in list(current.log)[-new:] if new else []:
            self.text.insert("end", f"{texts.moment(line.when)}  ", ("time",))
            self.text.insert("end", line.text + "\n", (line.level,))
        surplus = int(self.text.index("end-1c").split(".")[0]) - state.log_lines_kept
        if surplus > 0:
            self.text.delete("1.0", f"{surplus + 1}.0")
        if at_end:
            self.text.see("end")
