"""What is remembered of a result that receive.py works on, and who may work on it."""

from __future__ import annotations

import importlib.util
import os
import sys
import types

import pytest

from gridcompute.daemons import marks
from gridcompute.daemons.marks import Busy, Marks


def test_begun_and_done_are_lines_of_one_file(tmp_path):
    path = tmp_path / "journal" / "case.marks"
    with Marks(path) as held:
        assert not held.done
        held.begin()
        assert path.read_text() == "begun\n" and not held.done and not Marks(path).done
        held.finish()
        assert held.done and Marks(path).done
    Marks(path).forget()
    assert not path.exists() and not Marks(path).done


def test_one_at_a_time_holds_them(tmp_path):
    path = tmp_path / "case.marks"
    with Marks(path), pytest.raises(Busy), Marks(path):
        pytest.fail("two hold the marks of one case")
    with Marks(path):
        pass


def test_who_holds_the_marks_sees_that_it_is_done_though_they_were_forgotten(tmp_path):
    """One finished and forgot between the opening and the look of another: receive.py must not run again."""
    path = tmp_path / "case.marks"
    with Marks(path) as first:
        first.begin()
        first.finish()
    with Marks(path) as second:
        Marks(path).forget()
        assert second.done


def test_a_line_that_was_cut_off_counts_for_nothing(tmp_path):
    path = tmp_path / "case.marks"
    path.write_bytes(b"begun\ndon")
    assert not Marks(path).done


def test_on_windows_a_byte_beyond_the_marks_is_locked(tmp_path, monkeypatch):
    """Nobody else may read there what is locked, and the marks are to be read."""
    calls: list[tuple[int, int, int]] = []
    stand_in = types.ModuleType("msvcrt")
    stand_in.LK_NBLCK = 2
    stand_in.locking = lambda descriptor, mode, count: calls.append((os.lseek(descriptor, 0, os.SEEK_CUR), mode, count))
    monkeypatch.setitem(sys.modules, "msvcrt", stand_in)
    monkeypatch.setattr(sys, "platform", "win32")
    spec = importlib.util.spec_from_file_location("marks_on_windows", marks.__file__)
    there = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(there)

    with there.Marks(tmp_path / "case.marks") as held:
        held.begin()
        held.finish()
        assert held.done

    assert calls == [(1 << 30, 2, 1)]
    assert (tmp_path / "case.marks").read_bytes() == b"begun\ndone\n"
