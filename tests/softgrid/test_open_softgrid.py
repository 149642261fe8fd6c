"""A softgrid in one call: how many workers it has, and that the documentation's own example computes."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from gridcompute.softgrid import open_softgrid
from gridcompute.softgrid.Core.machine_management import usable_cores
from gridcompute.softgrid.errors import SoftgridError
from gridcompute.softgrid.opening import _number_of_workers

PAGE = Path(__file__).parents[2] / "docs" / "applications.md"


@pytest.mark.parametrize(
    ("lent", "asked", "number"),
    [("3", None, 3), ("3", 2, 2), ("3", 8, 3), ("", 2, 2), ("", None, max(1, usable_cores() - 1))],
)
def test_a_case_has_what_its_machine_gives_and_a_script_what_it_asks_for(monkeypatch, lent, asked, number):
    monkeypatch.setenv("GRIDCOMPUTE_PROCESSES", lent)
    assert _number_of_workers(asked) == number


def test_less_than_one_process_is_a_mistake():
    with pytest.raises(ValueError, match="at least one process, not 0"), open_softgrid(0):
        pass


def test_the_documented_application_computes_on_two_workers(tmp_path, monkeypatch):
    """Nothing is left of the grid afterwards: the fixture of these tests looks."""
    (code,) = [
        block for block in re.findall(r"```python[^\n]*\n(.*?)```", PAGE.read_text(), re.S) if "open_softgrid" in block
    ]
    script, points = tmp_path / "process.py", tmp_path / "points.txt"
    script.write_text(code)
    points.write_text("200")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRIDCOMPUTE_PROCESSES", "2")

    assert runpy.run_path(str(script))["process_case"]([str(points)]) == ["pi.txt"]

    assert float((tmp_path / "pi.txt").read_text()) == pytest.approx(3.14, abs=0.1)


def test_workers_that_do_not_start_are_told_and_nothing_is_left(monkeypatch):
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    with pytest.raises(SoftgridError, match=r"2 of 2 workers did not start: .*/nowhere/python"), open_softgrid(2):
        pass
