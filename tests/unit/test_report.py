from __future__ import annotations

import csv
import errno
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import openpyxl
import pytest

from gridcompute import report
from gridcompute.errors import DatabaseAway, DiskFull, InputError, UsageError
from gridcompute.report import columns, write_report

start = datetime(2026, 7, 1, 12, 0, 0, 250_000, tzinfo=timezone.utc)

documented = [
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
]
"""Every field of a case of the documentation's chapter 1.3.3."""


@pytest.fixture(autouse=True)
def in_berlin(monkeypatch):
    """Local times are those of a place with a summer time."""
    if not hasattr(time, "tzset"):
        yield
        return
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def make_case(number: int = 1, **changes):
    return {
        "_id": f"{number:024x}",
        "user_group": "ENGINEERING DEPARTMENT",
        "instance": "0",
        "status": "received",
        "last_heartbeat": start,
        "application": "Random Counter",
        "path": "Results/anna/PC-1/x.zip",
        "origin": {"machine": "PC-1", "user": "anna", "time": {"start": start, "end": start + timedelta(minutes=2)}},
        "processors": {
            "processor_list": [{"machine": "PC-2", "user": "ben"}, {"machine": "PC-3", "user": "DOM\\eve"}],
            "time": {"start": start, "end": start + timedelta(seconds=1.5)},
        },
        "priority": 50,
        "attempt": 2,
        "failures": 1,
        "losses": 0,
        "input_names": {"first": ["a.txt", "b.txt"], "count": 7},
        "input": {"path": "Cases/anna/PC-1/x.zip", "size": 1234, "sha256": "ab"},
        **changes,
    }


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def read_tabs(path: Path) -> list[dict[str, str]]:
    names, *rows = [line.split("\t") for line in path.read_text("utf-8").splitlines()]
    return [dict(zip(names, row, strict=True)) for row in rows]


def read_excel(path: Path) -> list[dict[str, object]]:
    names, *rows = openpyxl.load_workbook(path).active.iter_rows(values_only=True)
    return [dict(zip(names, row, strict=True)) for row in rows]


readers = {".csv": read_csv, ".txt": read_tabs, ".xlsx": read_excel, ".XLSX": read_excel, ".Txt": read_tabs}


@pytest.mark.parametrize("ending", readers)
def test_every_documented_field_is_a_column_and_every_case_a_row(tmp_path, ending):
    path = tmp_path / f"report of Zoë{ending}"
    assert write_report(path, [make_case(1), make_case(2, status="to process", processors={})]) == 2
    first, second = readers[ending](path)
    assert list(first)[: len(documented)] == documented == columns()[: len(documented)]
    assert first["_id"] == f"{1:024x}"
    assert first["processors.processor_list"] == "PC-2 (ben); PC-3 (DOM\\eve)"
    assert first["input.names"] == "a.txt; b.txt; and 5 more"
    assert str(first["priority"]) == "50"
    assert str(first["processors.time.seconds"]) == "1.5"
    assert second["status"] == "to process"
    assert not second["processors.time.start"]
    assert names_in(tmp_path) == [path.name]


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="Windows has one zone for all processes")
@pytest.mark.parametrize("ending", [".csv", ".txt", ".xlsx"])
def test_times_are_local_and_carry_their_zone(tmp_path, ending):
    path = tmp_path / f"report{ending}"
    winter = datetime(2026, 1, 1, 12, 0, tzinfo=timezone.utc)
    write_report(path, [make_case(last_heartbeat=winter)])
    [row] = readers[ending](path)
    assert row["last_heartbeat"] == "2026-01-01 13:00:00+01:00"
    assert row["origin.time.start"] == "2026-07-01 14:00:00+02:00"


def test_a_document_of_an_older_program_has_its_row_too(tmp_path):
    path = tmp_path / "report.csv"
    old = {"_id": 1, "origin": "PC-1", "processors": {"processor_list": None, "time": None}, "input_names": 3}
    naive = make_case(2, last_heartbeat=datetime(2014, 8, 20, 10, 0), priority=True, error={"message": "no disk"})
    assert write_report(path, [old, {}, naive]) == 3
    rows = read_csv(path)
    assert rows[2]["error.message"] == "no disk"
    if hasattr(time, "tzset"):
        assert rows[2]["last_heartbeat"] == "2014-08-20 12:00:00+02:00"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "=cmd|' /C calc'!A0", "#N/A", "'x"])
def test_no_text_is_taken_for_a_formula(tmp_path, text):
    for ending in (".csv", ".txt", ".xlsx"):
        write_report(tmp_path / f"r{ending}", [make_case(application=text)])
    for ending in (".csv", ".txt"):
        value = readers[ending](tmp_path / f"r{ending}")[0]["application"]
        assert value == (f"'{text}" if text[0] in "=+-@" else text)
    cell = openpyxl.load_workbook(tmp_path / "r.xlsx").active["F2"]
    assert (cell.value, cell.data_type) == (text, "s")


def test_tabs_and_line_breaks_do_not_break_a_row(tmp_path):
    message = "line one\r\n\tline two\u2028three"
    for ending in (".csv", ".txt", ".xlsx"):
        write_report(tmp_path / f"r{ending}", [make_case(error={"message": message})])
    assert read_tabs(tmp_path / "r.txt")[0]["error.message"] == "line one line two three"
    assert read_csv(tmp_path / "r.csv")[0]["error.message"] == message
    excel = read_excel(tmp_path / "r.xlsx")[0]["error.message"]
    assert [part.strip() for part in str(excel).splitlines()] == ["line one", "line two", "three"]


def test_excel_takes_any_character_and_length(tmp_path):
    path = tmp_path / "r.xlsx"
    write_report(path, [make_case(status="error: \x00\x1b[31m" + "x" * 40_000, path="=\x07")])
    [row] = read_excel(path)
    assert str(row["status"]).startswith("error: \ufffd\ufffd[31m")
    assert len(str(row["status"])) == 32_767
    assert row["path"] == "=\ufffd"


def test_excel_keeps_the_names_in_sight_and_filters(tmp_path):
    path = tmp_path / "r.xlsx"
    write_report(path, [make_case(number) for number in range(3)])
    sheet = openpyxl.load_workbook(path).active
    assert sheet.freeze_panes == "B2"
    assert sheet.auto_filter.ref == f"A1:{sheet.cell(1, len(columns())).column_letter}4"


def test_no_case_is_a_report_with_the_names_alone(tmp_path):
    for ending in (".csv", ".txt", ".xlsx"):
        assert write_report(tmp_path / f"r{ending}", []) == 0
        assert readers[ending](tmp_path / f"r{ending}") == []
    assert (tmp_path / "r.txt").read_text().split("\t")[0] == "_id"


def test_an_unknown_ending_is_refused_in_words(tmp_path):
    for name in ("report.pdf", "report", "report.xls"):
        with pytest.raises(UsageError, match=r"\.txt .*\.csv or \.xlsx"):
            write_report(tmp_path / name, [])
    assert not names_in(tmp_path)


def test_a_sheet_that_is_full_says_so_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "sheet_rows", 3)
    path = tmp_path / "r.xlsx"
    assert write_report(path, [make_case(1), make_case(2)]) == 2
    before = path.read_bytes()
    with pytest.raises(UsageError, match=r"takes 2 cases .* ends with \.csv or \.txt"):
        write_report(path, (make_case(number) for number in range(3)))
    assert path.read_bytes() == before
    assert names_in(tmp_path) == ["r.xlsx"]


@pytest.mark.parametrize("ending", [".csv", ".txt", ".xlsx"])
def test_stopped_by_the_user_nothing_is_left_behind(tmp_path, ending):
    path = tmp_path / f"r{ending}"
    path.write_text("an earlier report")
    read = 0

    def endless():
        nonlocal read
        while True:
            read += 1
            yield make_case(read)

    assert write_report(path, endless(), lambda: read < 250) == 0
    assert read < 400
    assert path.read_text() == "an earlier report"
    assert names_in(tmp_path) == [path.name]
    assert write_report(path, [make_case()], lambda: False) == 0
    assert path.read_text() == "an earlier report"


@pytest.mark.parametrize("ending", [".csv", ".txt", ".xlsx"])
def test_a_database_that_goes_away_leaves_the_earlier_report(tmp_path, ending):
    path = tmp_path / f"r{ending}"
    path.write_text("an earlier report")

    def broken():
        yield make_case()
        raise DatabaseAway("gone")

    with pytest.raises(DatabaseAway):
        write_report(path, broken())
    assert path.read_text() == "an earlier report"
    assert names_in(tmp_path) == [path.name]


def test_an_earlier_report_is_replaced_by_the_whole_new_one(tmp_path):
    path = tmp_path / "r.csv"
    write_report(path, [make_case(number) for number in range(5)])
    write_report(path, [make_case(7)])
    assert [row["_id"] for row in read_csv(path)] == [f"{7:024x}"]


@pytest.mark.parametrize("ending", [".csv", ".xlsx"])
def test_a_report_that_is_open_in_excel_says_what_to_do(tmp_path, monkeypatch, ending):
    path = tmp_path / f"r{ending}"
    path.write_text("an earlier report")
    refuse(monkeypatch, PermissionError(errno.EACCES, "Permission denied"))
    with pytest.raises(InputError, match="open in Excel or another program, close it"):
        write_report(path, [make_case()])
    monkeypatch.undo()
    assert path.read_text() == "an earlier report"
    assert names_in(tmp_path) == [path.name]


@pytest.mark.parametrize("ending", [".csv", ".xlsx"])
def test_a_folder_that_is_not_there_and_a_folder_in_place_of_a_file_are_said(tmp_path, ending):
    with pytest.raises(UsageError, match=r"there is no folder .*nowhere"):
        write_report(tmp_path / "nowhere" / f"r{ending}", [])
    (tmp_path / f"r{ending}").mkdir()
    with pytest.raises(UsageError, match="that is a folder"):
        write_report(tmp_path / f"r{ending}", [])


def test_a_full_disk_is_said(tmp_path, monkeypatch):
    refuse(monkeypatch, OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(DiskFull, match="No space left on device"):
        write_report(tmp_path / "r.csv", [make_case()])
    assert not names_in(tmp_path)


def refuse(monkeypatch, exc: OSError) -> None:
    """Let every rename fail with `exc`."""

    def replace(source, target):
        raise exc

    monkeypatch.setattr(Path, "replace", replace)
