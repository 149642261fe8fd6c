"""A list as it is shown: filtered, sorted, with a selection. No Tk here, so ten thousand rows cost no widget.

A row is a dictionary with an ``id``. The order is worked out when it is asked for and something changed; of a long list
it may be worked out beside the event loop, since to sort or filter ten thousand rows takes a tenth of a second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

Row = dict[str, Any]

rows_at_once = 1000
"""Rows that are sorted and filtered within some milliseconds."""


@dataclass(frozen=True)
class Column:
    """One column: `text` is what a cell shows, `order` what it is sorted by (the text if not given)."""

    key: str
    title: str
    width: int  # in units of 1/96 inch, scaled by the window
    text: Callable[[Row], str]
    order: Callable[[Row], Any] | None = None
    anchor: str = "w"
    stretch: bool = False

    def sort_key(self, row: Row) -> tuple[bool, Any]:
        """Rows with nothing in the column come last."""
        value = self.order(row) if self.order else self.text(row).casefold()
        return (value is None or value == "", value if value is not None else 0)


@dataclass(frozen=True)
class View:
    """What of a list is shown, and in which order; as it stands here: all, as they came."""

    sort: str = ""  # key of a column
    descending: bool = False
    words: tuple[str, ...] = ()  # all of them must occur in a row, in any letter case
    only: frozenset[str] = frozenset()  # kinds of rows; none means all


def arranged(rows: Iterable[Row], columns: Sequence[Column], kind: Callable[[Row], str], view: View) -> list[str]:
    """Ids of the rows that `view` shows, in its order. Any thread may work it out."""
    if view.only:
        rows = [row for row in rows if kind(row) in view.only]
    if view.words:
        rows = [row for row in rows if _matches(row, columns, view.words)]
    column = next((one for one in columns if one.key == view.sort), None)
    if column is not None:
        rows = _sorted(rows, column, view.descending)
    return [row["id"] for row in rows]


def _sorted(rows: Iterable[Row], column: Column, descending: bool) -> list[Row]:
    keyed = [(column.sort_key(row), row) for row in rows]
    filled = [row for key, row in sorted((pair for pair in keyed if not pair[0][0]), key=lambda pair: pair[0][1])]
    if descending:
        filled.reverse()
    return filled + [row for key, row in keyed if key[0]]


def _matches(row: Row, columns: Sequence[Column], words: Sequence[str]) -> bool:
    text = "\n".join(column.text(row) for column in columns).casefold()
    return all(word in text for word in words)


class Rows:
    """The rows of one list, what of them is shown and in which order, and which are selected.

    With `beside` the order of more than `rows_at_once` rows is not worked out here: `arranging` gives the work to a
    thread, and `take_order` its result; until then the order that was shown stays.
    """

    def __init__(self, columns: Iterable[Column], *, kind: Callable[[Row], str] = lambda row: "", sort: str = ""):
        self.columns = list(columns)
        self.kind = kind
        """What colours a row, and what `only` lets through."""
        self.selected: set[str] = set()
        self.cursor = ""
        """Id of the row that the keyboard acts on."""
        self.version = 0
        """Grows with every change; a view draws when it differs from what it drew."""
        self._all: dict[str, Row] = {}
        self._order: list[str] = []
        self._stale = False
        self.beside = False
        self._view = View(sort)
        self._awaited = False
        self._under_way = False
        self._anchor = ""

    # The rows.

    def __len__(self) -> int:
        return len(self._all)

    def __contains__(self, row_id: str) -> bool:
        return row_id in self._all

    def __getitem__(self, row_id: str) -> Row:
        return self._all[row_id]

    def values(self) -> list[Row]:
        return list(self._all.values())

    def get(self, row_id: str) -> Row | None:
        return self._all.get(row_id)

    def _changed(self, *, order: bool = True) -> None:
        self.version += 1
        self._stale = self._stale or order

    def put(self, row: Row) -> None:
        """Add a row, or replace the one with its id."""
        self._all[row["id"]] = row
        self._changed()

    def change(self, row_id: str, **changes: Any) -> bool:
        """Give some keys of a row new values; False if there is no such row."""
        row = self._all.get(row_id)
        if row is None:
            return False
        row.update(changes)
        self._changed()
        return True

    def remove(self, *ids: str) -> None:
        for row_id in ids:
            self._all.pop(row_id, None)
            self.selected.discard(row_id)
        self._changed()

    def replace(self, rows: Iterable[Row]) -> None:
        """These rows and no others; the selection stays where its rows do."""
        self._all = {row["id"]: row for row in rows}
        self.selected &= self._all.keys()
        self._changed()

    def clear(self) -> None:
        self.replace(())

    # What is shown.

    @property
    def order(self) -> list[str]:
        """Ids of the rows that are shown, in order."""
        if self._stale:
            self._stale = False
            if self.beside and len(self._all) > rows_at_once and self._view != View():
                self._awaited = True
                self._order = [row_id for row_id in self._order if row_id in self._all]
            else:
                self._awaited = False
                self._order = arranged(self._all.values(), self.columns, self.kind, self._view)
        return self._order

    def arranging(self) -> Callable[[], tuple[View, list[str]]] | None:
        """The work that a thread shall do for `take_order`; None if there is none, or it is under way."""
        if not self._awaited or self._under_way:
            return None
        self._awaited, self._under_way = False, True
        rows, view = list(self._all.values()), self._view
        return lambda: (view, arranged(rows, self.columns, self.kind, view))

    def take_order(self, found: tuple[View, list[str]]) -> None:
        """The order that `arranging` worked out; one that is not asked for any more is left aside."""
        view, order = found
        self._under_way = False
        if view == self._view and len(self._all) > rows_at_once:
            self._order = [row_id for row_id in order if row_id in self._all]
            self._changed(order=False)

    def cells(self, row: Row) -> tuple[str, ...]:
        return tuple(column.text(row) for column in self.columns)

    def sort_by(self, key: str) -> None:
        """Sort by a column; by the same one again the other way round, a third time as the rows came."""
        if self._view.sort != key:
            self._look_through(sort=key, descending=False)
        elif not self._view.descending:
            self._look_through(descending=True)
        else:
            self._look_through(sort="", descending=False)

    def _look_through(self, **changes: Any) -> None:
        view = replace(self._view, **changes)
        if view != self._view:
            self._view = view
            self._changed()

    @property
    def sorting(self) -> tuple[str, bool]:
        """The column's key, empty for none, and whether it is descending."""
        return self._view.sort, self._view.descending

    def search(self, text: str) -> None:
        """Show only rows in which all these words occur."""
        self._look_through(words=tuple(text.casefold().split()))

    def show_only(self, kinds: Iterable[str]) -> None:
        """Show only rows of these kinds; none given means all."""
        self._look_through(only=frozenset(kinds))

    @property
    def is_filtered(self) -> bool:
        return bool(self._view.words or self._view.only)

    # Selection.

    def select(self, row_id: str, *, extend: bool = False, toggle: bool = False) -> None:
        """A click on a row: alone, with Shift (`extend` from the last click), with Ctrl (`toggle`)."""
        if extend and self._anchor in self._all:
            order = self.order
            try:
                first, last = sorted((order.index(self._anchor), order.index(row_id)))
            except ValueError:
                first, last = 0, -1
            self.selected = set(order[first : last + 1]) | (self.selected if toggle else set())
        elif toggle:
            self.selected ^= {row_id}
            self._anchor = row_id
        else:
            self.selected = {row_id}
            self._anchor = row_id
        self.cursor = row_id
        self._changed(order=False)

    def move_cursor(self, step: int, *, extend: bool = False) -> int:
        """Up or down by `step` rows; returns the new place in the order, -1 if there is no row."""
        order = self.order
        if not order:
            return -1
        here = order.index(self.cursor) if self.cursor in self._all and self.cursor in order else -1
        place = 0 if here < 0 else max(0, min(len(order) - 1, here + step))
        self.select(order[place], extend=extend)
        return place

    def select_all(self) -> None:
        self.selected = set(self.order)
        self._changed(order=False)

    def select_none(self) -> None:
        self.selected.clear()
        self._changed(order=False)

    @property
    def chosen(self) -> list[Row]:
        """The selected rows that are shown, in their order."""
        if not self.selected:
            return []
        return [self._all[row_id] for row_id in self.order if row_id in self.selected]
