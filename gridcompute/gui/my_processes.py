"""The tab *My processes*: the cases that this computer processes for the grid."""

from __future__ import annotations

import tkinter as tk
from functools import partial
from typing import TYPE_CHECKING

import ttkbootstrap as ttk

from gridcompute import clock
from gridcompute.gui.my_cases import enable, enable_entries, set_text
from gridcompute.gui.table import Table, scaled
from gridcompute.machine.environments import FAILED

if TYPE_CHECKING:
    from gridcompute.gui.window import GUI

_colours = {"run": "primary", "paused": "secondary", "ending": "danger"}


class Lending(ttk.Frame):
    """The number of processes dedicated to the grid, large: raise it to start or resume, lower it to pause."""

    def __init__(self, master: tk.Misc, gui: GUI):
        super().__init__(master, name="lending")
        self.gui = gui
        gap = scaled(self, 6)
        words = ttk.Frame(self, name="words")
        words.pack(side="left", padx=(0, 2 * gap))
        ttk.Label(words, text="Processes lent to the grid", font="GridHeading", anchor="e").pack(fill="x")
        self.state_label = ttk.Label(
            words, name="state", bootstyle="secondary", anchor="e", justify="right", wraplength=scaled(self, 320)
        )
        self.state_label.pack(fill="x")
        self.fewer = ttk.Button(
            self,
            name="fewer",
            icon="dash-lg",
            icon_only=True,
            bootstyle="secondary-outline",
            command=lambda: self.step(-1),
        )
        self.fewer.pack(side="left")
        self.number = ttk.Spinbox(
            self,
            name="number",
            from_=0,
            to=gui.most_processes,
            width=3,
            justify="center",
            font="GridNumber",
            textvariable=gui.dedicated_process,
            command=gui.lend,
        )
        self.number.pack(side="left", padx=gap)
        self.number.bind("<Return>", lambda event: gui.lend())
        self.number.bind("<FocusOut>", lambda event: gui.lend())
        self.more = ttk.Button(
            self, name="more", icon="plus-lg", icon_only=True, bootstyle="success", command=lambda: self.step(1)
        )
        self.more.pack(side="left")
        ttk.Label(self, text=f"of {gui.most_processes}", bootstyle="secondary").pack(side="left", padx=(gap, 0))

    def step(self, by: int) -> None:
        self.gui.dedicated_process.set(str(self.gui.wanted_processes() + by))
        self.gui.lend()

    def show(self) -> None:
        set_text(self.state_label, self.gui.state.lending)
        enable(self.fewer, self.gui.wanted_processes() > 0)
        enable(self.more, self.gui.wanted_processes() < self.gui.most_processes)


class MyProcesses(ttk.Frame):
    """Every running case with pause, resume and stop."""

    def __init__(self, master: tk.Misc, gui: GUI):
        super().__init__(master, name="processes", padding=scaled(master, 12))
        self.gui = gui
        self.rows = gui.state.processes
        gap = scaled(self, 8)
        self._drawn = -1
        self._next_second = 0.0
        row = ttk.Frame(self, name="buttons")
        row.pack(fill="x")
        self.pause = gui.button(row, "Pa&use", lambda: gui.act_on_processes("pause"), name="pause", icon="pause-fill")
        self.resume = gui.button(
            row, "Resu&me", lambda: gui.act_on_processes("resume"), name="resume", icon="play-fill"
        )
        self.stop = gui.button(
            row, "S&top", gui.stop_processes, name="stop", icon="stop-fill", bootstyle="danger-outline"
        )
        self.rules = gui.button(row, "Lending ru&les …", gui.open_rules, name="rules", icon="sliders")
        self.environments = gui.button(row, "&Environments …", gui.open_environments, name="environments", icon="boxes")
        for button in (self.pause, self.resume, self.stop):
            button.pack(side="left", padx=(0, gap))
        self.environments.pack(side="right", padx=(gap, 0))
        self.rules.pack(side="right")
        self.foot = ttk.Frame(self, name="foot")
        self.foot.pack(side="bottom", fill="x")
        ttk.Frame(self.foot, height=1).pack()  # lets it shrink when no rule is set
        self.rules_label = ttk.Label(self.foot, name="rulestext", bootstyle="secondary")
        menu = ttk.Menu(self, tearoff=False, postcommand=lambda: enable_entries(menu, self.possible()))
        for label, what in (("Pause", "pause"), ("Resume", "resume")):
            menu.add_command(label=label, command=partial(gui.act_on_processes, what))
        menu.add_command(label="Stop", accelerator="Del", command=gui.stop_processes)
        self.table = Table(
            self, self.rows, name="running", empty=self._empty, colours=_colours, on_select=self._enable, menu=menu
        )
        self.table.pack(fill="both", expand=True, pady=(gap, 0))
        self.table.tree.bind("<Delete>", lambda event: gui.stop_processes())
        self._enable()

    def _empty(self) -> str:
        return f"No case runs on this computer.\n{self.gui.state.lending}"

    def show(self) -> None:
        """Draw what changed; the elapsed times each second."""
        rules = self.gui.rules_in_words()
        set_text(self.rules_label, rules)
        if rules and not self.rules_label.winfo_manager():
            self.rules_label.pack(anchor="w", pady=(scaled(self, 8), 0))
        elif not rules:
            self.rules_label.pack_forget()
        failed = len(self.gui.state.environments_of(FAILED))
        set_text(self.environments, f"Environments: {failed} failed …" if failed else "Environments …")
        if self._drawn != self.rows.version:
            self._drawn = self.rows.version
            self._enable()
        now = clock.monotonic()
        if now >= self._next_second:
            self._next_second = now + 1.0
            self.table.draw(always=True)
        else:
            self.table.draw()

    def possible(self) -> dict[str, bool]:
        """Entry of a menu -> whether that can be done with the selected cases."""
        chosen = {row["status"] for row in self.rows.chosen}
        return {
            "Pause": bool(chosen - {"paused", "ending"}),
            "Resume": "paused" in chosen,
            "Stop": bool(chosen - {"ending"}),
        }

    def _enable(self) -> None:
        possible = self.possible()
        enable(self.pause, possible["Pause"])
        enable(self.resume, possible["Resume"])
        enable(self.stop, possible["Stop"])
