"""What stands in the window before the grid does: a progress bar, a trouble, or the choice of a grid."""

from __future__ import annotations

import tkinter as tk
from typing import TYPE_CHECKING

import ttkbootstrap as ttk

from gridcompute import clock, config
from gridcompute.gui.first_run import Choice
from gridcompute.gui.table import scaled

if TYPE_CHECKING:
    from gridcompute.gui.window import GUI


class Splash(ttk.Frame):
    """The first screen."""

    def __init__(self, master: tk.Misc, gui: GUI):
        super().__init__(master, name="splash")
        self.gui = gui
        self._retry_at = 0.0
        self.offers_back = False
        gap = scaled(self, 12)
        self.middle = ttk.Frame(self, name="middle", padding=2 * gap)
        self.middle.place(relx=0.5, rely=0.45, anchor="center")
        ttk.Label(self.middle, text=config.program_name, font="GridTitle").pack()
        self.text = ttk.Label(
            self.middle, name="text", text="Starting …", justify="center", wraplength=scaled(self, 640)
        )
        self.text.pack(pady=gap)
        self.bar = ttk.Progressbar(self.middle, name="bar", length=scaled(self, 320), mode="indeterminate")
        self.bar.pack()
        self.bar.start(15)
        self.waiting = ttk.Label(self.middle, name="waiting", bootstyle="secondary")
        self.buttons = ttk.Frame(self.middle, name="buttons")
        self.again = gui.button(
            self.buttons, "&Try now", gui.try_again, name="again", bootstyle="primary", icon="arrow-clockwise"
        )
        self.again.pack(side="left", padx=gap // 2)
        leave = gui.button(self.buttons, "&Quit", gui.exit_program, name="quit")
        leave.pack(side="left", padx=gap // 2)
        other = gui.button(self.buttons, "Another &grid …", gui.choose_another, name="other")
        other.pack(side="left", padx=gap // 2)
        self.choice = Choice(self, gui)

    def begin(self, text: str) -> None:
        """Something is under way."""
        self._retry_at = 0.0
        self.choice.place_forget()
        self.middle.place(relx=0.5, rely=0.45, anchor="center")
        self.text.configure(text=text, bootstyle="default")
        self.waiting.pack_forget()
        self.buttons.pack_forget()
        self.work(True)

    def work(self, on: bool) -> None:
        if on:
            self.bar.pack()
            self.bar.start(15)
        else:
            self.bar.stop()
            self.bar.pack_forget()

    def trouble(self, message: str, pause: float) -> None:
        """Say what is wrong; it is tried again by itself after `pause` seconds."""
        self.work(False)
        self.text.configure(text=message)
        self._retry_at = clock.monotonic() + pause
        gap = scaled(self, 12)
        self.waiting.pack(pady=(0, gap))
        self.buttons.pack()
        self.show()

    def choose(self, complaint: str = "", *, back: bool = False) -> None:
        """Let the person choose a grid; `back` where there is one to go back to."""
        self._retry_at = 0.0
        self.offers_back = back
        self.work(False)
        self.middle.place_forget()
        self.choice.complain(complaint)
        if back:
            self.choice.back.pack()
        else:
            self.choice.back.pack_forget()
        self.choice.place(relx=0.5, rely=0.45, anchor="center")
        self.choice.first.focus_set()

    def show(self) -> None:
        """Count down to the next attempt, and make it."""
        if not self._retry_at or self.gui.state.phase not in ("connecting", "choosing"):
            return
        left = self._retry_at - clock.monotonic()
        if left <= 0:
            self._retry_at = 0.0
            self.gui.try_again()
        else:
            self.waiting.configure(text=f"Tried again in {left:.0f} s.")
