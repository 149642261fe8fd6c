"""The tab *Grid*: which machines are there, the queue of each application, and the last hours as a picture."""

from __future__ import annotations

import tkinter as tk
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import ttkbootstrap as ttk

from gridcompute import clock
from gridcompute.gui.my_cases import set_text
from gridcompute.gui.table import Table, scaled

if TYPE_CHECKING:
    from gridcompute.gui.window import GUI

_colours = {"here": "fg", "late": "danger", "gone": "secondary"}
_bars = ("primary", "success", "warning", "danger", "secondary")
look_interval = 5.0


class GridTab(ttk.Frame):
    """Read anew every few seconds while it is in front."""

    def __init__(self, master: tk.Misc, gui: GUI):
        super().__init__(master, name="gridtab", padding=scaled(master, 12))
        self.gui = gui
        self._next_look = 0.0
        self._drawn = -1
        gap = scaled(self, 8)
        view = gui.state.grid
        self.summary = ttk.Label(self, name="summary", font="GridHeading")
        self.summary.pack(anchor="w", pady=(0, gap))
        self.table = Table(
            self,
            view.machines,
            name="machines",
            height=5,
            colours=_colours,
            empty="No machine has lent a process yet. Raise the number at the top to be the first.",
        )
        self.table.pack(fill="both", expand=True)
        lower = ttk.Frame(self, name="lower")
        lower.pack(fill="both", expand=True, pady=(gap, 0))
        lower.columnconfigure((0, 1), weight=1, uniform="half")
        lower.rowconfigure(1, weight=1)
        ttk.Label(lower, text="Queue", font="GridHeading").grid(row=0, column=0, sticky="w")
        self.chart_title = ttk.Label(lower, text="Cases finished, by hour", font="GridHeading")
        self.chart_title.grid(row=0, column=1, sticky="w", padx=(gap, 0))
        self.queue = Table(lower, view.queue, name="queue", height=4, empty="No case is on the grid.")
        self.queue.grid(row=1, column=0, sticky="nsew")
        self.chart = tk.Canvas(lower, name="chart", height=scaled(self, 120), highlightthickness=0, takefocus=0)
        self.chart.grid(row=1, column=1, sticky="nsew", padx=(gap, 0))
        self.chart.bind("<Configure>", lambda event: self._draw_chart())
        self.restyle()

    def restyle(self) -> None:
        self.chart.configure(background=ttk.Style.get_instance().colors.bg)
        self.queue.restyle()
        self._draw_chart()

    def show(self) -> None:
        """Ask for a new look when it is time, and draw the last one."""
        now = clock.monotonic()
        if now >= self._next_look:
            self._next_look = now + look_interval
            self.gui.look_at_grid()
        view = self.gui.state.grid
        set_text(self.summary, view.summary)
        self.table.draw()
        self.queue.draw()
        if self._drawn != view.version:
            self._drawn = view.version
            self._draw_chart()

    def _draw_chart(self) -> None:
        """Stacked bars: one for each hour, one colour for each machine."""
        canvas, view = self.chart, self.gui.state.grid
        canvas.delete("all")
        width, height = canvas.winfo_width(), canvas.winfo_height()
        colours = ttk.Style.get_instance().colors
        if width < 50 or height < 40:
            return
        if not view.history or view.now is None:
            text = "No case was finished in the last hours." if view.read else "Reading …"
            canvas.create_text(width // 2, height // 2, text=text, fill=colours.get("secondary"))
            return
        machines, columns = stacks(view.history, view.now, view.hours)
        most = max(sum(column) for column in columns) or 1
        legend = self._draw_legend(machines, width, colours)
        foot = scaled(self, 20)
        step = width / len(columns)
        full = height - foot - legend
        for place, column in enumerate(columns):
            left, bottom = place * step + step * 0.15, float(height - foot)
            for number, count in enumerate(column):
                top = bottom - count / most * full * 0.9
                if count:
                    fill = colours.get(_bars[number % len(_bars)])
                    canvas.create_rectangle(left, top, left + step * 0.7, bottom, fill=fill, width=0)
                bottom = top
            total = sum(column)
            if total:
                self._text(left + step * 0.35, bottom - 2, f"{total:,}", "s", colours.get("fg"))
            hour = (view.now - timedelta(hours=len(columns) - 1 - place)).astimezone()
            if place % 2 == (len(columns) - 1) % 2:
                self._text(left + step * 0.35, height - foot + 3, hour.strftime("%H:00"), "n", colours.get("secondary"))
        canvas.create_line(0, height - foot, width, height - foot, fill=colours.get("border"))

    def _text(self, x: float, y: float, text: str, anchor: Any, fill: str | None) -> None:
        self.chart.create_text(x, y, text=text, anchor=anchor, fill=fill or "", font="GridSmall")

    def _draw_legend(self, machines: Sequence[str], width: int, colours: Any) -> int:
        x, y, line = 4, 4, scaled(self, 17)
        box = scaled(self, 9)
        for number, machine in enumerate(machines):
            fill = colours.get(_bars[number % len(_bars)])
            mark = self.chart.create_text(x + box + 5, y, text=machine, anchor="nw", font="GridSmall", fill=colours.fg)
            right = self.chart.bbox(mark)[2]
            if right > width and x > 4:
                self.chart.move(mark, 4 - x, line)
                x, y = 4, y + line
                right = self.chart.bbox(mark)[2]
            self.chart.create_rectangle(x, y + 3, x + box, y + 3 + box, fill=fill, width=0)
            x = right + 2 * box
        return y + line


def stacks(history: Sequence[dict[str, Any]], now: datetime, hours: int) -> tuple[list[str], list[list[int]]]:
    """The machines, busiest first, the rest as *others*, and for each hour, oldest first, their numbers."""
    totals: dict[str, int] = {}
    for one in history:
        totals[one["machine"]] = totals.get(one["machine"], 0) + one["number"]
    ranked = sorted(totals, key=lambda machine: (-totals[machine], machine))
    shown = ranked if len(ranked) <= len(_bars) else ranked[: len(_bars) - 1]
    names = shown + (["others"] if len(shown) < len(ranked) else [])
    columns = [[0] * len(names) for _ in range(hours)]
    last = now.replace(minute=0, second=0, microsecond=0)
    for one in history:
        ago = round((last - one["hour"]).total_seconds() / 3600)
        if 0 <= ago < hours:
            place = shown.index(one["machine"]) if one["machine"] in shown else len(names) - 1
            columns[hours - 1 - ago][place] += one["number"]
    return names, columns
