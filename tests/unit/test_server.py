"""The parts of `Server` that need no grid."""

from __future__ import annotations

from pathlib import Path

import pytest

from gridcompute.errors import UsageError
from gridcompute.machine import program
from gridcompute.server import check_choice, is_running


def test_what_keeps_a_method_running_may_be_a_value_a_function_or_a_variable_of_tk():
    class Variable:
        def get(self) -> int:
            return 0

    assert is_running(True) and is_running(lambda: 1)
    assert not is_running(Variable()) and not is_running(lambda: False)


def test_a_grid_is_chosen_in_the_window_only_where_no_other_place_names_one(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(program, "place", lambda: tmp_path / "program")
    monkeypatch.delenv("GRIDCOMPUTE_SERVER", raising=False)
    check_choice()
    (tmp_path / "server.txt").write_text("team grid")
    with pytest.raises(UsageError, match=r"server\.txt names the grid .*team grid, which comes before"):
        check_choice()
    monkeypatch.setenv("GRIDCOMPUTE_SERVER", "//srv/grid")
    with pytest.raises(UsageError, match=r"^The variable GRIDCOMPUTE_SERVER names the grid"):
        check_choice()
