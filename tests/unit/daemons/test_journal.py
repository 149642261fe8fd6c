"""The journal of an attempt, which its daemon's successor reads."""

from __future__ import annotations

from bson import ObjectId

from gridcompute.daemons.journal import leftovers, remember_held, remember_prepared, remember_process
from gridcompute.grid.cases import Case
from gridcompute.grid.shared_folder import Prepared

case = Case(ObjectId("6b027b31231363028e009e1c"), "App", "processing", attempt=2, origin_user="ann", origin_machine="A")
prepared = Prepared("Results/ann/A/x.part", "Results/ann/A/x.zip", 12, "ab" * 32)


def test_what_an_attempt_was_for_is_read_back(tmp_path):
    work = tmp_path / "one"
    work.mkdir()
    remember_held(work, case, "token")
    (left,) = leftovers(tmp_path)
    assert (left.case_id, left.token, left.attempt) == (str(case.id), "token", 2)
    assert (left.user, left.machine, left.pid, left.prepared) == ("ann", "A", None, None)

    remember_process(work, 4711)
    remember_prepared(work, prepared)

    (left,) = leftovers(tmp_path)
    assert (left.token, left.pid, left.prepared) == ("token", 4711, prepared)


def test_a_line_that_was_cut_off_loses_none_before_it(tmp_path):
    work = tmp_path / "one"
    work.mkdir()
    remember_held(work, case, "token")
    with (work / "journal.jsonl").open("a") as journal:
        journal.write('{"prepared": {"part": "Resu')

    (left,) = leftovers(tmp_path)

    assert (left.token, left.prepared) == ("token", None)


def test_a_folder_that_tells_nothing_has_no_token(tmp_path):
    (tmp_path / "odd").mkdir()
    (left,) = leftovers(tmp_path)
    assert (left.token, left.case_id, left.pid) == ("", "", None)
