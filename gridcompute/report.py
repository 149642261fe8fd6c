"""The report: one row a case, each documented field a column, as text by tabs, CSV or an Excel workbook.

The columns carry the documentation's names (chapter 1.3.3), nested ones with a dot, then some of ours. The report is
written aside and renamed, so an earlier report is lost only for a whole new one.
"""

from __future__ import annotations

import contextlib
import csv
import os
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any, Protocol

from gridcompute.errors import DiskFull, InputError, UsageError
from gridcompute.grid import trouble

Document = Mapping[str, Any]
Cell = str | int | float | None

sheet_rows = 1_048_576
"""Rows that a sheet of Excel has, the line of names included."""

_cell_limit = 32_767  # characters of a cell of Excel
_look_every = 100  # rows between two looks whether the user still wants the report
_formula_beginnings = ("=", "+", "-", "@", "\t", "\r")
_not_in_xml = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_line_breaks = re.compile(r"[\t\r\n\v\f\x00\x85\u2028\u2029]+")


def write_report(path: Path, documents: Iterable[Document], keep_running: Callable[[], bool] = lambda: True) -> int:
    """Write one row for each document of the collection *cases* to `path` and return their number.

    The ending of `path`, in any letter case, says the form: ``.txt`` by tabs, ``.csv`` by commas (with the mark by
    which Excel knows UTF-8), ``.xlsx``. Moments are local times with their zone. A text that a spreadsheet would take
    for a formula gets an apostrophe before it, in a workbook it is marked as text.

    When `keep_running` turns false, 0 is returned and nothing is written; a report of no case has its line of names.
    Raises `UsageError` for another ending, a folder that is not there, or too many cases for a sheet; `InputError`
    where the file can't be written; `DiskFull`. An earlier report stays until a whole new one is there.
    """
    kind = _writers.get(path.suffix.lower())
    if kind is None:
        ending = f"ends with '{path.suffix}'" if path.suffix else "has no ending"
        raise UsageError(
            f"Cannot write a report to {path}: its name {ending}. "
            "Choose a name that ends with .txt (by tabs), .csv or .xlsx (Excel)."
        )
    if path.is_dir():
        raise UsageError(f"Cannot write a report to {path}: that is a folder. Name a file.")
    aside = path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}.part")
    try:
        number = _write_rows(kind, aside, documents, keep_running)
        if number is None:
            return 0
        trouble.retried_while_in_use(lambda: aside.replace(path))
        return number
    except OSError as exc:
        raise _in_words(path, exc) from exc
    finally:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)


def columns() -> list[str]:
    """The names of the report's columns, in order."""
    return list(_columns)


# What a row says.


def _row(document: Document) -> list[Cell]:
    return [read(document) for read in _columns.values()]


def _field(name: str) -> Callable[[Document], Cell]:
    """Reads a field, nested ones by a name with dots; empty where the document does not have it."""
    parts = name.split(".")

    def read(document: Document) -> Cell:
        value: Any = document
        for part in parts:
            value = value.get(part) if isinstance(value, Mapping) else None
        return _cell(value)

    return read


def _cell(value: Any) -> Cell:
    if isinstance(value, datetime):
        return local_time(value)
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    return str(value)


def local_time(moment: datetime) -> str:
    """A moment as this computer's clock shows it, with its zone: ``2026-11-22 02:48:45+01:00``."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)  # so the database means it
    with contextlib.suppress(OSError, OverflowError, ValueError):  # Windows knows no zone before 1970
        moment = moment.astimezone()
    return moment.isoformat(" ", "seconds")


def _processor_list(document: Document) -> str:
    processors = document.get("processors")
    attempts = processors.get("processor_list") if isinstance(processors, Mapping) else None
    return "; ".join(
        f"{attempt.get('machine', '?')} ({attempt.get('user', '?')})"
        for attempt in attempts or ()
        if isinstance(attempt, Mapping)
    )


def _seconds_processed(document: Document) -> Cell:
    """Seconds of the last attempt: a number, since a spreadsheet can't subtract times that carry a zone."""
    processors = document.get("processors")
    times = processors.get("time") if isinstance(processors, Mapping) else None
    start, end = (times.get(name) if isinstance(times, Mapping) else None for name in ("start", "end"))
    if not isinstance(start, datetime) or not isinstance(end, datetime):
        return None
    return round((end - start).total_seconds(), 3)


def _input_names(document: Document) -> str:
    names = document.get("input_names")
    if not isinstance(names, Mapping):
        return ""
    first = [str(name) for name in names.get("first") or ()]
    more = names.get("count", 0) - len(first)
    return "; ".join(first) + (f"; and {more} more" if more > 0 else "")


_columns: dict[str, Callable[[Document], Cell]] = {
    name: _field(name)
    for name in (
        "_id",
        "user_group",
        "instance",
        "status",
        "last_heartbeat",
        "application",
        "path",
        "origin.machine",
        "origin.user",
        "origin.time.start",
        "origin.time.end",
        "processors.processor_list",
        "processors.time.start",
        "processors.time.end",
        "processors.time.seconds",
        "priority",
        "attempt",
        "failures",
        "losses",
        "receive_failures",
        "input.names",
        "input.size",
        "result.size",
        "error.message",
    )
}
_columns["processors.processor_list"] = _processor_list
_columns["processors.time.seconds"] = _seconds_processed
_columns["input.names"] = _input_names


# How it is written.


class _Writer(Protocol):
    """Takes rows; the file is whole after `close`."""

    def write(self, row: list[Cell]) -> None: ...

    def close(self) -> None: ...


def _write_rows(
    kind: Callable[[Path], _Writer], aside: Path, documents: Iterable[Document], keep_running: Callable[[], bool]
) -> int | None:
    """Write the names and all rows; the number of rows, or None when the user stopped it."""
    with contextlib.closing(kind(aside)) as writer:
        writer.write(list(_columns))
        number = 0
        for number, document in enumerate(documents, 1):
            if number % _look_every == 1 and not keep_running():
                return None
            writer.write(_row(document))
    return number if keep_running() else None


class _TextWriter:
    """Cells by tabs, a case a line: a tab or line break within a cell becomes a space."""

    def __init__(self, path: Path):
        self._file = path.open("w", encoding="utf-8", errors="replace", newline="")

    def write(self, row: list[Cell]) -> None:
        self._file.write("\t".join(_line_breaks.sub(" ", str(_harmless(cell))) for cell in row) + os.linesep)

    def close(self) -> None:
        _close_flushed(self._file)


class _CsvWriter:
    """Comma-separated values as RFC 4180 has them; line breaks within a cell stay, in quotes."""

    def __init__(self, path: Path):
        self._file = path.open("w", encoding="utf-8-sig", errors="replace", newline="")
        self._table = csv.writer(self._file)

    def write(self, row: list[Cell]) -> None:
        self._table.writerow([_harmless(cell) for cell in row])

    def close(self) -> None:
        _close_flushed(self._file)


class _ExcelWriter:
    """A workbook of one sheet, whose line of names stays in sight and filters."""

    def __init__(self, path: Path):
        import openpyxl
        from openpyxl.utils import get_column_letter

        path.touch()  # a folder that is missing or refuses is known before the work
        self._path = path
        self._book = openpyxl.Workbook(write_only=True)
        self._sheet = self._book.create_sheet("cases")
        self._sheet.freeze_panes = "B2"
        for number, name in enumerate(_columns, 1):
            width = 27 if ".time." in name or name in ("_id", "last_heartbeat") else len(name) + 3
            self._sheet.column_dimensions[get_column_letter(number)].width = width
        self._last_column = get_column_letter(len(_columns))
        self._rows = 0

    def write(self, row: list[Cell]) -> None:
        if self._rows == sheet_rows:
            raise UsageError(
                f"Cannot write the report to one sheet of Excel: it takes {sheet_rows - 1:,} cases and this grid has "
                "more. Write a report that ends with .csv or .txt."
            )
        self._rows += 1
        self._sheet.append([self._excel_cell(cell) for cell in row])

    def _excel_cell(self, cell: Cell) -> Any:
        if not isinstance(cell, str):
            return cell
        from openpyxl.cell import WriteOnlyCell

        text = _not_in_xml.sub("\N{REPLACEMENT CHARACTER}", cell)[:_cell_limit]
        if not text.startswith((*_formula_beginnings, "#")):
            return text
        marked = WriteOnlyCell(self._sheet, text)
        marked.data_type = "s"  # openpyxl takes "=1+1" for a formula and "#N/A" for an error
        return marked

    def close(self) -> None:
        """Write the workbook, also one that is not wanted any more: only so openpyxl removes its own files."""
        self._sheet.auto_filter.ref = f"A1:{self._last_column}{max(1, self._rows)}"
        self._book.save(self._path)


_writers: dict[str, Callable[[Path], _Writer]] = {".txt": _TextWriter, ".csv": _CsvWriter, ".xlsx": _ExcelWriter}


def _harmless(cell: Cell) -> Cell:
    """A cell of a text file that no spreadsheet takes for a formula; numbers stay numbers."""
    if cell is None:
        return ""
    if isinstance(cell, str) and cell.startswith(_formula_beginnings):
        return "'" + cell
    return cell


def _close_flushed(file: IO[str]) -> None:
    with file:
        file.flush()
        os.fsync(file.fileno())


def _in_words(path: Path, exc: OSError) -> InputError | UsageError | DiskFull:
    reason = trouble.words(exc)
    if trouble.is_full(exc):
        return DiskFull(f"Cannot write the report to {path}: {reason}. Free some space or choose another folder.")
    if trouble.is_missing(exc):
        return UsageError(f"Cannot write the report to {path}: there is no folder {path.absolute().parent}.")
    if isinstance(exc, PermissionError) and path.exists():
        return InputError(
            f"Cannot replace the report {path}: {reason}. If it is open in Excel or another program, close it there; "
            "else choose another name."
        )
    return InputError(f"Cannot write the report to {path}: {reason}. Choose another folder or name.")
