"""How values are said."""

from __future__ import annotations

import os
from datetime import datetime, timezone

import pytest

from gridcompute.gui import help_texts, texts
from gridcompute.gui.columns import ago
from gridcompute.gui.grid_tab import stacks


def test_the_reason_of_an_error_stands_where_progress_stood():
    row = {"status": "error: it broke", "error": "Solver on PC-1:\n  no licence", "progress": {"fraction": 0.5}}
    assert texts.progress(row) == "Solver on PC-1: no licence"
    assert texts.progress({**row, "error": ""}) == "it broke"


@pytest.mark.parametrize(
    ("seconds", "said"), [(None, ""), (0.04, "0.0 s"), (9.9, "9.9 s"), (9.96, "0:09"), (75, "1:15")]
)
def test_what_a_case_took(seconds, said):
    assert texts.took(seconds) == said


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2_000_000, "2 MB"), (7.25e9, "7.25 GB")]
)
def test_sizes(count, said):
    assert texts.size(count) == said


@pytest.mark.parametrize(("seconds", "said"), [(None, ""), (7, "0:07"), (754, "12:34"), (11_109, "3:05:09")])
def test_durations(seconds, said):
    assert texts.duration(seconds) == said


def test_a_moment_of_today_is_a_time_an_older_one_has_its_date():
    now = datetime(2026, 5, 4, 12, 0, tzinfo=timezone.utc).astimezone()
    assert len(texts.moment(now, now)) == 8
    assert texts.moment(now.replace(year=2025), now).startswith("2025-05-04 ")
    assert texts.moment(None) == ""


def test_a_status_tells_the_place_in_the_queue():
    assert texts.status({"status": "to process", "position": 4}) == "wait #4"
    assert texts.status({"status": "to process", "position": 0}) == "wait"
    assert texts.status({"status": "error: it\nfailed"}) == "error: it failed"


def test_files_are_the_first_and_how_many_more():
    assert texts.files(["/a/b.inp"]) == "b.inp"
    assert texts.files(["/a/b.inp", "/a/c"], 7) == "b.inp and 6 more"
    assert texts.files([]) == "(no file)"
    assert texts.files(["/a/two\nlines\tand \u202etxt.exe"]) == "two lines and  txt.exe", "in one line, left to right"
    assert texts.files(["/a/計算 حالة 👩\u200d👧.inp"]) == "計算 حالة 👩\u200d👧.inp"


def test_many_names_are_the_first_and_how_many_more():
    assert texts.some_of([]) == "" and texts.some_of(["A", "B"]) == "A, B"
    many = [f"Structural Analysis Solver {number}" for number in range(1, 15)]
    assert texts.some_of(many) == "Structural Analysis Solver 1, Structural Analysis Solver 2 and 12 more"
    assert texts.some_of(["x" * 90, "y"]) == "x" * 90 + " and 1 more"


def test_a_long_path_keeps_its_beginning_and_its_end():
    short = texts.short("/one/very/long/path/of/a/shared/folder", 20)
    assert len(short) == 20 and short.startswith("/one") and short.endswith("folder")


@pytest.mark.parametrize(
    ("age", "said"),
    [(None, "never seen"), (3, "now"), (45, "45 s ago"), (600, "10 min ago"), (200_000, "2 days ago")],
)
def test_ago(age, said):
    assert ago(age) == said


def test_the_chart_stacks_machines_by_hour_and_names_the_rest_others():
    now = datetime(2026, 1, 2, 12, 30, tzinfo=timezone.utc)
    history = [{"machine": f"PC-{n}", "hour": now.replace(minute=0), "number": 10 - n} for n in range(7)]
    names, columns = stacks(history, now, 3)
    assert names == ["PC-0", "PC-1", "PC-2", "PC-3", "others"]
    assert columns == [[0] * 5, [0] * 5, [10, 9, 8, 7, 6 + 5 + 4]]


def test_the_licences_name_everything_that_is_shipped():
    pages = dict(help_texts.licence_pages())
    assert "GNU GENERAL PUBLIC LICENSE" in pages["GridCompute"]
    for name in ("pymongo", "psutil", "ttkbootstrap", "pillow", "Python", "Tcl/Tk"):
        assert f"\n{name}" in pages["Shipped with it"]


@pytest.mark.skipif(os.name != "posix", reason="Windows has no ~")
def test_what_lies_in_the_own_folder_is_written_with_a_tilde(monkeypatch):
    monkeypatch.setenv("HOME", "/home/anna")
    assert texts.place("/home/anna/grid") == "~/grid"
    assert texts.place("/home/annabel/grid") == "/home/annabel/grid"
    assert texts.place("") == ""
