"""Tables in the folders of executors: rows of typed columns, as text, one line a row.

The first line holds the columns' names, empty where there are none. Values are separated by `sep`, a null is an empty
string. A backslash stands before what would be mistaken for something else: `\\n` is a line's end, `\\r` a carriage
return, `\\s` the separator, `\\\\` itself, and `\\e` alone a string that is empty and not null.
"""

from __future__ import annotations

import ast
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from . import running

_TYPES = (str, int, float, list, tuple, dict)


class DDFSETL:
    """Writes and reads tables below the running executor's `ddfsDir`.

    `dtypes` is one type of str, int, float, list, tuple and dict for all columns, or a list of one for each, whose
    length is then the number of columns. `null` is the value that stands for nothing; on disk it is an empty string.
    `colNames` are the columns' names where `dump` gets no header. Raises ValueError for what is none of that.
    """

    def __init__(self, dtypes: Any, sep: str = "\x01", null: Any = None, colNames: list[str] | None = None):
        self._types: list[type] | None = list(dtypes) if isinstance(dtypes, (list, tuple)) else None
        self._type: type = str if self._types is not None else dtypes
        for kind in self._types if self._types is not None else [self._type]:
            if kind not in _TYPES:
                names = ", ".join(known.__name__ for known in _TYPES)
                raise ValueError(f"A column's type must be one of {names}, not {kind!r}.")
        if not isinstance(sep, str) or not sep or any(char in sep for char in "\\\n\r"):
            raise ValueError(f"The separator must be text without backslashes and line ends, not {sep!r}.")
        self._sep = sep
        self._null = null
        self._names = self._checked_header(colNames)

    # --- writing -----------------------------------------------------------------------------------------

    def dump(self, path: str, data: Any, header: list[str] | None = None, replace: bool = True) -> None:
        """Writes rows, or a NumPy array of two dimensions, whole or not at all.

        Raises FileExistsError where the file is there and not to be replaced, and ValueError, naming the row, for
        rows of another number of columns and values that are not of their column's type.
        """
        place = self._place(path)
        names = self._names if header is None else self._checked_header(header)
        if hasattr(data, "tolist"):
            if data.ndim != 2:
                raise ValueError(f"An array must have two dimensions, this one has {data.ndim}.")
            data = data.tolist()
        if place.exists() and not replace:
            raise FileExistsError(f"{path!r} exists already and is not to be replaced.")
        place.parent.mkdir(parents=True, exist_ok=True)
        written = place.with_name(f".{place.name}.{os.getpid()}.{threading.get_ident()}")
        try:
            with written.open("w", encoding="utf-8", newline="\n") as file:
                file.write(self._sep.join(self._escape(name) for name in names or []) + "\n")
                width = len(self._types) if self._types is not None else len(names) if names else None
                for number, row in enumerate(data):
                    cells = list(row)
                    width = len(cells) if width is None else width
                    if len(cells) != width:
                        raise ValueError(f"Row {number} has {len(cells)} columns, {width} are expected.")
                    file.write(self._sep.join(self._cell(value, number, i) for i, value in enumerate(cells)) + "\n")
            if replace:
                written.replace(place)
            else:
                self._put_new(written, place)
        finally:
            written.unlink(missing_ok=True)

    @staticmethod
    def _put_new(written: Path, place: Path) -> None:
        """Two that write the same new file at once do not both succeed."""
        try:
            os.link(written, place)
        except FileExistsError:
            raise
        except OSError:  # a file system without links
            with place.open("xb") as file:
                file.write(written.read_bytes())

    def _cell(self, value: Any, row: int, column: int) -> str:
        if self._is_null(value):
            return ""
        kind = self._kind(column)
        if kind is str:
            if not isinstance(value, str):
                raise ValueError(self._wrong(value, row, column, kind))
            return self._escape(value) if value else "\\e"
        try:
            if kind in (int, float):
                number = kind(value)
                if isinstance(value, str) or (number != value and value == value):
                    raise ValueError
                return repr(number)
            if not isinstance(value, kind):
                raise ValueError
            text = repr(value)
            if ast.literal_eval(text) != value:
                raise ValueError
        except (ValueError, TypeError, SyntaxError, OverflowError) as exc:
            raise ValueError(self._wrong(value, row, column, kind)) from exc
        return self._escape(text)

    @staticmethod
    def _wrong(value: Any, row: int, column: int, kind: type) -> str:
        return f"Row {row}, column {column}: {value!r} can't be kept as {kind.__name__}."

    def _is_null(self, value: Any) -> bool:
        if value is self._null:
            return True
        if isinstance(value, float) and isinstance(self._null, float) and value != value:
            return self._null != self._null  # nan
        return type(value) is type(self._null) and bool(value == self._null)

    # --- reading -----------------------------------------------------------------------------------------

    def pull(self, path: str) -> tuple[list[str], list[list[Any]]]:
        """(the columns' names, the rows). Raises FileNotFoundError, and ValueError for a file of other columns."""
        with self._open(path) as (names, file):
            return names, list(self._rows(file, path))

    def iter(self, path: str, n: int = 1, header: bool = False) -> Iterator[Any]:
        """One row at a time, or with `n` above 1 lists of so many (the last may be shorter); never the whole file.

        With `header` each is a pair of the columns' names and a list of rows.
        """
        if n < 1:
            raise ValueError(f"n must be at least 1, not {n}.")
        with self._open(path) as (names, file):
            rows: list[list[Any]] = []
            for row in self._rows(file, path):
                rows.append(row)
                if len(rows) == n:
                    yield (names, rows) if header else rows[0] if n == 1 else rows
                    rows = []
            if rows:
                yield (names, rows) if header else rows

    @contextmanager
    def _open(self, path: str) -> Iterator[tuple[list[str], IO[str]]]:
        with self._place(path).open(encoding="utf-8", newline="\n") as file:
            first = file.readline().rstrip("\n")
            yield [self._unescape(name) for name in first.split(self._sep)] if first else [], file

    def _rows(self, file: IO[str], path: str) -> Iterator[list[Any]]:
        width = len(self._types) if self._types is not None else None
        for number, line in enumerate(file):
            cells = line.rstrip("\n").split(self._sep)
            if width is not None and len(cells) != width:
                raise ValueError(f"Row {number} of {path!r} has {len(cells)} columns, {width} are expected.")
            try:
                yield [self._value(cell, column) for column, cell in enumerate(cells)]
            except (ValueError, SyntaxError) as exc:
                raise ValueError(f"Row {number} of {path!r} can't be read: {exc}") from exc

    def _value(self, cell: str, column: int) -> Any:
        if not cell:
            return self._null
        kind = self._kind(column)
        if kind is str:
            return "" if cell == "\\e" else self._unescape(cell)
        if kind in (int, float):
            return kind(cell)
        value = ast.literal_eval(self._unescape(cell))
        if not isinstance(value, kind):
            raise ValueError(f"column {column} holds {value!r}, which is no {kind.__name__}.")
        return value

    # --- cells and paths ---------------------------------------------------------------------------------

    def _kind(self, column: int) -> type:
        if self._types is None:
            return self._type
        return self._types[column]

    def _checked_header(self, names: list[str] | None) -> list[str] | None:
        if names is None:
            return None
        if not all(isinstance(name, str) and name for name in names):
            raise ValueError(f"Columns need names that are not empty: {names!r}.")
        if self._types is not None and len(names) != len(self._types):
            raise ValueError(f"There are {len(names)} names for {len(self._types)} columns.")
        return list(names)

    def _escape(self, text: str) -> str:
        text = text.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
        return text.replace(self._sep, "\\s")

    def _unescape(self, text: str) -> str:
        if "\\" not in text:
            return text
        known: dict[str, str] = {"n": "\n", "r": "\r", "s": self._sep, "\\": "\\", "e": ""}
        found, at = [], 0
        while (mark := text.find("\\", at)) >= 0:
            found.append(text[at:mark])
            found.append(known[text[mark + 1]] if text[mark + 1 : mark + 2] in known else text[mark : mark + 2])
            at = mark + 2
        return "".join([*found, text[at:]])

    @staticmethod
    def _place(path: str) -> Path:
        """Raises ValueError for a path that leaves the executor's folder."""
        base = Path(running.current().ddfsDir).resolve()
        place = (base / path).resolve()
        if not place.is_relative_to(base) or place == base:
            raise ValueError(f"The path {path!r} leaves the executor's folder of tables.")
        return place
