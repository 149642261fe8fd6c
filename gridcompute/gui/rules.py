"""The window of the lending rules: when this computer lends its processes, set once."""

from __future__ import annotations

import tkinter as tk
from collections.abc import Callable

import ttkbootstrap as ttk

from gridcompute.gui.dialogs import Dialog, bind_mnemonic, mnemonic_button
from gridcompute.gui.table import scaled
from gridcompute.machine.lending import Rules


class RulesWindow(Dialog):
    """One line for each rule: a box that switches it on, and its value."""

    def __init__(self, master: tk.Misc, rules: Rules, then: Callable[[Rules], None]):
        super().__init__(master, "Lending rules", name="rules")
        self._then = then
        self._gap = scaled(self, 8)
        ttk.Label(self.body, text="Lend processes to the grid …", font="GridHeading").grid(
            row=0, column=0, columnspan=3, sticky="w", pady=(0, self._gap)
        )
        self.away = tk.BooleanVar(self, bool(rules.away_minutes))
        self.minutes = tk.StringVar(self, f"{rules.away_minutes or 10:g}")
        self.hours = tk.BooleanVar(self, bool(rules.begin))
        self.begin, self.end = tk.StringVar(self, rules.begin or "18:00"), tk.StringVar(self, rules.end or "08:00")
        self.battery = tk.BooleanVar(self, rules.not_on_battery)
        self.memory = tk.BooleanVar(self, bool(rules.memory_left))
        self.gigabytes = tk.StringVar(self, f"{(rules.memory_left or 2e9) / 1e9:g}")
        first = self._line(1, "only while I am &away for", self.away, "away", [(self.minutes, "minutes", "minutes")])
        self._line(
            2, "only &between", self.hours, "hours", [(self.begin, "begin", "and"), (self.end, "end", "o'clock")]
        )
        self._line(3, "not on batter&y", self.battery, "battery", [])
        self._line(4, "only if this much &memory stays free:", self.memory, "memory", [(self.gigabytes, "left", "GB")])
        ttk.Label(
            self.body,
            text="When a rule ends the lending, running cases pause at once and go on when it allows. After ten "
            "minutes they go back to the grid, uncounted.",
            bootstyle="secondary",
            wraplength=scaled(self, 460),
            justify="left",
        ).grid(row=5, column=0, columnspan=3, sticky="w", pady=self._gap)
        self.complaint = ttk.Label(self.body, name="complaint", bootstyle="danger")
        self.complaint.grid(row=6, column=0, columnspan=3, sticky="w")
        self._buttons()
        self.show(first)

    def _line(
        self, row: int, text: str, on: tk.BooleanVar, name: str, values: list[tuple[tk.StringVar, str, str]]
    ) -> tk.Misc:
        place = text.find("&")
        label = text.replace("&", "")
        box = ttk.Checkbutton(self.body, name=name, text=label, underline=place, variable=on)
        box.grid(row=row, column=0, sticky="w", pady=self._gap // 2)
        self.bind(f"<Alt-{label[place].lower()}>", lambda event: box.invoke())
        frame = ttk.Frame(self.body, name=f"{name}values")
        frame.grid(row=row, column=1, sticky="w", padx=self._gap)
        for variable, key, unit in values:
            entry = ttk.Entry(frame, name=key, textvariable=variable, width=6, justify="right")
            entry.pack(side="left")
            entry.bind("<Key>", lambda event: on.set(True) if event.char.strip() else None)
            ttk.Label(frame, text=unit).pack(side="left", padx=self._gap // 2)
        return box

    def _buttons(self) -> None:
        row = ttk.Frame(self.body, name="buttons")
        row.grid(row=7, column=0, columnspan=3, sticky="e", pady=(self._gap, 0))
        for text, command, name, style in (
            ("&OK", self._accept, "ok", "primary"),
            ("&Cancel", lambda: self.close(None), "cancel", "secondary"),
        ):
            button = mnemonic_button(row, text, command, name=name, bootstyle=style)
            button.pack(side="right", padx=(self._gap, 0))
            bind_mnemonic(self, text, button)
        self.bind("<Return>", lambda event: self._accept())

    def _accept(self) -> None:
        try:
            rules = self._read()
        except ValueError as exc:
            self.complaint.configure(text=str(exc))
            return
        self.close(None)
        self._then(rules)

    def _read(self) -> Rules:
        """The rules as they stand; ValueError with words for the person."""
        wanted = {
            "away_minutes": _number(self.minutes.get(), "minutes") if self.away.get() else 0,
            "begin": self.begin.get().strip() if self.hours.get() else "",
            "end": self.end.get().strip() if self.hours.get() else "",
            "not_on_battery": self.battery.get(),
            "memory_left": round(_number(self.gigabytes.get(), "gigabytes") * 1e9) if self.memory.get() else 0,
        }
        rules = Rules.of(wanted)
        if self.hours.get() and not rules.begin:
            raise ValueError("Write two different times of the day, such as 18:00 and 08:00.")
        return rules


def _number(text: str, what: str) -> float:
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        raise ValueError(f"Write the {what} as a number.") from None
    if not 0 < value < 100_000:
        raise ValueError(f"Write the {what} as a number above 0.")
    return value
