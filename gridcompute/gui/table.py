"""A list of any length: a tree that holds the visible rows alone, and a scrollbar over all of them.

The tree is filled by one call into Tcl for all visible rows. Each call gives up the interpreter's lock and waits for it
again, which takes milliseconds while another thread works; a call for each row would be felt. A text that is too long
for its column ends with an ellipsis.
"""

from __future__ import annotations

import contextlib
import tkinter as tk
from collections.abc import Callable, Mapping
from functools import partial
from tkinter import font as tkfont
from typing import Any

import ttkbootstrap as ttk

from gridcompute.gui.rows import Rows

cell_padding = 6
"""Units of 1/96 inch left and right of a cell's text."""

_fill = """
proc gridcompute_fit {font text width} {
    set length [string length $text]
    if {$length < 3 || [font measure $font $text] <= $width} { return $text }
    set low 1
    set high $length
    while {$low < $high} {
        set middle [expr {($low + $high + 1) / 2}]
        if {[font measure $font "[string range $text 0 [expr {$middle - 1}]]\u2026"] <= $width} {
            set low $middle
        } else {
            set high [expr {$middle - 1}]
        }
    }
    return "[string trimright [string range $text 0 [expr {$low - 1}]]]\u2026"
}
proc gridcompute_fill {tree font padding rows} {
    set widths {}
    foreach column [$tree cget -columns] { lappend widths [expr {[$tree column $column -width] - $padding}] }
    foreach {item values tags} $rows {
        set shown {}
        foreach text $values width $widths { lappend shown [gridcompute_fit $font $text $width] }
        $tree item $item -values $shown -tags $tags
    }
}
"""


class Table(ttk.Frame):
    """Shows `rows`; `empty` is what stands there when there are none, and says what to do next.

    `on_select` is called after the selection changed, `on_open` for a double click or Return on a row, `menu` gives the
    context menu. `colours` maps the kind of a row to a colour's name of the theme.
    """

    def __init__(
        self,
        master: tk.Misc,
        rows: Rows,
        *,
        name: str,
        empty: str | Callable[[], str],
        height: int = 8,
        colours: Mapping[str, str] | None = None,
        on_select: Callable[[], None] = lambda: None,
        on_open: Callable[[], None] = lambda: None,
        menu: tk.Menu | None = None,
    ):
        super().__init__(master, name=name)
        self.rows, self.menu = rows, menu
        self._empty_text, self._colours = empty, dict(colours or {})
        self._on_select, self._on_open = on_select, on_open
        self._drawn: tuple[Any, ...] = ()
        self._items: list[str] = []
        self._first = 0
        self.tree = ttk.Treeview(
            self,
            name="tree",
            columns=[column.key for column in rows.columns],
            show="headings",
            selectmode="none",
            height=height,
        )
        self.bar = ttk.Scrollbar(self, orient="vertical", command=self._scrolled)
        self.tree.grid(row=0, column=0, sticky="nsew")
        self.bar.grid(row=0, column=1, sticky="ns")
        self.columnconfigure(0, weight=1)
        self.rowconfigure(0, weight=1)
        self.empty = ttk.Label(self.tree, name="empty", justify="center", anchor="center", bootstyle="secondary")
        self.tree.tk.eval(_fill)
        self._set_up_columns()
        self.restyle()
        self._bind()

    def _set_up_columns(self) -> None:
        for column in self.rows.columns:
            width = scaled(self, column.width)
            anchor: Any = column.anchor
            self.tree.heading(column.key, text=column.title, anchor=anchor, command=partial(self._sort, column.key))
            self.tree.column(column.key, width=width, minwidth=scaled(self, 40), stretch=column.stretch, anchor=anchor)

    def restyle(self) -> None:
        """Take the theme's colours; called again when the theme changed."""
        colours = ttk.Style.get_instance().colors
        for kind, colour in self._colours.items():
            self.tree.tag_configure(f"kind-{kind}", foreground=colours.get(colour) or "")
        self.tree.tag_configure("odd", background=colours.get("active") or "")
        self.empty.configure(background=colours.get("inputbg") or colours.get("bg"))
        self._drawn = ()

    # Drawing.

    @property
    def row_height(self) -> int:
        return int(ttk.Style.get_instance().lookup("Treeview", "rowheight") or 20)

    @property
    def shown(self) -> int:
        """How many rows fit."""
        heading = self.row_height + 4
        with contextlib.suppress(tk.TclError, TypeError, ValueError):
            first = self.tree.bbox(self._items[0]) if self._items else ""
            heading = int(first[1]) if first else heading
        return max(1, (self.tree.winfo_height() - heading) // self.row_height)

    def draw(self, *, always: bool = False) -> None:
        """Show what the rows are now; does nothing if nothing changed since."""
        key = (self.rows.version, self._first, self.tree.winfo_height())
        if key == self._drawn and not always:
            return
        self._drawn = key
        order = self.rows.order
        fits = self.shown
        self._first = max(0, min(self._first, len(order) - fits))
        ids = order[self._first : self._first + fits]
        self._keep_items(len(ids))
        filled: list[Any] = []
        selected = []
        for place, (item, row_id) in enumerate(zip(self._items, ids, strict=True)):
            row = self.rows[row_id]
            tags = [f"kind-{self.rows.kind(row)}"]
            if (self._first + place) % 2:
                tags.append("odd")
            filled += [item, self.rows.cells(row), tuple(tags)]
            if row_id in self.rows.selected:
                selected.append(item)
        self.tree.tk.call(
            "gridcompute_fill", str(self.tree), "TkDefaultFont", 2 * scaled(self, cell_padding), tuple(filled)
        )
        self.tree.selection_set(selected)
        self._draw_bar(len(order), fits)
        self._draw_empty(not order)
        self._draw_headings()
        self._drawn = (self.rows.version, self._first, self.tree.winfo_height())

    def _keep_items(self, number: int) -> None:
        while len(self._items) < number:
            self._items.append(self.tree.insert("", "end"))
        if len(self._items) > number:
            self.tree.delete(*self._items[number:])
            del self._items[number:]

    def _draw_bar(self, total: int, fits: int) -> None:
        if total <= fits:
            self.bar.grid_remove()
        else:
            self.bar.grid()
            self.bar.set(self._first / total, (self._first + fits) / total)

    def _draw_empty(self, empty: bool) -> None:
        if not empty:
            self.empty.place_forget()
            return
        text = self._empty_text() if callable(self._empty_text) else self._empty_text
        if self.rows.is_filtered and len(self.rows):
            text = "No row has what the filter asks for. Press Esc in the filter to see all."
        self.empty.configure(text=text, wraplength=max(200, self.tree.winfo_width() - scaled(self, 80)))
        self.empty.place(relx=0.5, rely=0.5, anchor="center")

    def _draw_headings(self) -> None:
        key, descending = self.rows.sorting
        for column in self.rows.columns:
            arrow = (" ▼" if descending else " ▲") if column.key == key else ""
            if self.tree.heading(column.key, "text") != column.title + arrow:
                self.tree.heading(column.key, text=column.title + arrow)

    # Scrolling.

    def _scrolled(self, what: str, amount: str, unit: str = "") -> None:
        total = len(self.rows.order)
        if what == "moveto":
            self.scroll_to(round(float(amount) * total))
        else:
            self.scroll_to(self._first + int(amount) * (self.shown if unit == "pages" else 1))

    def scroll_to(self, first: int) -> None:
        self._first = max(0, min(first, len(self.rows.order) - self.shown))
        self.draw()

    def _see(self, place: int) -> None:
        if place < self._first:
            self.scroll_to(place)
        elif place >= self._first + self.shown:
            self.scroll_to(place - self.shown + 1)

    def _wheel(self, event: tk.Event) -> str:
        up = event.num == 4 or event.delta > 0
        self.scroll_to(self._first + (-3 if up else 3))
        return "break"

    # Mouse and keyboard.

    def _bind(self) -> None:
        tree = self.tree
        tree.bind("<Configure>", lambda event: self.after_idle(self._resized))
        for wheel in ("<MouseWheel>", "<Button-4>", "<Button-5>"):
            tree.bind(wheel, self._wheel)
        tree.bind("<Button-1>", self._click)
        tree.bind("<Shift-Button-1>", lambda event: self._click(event, extend=True))
        tree.bind("<Control-Button-1>", lambda event: self._click(event, toggle=True))
        tree.bind("<Double-Button-1>", self._double_click)
        tree.bind("<Button-3>", self._show_menu)
        for keys in ("<Shift-F10>", "<App>" if self.tk.call("tk", "windowingsystem") == "win32" else "<Menu>"):
            with contextlib.suppress(tk.TclError):  # a key that this system does not know
                tree.bind(keys, lambda event: self._menu_at_cursor())
        tree.bind("<ButtonRelease-1>", lambda event: self.after_idle(self._resized))  # a column may be wider now
        for key, step in (("<Up>", -1), ("<Down>", 1)):
            tree.bind(key, partial(self._key_moves, step, False))
            tree.bind(f"<Shift-{key[1:]}", partial(self._key_moves, step, True))
        tree.bind("<Prior>", lambda event: self._move(-self.shown))
        tree.bind("<Next>", lambda event: self._move(self.shown))
        tree.bind("<Home>", lambda event: self._move(-len(self.rows)))
        tree.bind("<End>", lambda event: self._move(len(self.rows)))
        tree.bind("<Control-a>", lambda event: self._select_all())
        tree.bind("<Return>", lambda event: self._open())
        tree.bind("<space>", lambda event: "break")

    def _resized(self) -> None:
        if self.winfo_exists():
            self.draw(always=True)

    def _row_at(self, event: tk.Event) -> str:
        """Id of the row below the mouse, empty for none."""
        item = self.tree.identify_row(event.y)
        place = self._items.index(item) + self._first if item in self._items else -1
        return self.rows.order[place] if 0 <= place < len(self.rows.order) else ""

    def _click(self, event: tk.Event, **how: bool) -> str | None:
        if self.tree.identify_region(event.x, event.y) not in ("cell", "tree", "nothing"):
            return None  # the heading sorts, its borders move
        self.tree.focus_set()
        row_id = self._row_at(event)
        if row_id:
            self.rows.select(row_id, **how)
        else:
            self.rows.select_none()
        self._selected()
        return "break"

    def _double_click(self, event: tk.Event) -> str | None:
        if self._row_at(event) and self.tree.identify_region(event.x, event.y) == "cell":
            return self._open()
        return None

    def _open(self) -> str:
        if self.rows.selected:
            self._on_open()
        return "break"

    def _key_moves(self, step: int, extend: bool, event: tk.Event) -> str:
        return self._move(step, extend=extend)

    def _move(self, step: int, *, extend: bool = False) -> str:
        place = self.rows.move_cursor(step, extend=extend)
        if place >= 0:
            self._see(place)
            self._selected()
        return "break"

    def _select_all(self) -> str:
        self.rows.select_all()
        self._selected()
        return "break"

    def _selected(self) -> None:
        self.draw()
        self._on_select()

    def _show_menu(self, event: tk.Event) -> str:
        row_id = self._row_at(event)
        if row_id and row_id not in self.rows.selected:
            self.rows.select(row_id)
            self._selected()
        if self.menu is not None:
            self.menu.tk_popup(event.x_root, event.y_root)
        return "break"

    def _menu_at_cursor(self) -> str:
        """The menu by the keyboard, below the row that it acts on."""
        order = self.rows.order
        place = order.index(self.rows.cursor) - self._first if self.rows.cursor in order else -1
        if self.menu is not None and self.rows.selected and 0 <= place < len(self._items):
            box = self.tree.bbox(self._items[place])
            if box:
                x, y = self.tree.winfo_rootx() + int(box[0]), self.tree.winfo_rooty() + int(box[1]) + int(box[3])
                self.menu.tk_popup(x + scaled(self, 12), y)
        return "break"

    def _sort(self, key: str) -> None:
        self.rows.sort_by(key)
        self.draw()


def scaled(widget: tk.Misc, units: float) -> int:
    """Pixels for `units` of 1/96 inch at the present scaling."""
    return max(1, round(units * float(widget.tk.call("tk", "scaling")) * 72 / 96))


def linespace(widget: tk.Misc, font: str = "TkDefaultFont") -> int:
    return tkfont.nametofont(font, root=widget).metrics("linespace")
