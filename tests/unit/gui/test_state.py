"""What the window shows after each event, without a screen."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from gridcompute import events
from gridcompute.gui import state as states
from gridcompute.gui.state import Progress, State
from gridcompute.machine.environments import MAKING, READY, UNUSED, Found


@pytest.fixture
def state() -> State:
    made = State("PC-1", "anna")
    made.phase, made.allowed = "ready", ["Counter"]
    return made


def case(case_id: str = "a1", status: str = "to process", **changes):
    row = {
        "id": case_id,
        "application": "Counter",
        "status": status,
        "processor": "",
        "attempt": 0,
        "priority": 50,
        "position": 0,
        "submitted": None,
        "started": None,
        "returned": None,
        "files": ["in.txt"],
        "count": 1,
        "progress": None,
        "error": "",
    }
    return {**row, **changes}


def look(*rows):
    return {"rows": list(rows), "to_process": 1, "to_receive": 0}


def process(case_id: str = "a1", status: str = "run"):
    return {"id": case_id, "pid": 7, "application": "Counter", "origin": "ben on PC-2", "attempt": 1, "status": status}


# Every documented event.


def test_environments_are_read_again_when_one_changed_and_what_is_made_is_said(state):
    state.environments_stale = False
    state.handle(events.environments_changed())
    assert state.environments_stale
    state.lent = 1
    state.take_environments(
        [Found("Solver", MAKING, packages=("numpy",)), Found("Old", UNUSED, python="3.9", folder=Path("old"), size=9)]
    )
    assert state.lending == "Waiting for cases, the environment of Solver is being made."
    assert [state.environments.cells(row)[:5] for row in state.environments.values()] == [
        ("Solver", "being made", "", "numpy", ""),
        ("Old", "not used", "3.9", "none", "9 B"),
    ]
    assert state.environments_of(UNUSED) == ["Old"]
    state.take_environments([Found("Solver", READY, folder=Path("new"), asked_anew=True)])
    assert state.environments["new"]["words"] == "made anew soon"
    assert not state.is_used(state.environments["new"])
    state.handle(events.add_my_process({**process(), "application": "Solver"}))
    assert state.is_used(state.environments["new"])


def test_a_case_that_reports_progress_runs(state):
    state.handle(events.add_my_process(process(status="fetch")))
    state.handle(events.change_my_process("a1", fraction=0.1, text="784233 to go"))
    assert state.processes["a1"]["status"] == "run"
    state.handle(events.change_my_process("a1", status="paused"))
    state.handle(events.change_my_process("a1", fraction=0.2, text=""))
    assert state.processes["a1"]["status"] == "paused"


def test_log_file_only_shows_nothing(state):
    state.handle(events.log_file_only("hidden"))
    assert not state.log and state.notice is None


@pytest.mark.parametrize(
    ("event", "level"), [(events.warning("watch out"), "warning"), (events.error("it failed"), "error")]
)
def test_a_warning_and_an_error_stand_in_the_log_and_as_a_notice(state, event, level):
    state.handle(event)
    assert state.log[-1].level == level and state.notice.text == event["message"]


def test_an_info_stands_in_the_log_and_asks_for_a_box_when_it_says_so(state):
    state.handle(events.info("news"))
    assert state.log[-1].text == "news" and state.notice is None and not state.asks
    state.handle(events.info("big news", box=True))
    assert state.asks == [("box", "big news")]


def test_critical_shows_and_exits(state):
    state.handle(events.critical("refused"))
    assert state.asks == [("critical", "refused")] and state.notice.level == "error"


def test_the_progress_window_follows_its_events(state):
    state.progress = Progress("Submitting")
    state.handle(events.change_progress_max(2_000_000, unit="B"))
    state.handle(events.change_progress(500_000, "copying"))
    assert state.progress.detail == "500 kB of 2 MB  ·  copying"
    state.handle(events.close_progress())
    assert state.progress is None
    state.handle(events.change_progress(1))  # a late one
    assert state.progress is None


def test_added_cases_are_submitted_one_by_one(state):
    for name in ("one", "two", "three"):
        state.handle(events.add_case("Counter", [f"/in/{name}"], source=f"/in/{name}", size=5))
    assert state.begin_submit("Counter") == [["/in/one"], ["/in/two"], ["/in/three"]]
    state.handle(events.submitted_case(0, "id1"))
    state.handle(events.submitted_case(7, "nobody's"))
    assert state.end_submit([(1, OSError("vanished"))], stopped=False) == 1
    kinds = [(row["kind"], row["state"]) for row in state.sends.values()]
    assert kinds == [
        (states.SUBMITTED, "submitted"),
        (states.READY, "not submitted: vanished"),
        (states.READY, "ready to submit"),
    ]
    assert len(state.begin_submit("Counter")) == 2, "what was submitted is not submitted again"


def test_a_file_of_which_no_case_could_be_made_does_not_lose_the_others(state):
    state.handle(events.add_case("Counter", ["/in/good"]))
    state.add_failed("Counter", "/in/bad", "send.py failed: no header")
    assert [row["kind"] for row in state.sends.values()] == [states.READY, states.FAILED]
    assert state.begin_submit("Counter") == [["/in/good"]]


def test_cases_that_are_being_submitted_cannot_be_removed(state):
    state.handle(events.add_case("Counter", ["/in/one"]))
    row_id = state.sends.values()[0]["id"]
    state.begin_submit("Counter")
    state.remove_sends([row_id])
    assert len(state.sends) == 1
    state.end_submit([], stopped=True)
    state.remove_sends([row_id])
    assert len(state.sends) == 0


def test_terminate_is_asked(state):
    state.handle(events.terminate_process(3))
    assert state.asks == [("terminate", 3)]


def test_a_case_is_added_to_my_cases_or_replaced(state):
    state.handle(events.add_my_case(case()))
    state.handle(events.add_my_case(case(status="processing")))
    assert [row["status"] for row in state.my_cases.values()] == ["processing"]


def test_processes_come_change_and_go(state):
    state.lent = 2
    state.handle(events.add_my_process(process()))
    state.handle(events.change_my_process("a1", status="paused"))
    state.handle(events.change_my_process("a1", fraction=0.5, text="half"))
    state.handle(events.change_my_process("a1", cpu=0.9, memory=1_000_000))
    row = state.processes["a1"]
    assert (row["status"], row["progress"]["fraction"], row["memory"]) == ("paused", 0.5, 1_000_000)
    assert state.lending == "0 of 2 at work, 1 paused."
    state.handle(events.change_my_process("gone", status="run"))
    state.handle(events.remove_my_process("a1", "done"))
    state.handle(events.remove_my_process("a1", "done"))
    assert len(state.processes) == 0 and state.lending == "Waiting for cases."


def test_populate_and_exit_are_the_windows(state):
    state.handle(events.populate())
    state.handle(events.exit_())
    assert state.asks == [("populate",), ("exit",)]


# Those beside the documented ones.


def test_a_banner_says_what_is_away_and_since_when_and_leaves_by_itself(state):
    state.lent = 1
    state.handle(events.state("process", "database away", "Cannot claim: it does not answer."))
    state.handle(events.state("receive", "database away", "Cannot look: it does not answer."))
    assert state.banner.count("The database can't be reached since") == 1 and "claim" in state.banner
    assert "database away" in state.lending
    state.handle(events.state("process", "ok", "The database answers again."))
    assert state.banner
    state.handle(events.state("receive", "ok", "The database answers again."))
    assert state.banner == "" and state.stale


def test_the_banner_forgets_what_is_over_while_something_else_lasts(state):
    state.handle(events.state("process", "database away", "Cannot claim: it does not answer."))
    state.handle(events.state("process", "share away", "Cannot read the share."))
    state.handle(events.state("process", "share away", "The database answers again.", over="database away"))

    assert "database" not in state.banner and "The shared folder can't be reached since" in state.banner


def test_the_lending_rules_say_why_nothing_is_taken(state):
    state.lent = 2
    state.handle(events.state("process", "resting", "you are at the computer."))
    assert state.lending == "Nothing is taken: you are at the computer."
    assert state.banner == ""
    state.handle(events.state("process", "resting", ""))
    assert state.lending == "Waiting for cases."


def test_processes_that_work_for_a_softgrid_are_told_beside_the_cases(state):
    state.lent = 4
    state.handle(events.state("process", "softgrid", "2 of 4 lent to a softgrid"))
    assert state.lending == "Waiting for cases, 2 of 4 lent to a softgrid."
    state.handle(events.add_my_process({"id": "a1", "application": "A", "origin": "b on C", "status": "run"}))
    assert state.lending == "1 of 4 at work, 2 of 4 lent to a softgrid."
    state.handle(events.state("process", "softgrid", ""))
    assert state.lending == "1 of 4 at work." and state.banner == ""


def test_news_stand_in_the_title_only_while_nobody_looks(state):
    state.handle(events.case_received("a1", "Counter"))
    assert state.title == "GridCompute" and state.stale
    state.in_front = False
    state.handle(events.case_received("a2", "Counter"))
    state.handle(events.case_received("a3", "Counter"))
    state.handle(events.case_failed("a4", "Counter", "disk full"))
    assert state.title == "GridCompute - ● 2 cases came back, 1 failed"
    state.come_to_front()
    assert state.title == "GridCompute" and not state.news_to_tell(1e9)


def test_many_cases_that_come_back_make_few_notifications(state):
    state.in_front, now, told = False, 0.0, []
    for number in range(100):  # ten a second
        state.handle(events.case_received(f"a{number}", "Counter"))
        told.append(state.news_to_tell(now))
        now += 0.1
    assert [words for words in told if words] == ["12 cases came back"]
    assert state.news_to_tell(now + 60) == "100 cases came back"
    assert not state.news_to_tell(now + 600), "nothing came since"
    state.come_to_front()
    state.in_front = False
    state.handle(events.case_failed("a7", "Counter", "disk full"))
    assert not state.news_to_tell(now + 601)
    assert state.news_to_tell(now + 603) == "1 failed", "whoever looked meanwhile is told at once"


def test_a_daemon_that_ended_unasked_is_told_and_its_processes_are_gone(state):
    state.handle(events.add_my_process(process()))
    state.handle(events.daemon_ended("process", False))
    assert len(state.processes) == 0 and "started again" in state.notice.text


def test_a_daemon_that_ended_and_a_grid_that_is_left_leave_no_banner_behind(state):
    state.handle(events.state("process", "database away", "no answer"))
    state.handle(events.daemon_ended("process", False))
    assert state.banner == "", "the daemon that is started in its place tells for itself"
    state.handle(events.state("receive", "share away", "no folder"))
    state.handle(events.state("process", "resting", "your rule lends nothing on battery."))
    state.handle(events.add_case("Counter", ["a.txt"]))
    state.handle(events.add_my_process(process()))
    state.take_look(look(case()))
    state.leave_grid()
    assert (state.banner, state.resting, state.refreshed, state.unreceived) == ("", "", None, 0)
    assert not len(state.my_cases) and not len(state.processes)
    assert len(state.sends) == 1, "what somebody chose to submit stays"


def test_closing_asks_while_something_runs_or_would_be_lost(state):
    assert state.quit_question() == ""
    state.handle(events.add_my_process(process()))
    assert "1 case of the grid running" in state.quit_question() and "nothing is lost" in state.quit_question()
    for name in ("a.txt", "b.txt"):
        state.handle(events.add_case("Counter", [name]))
    assert "2 cases of the list are not submitted yet" in state.quit_question()
    assert "nothing is lost" not in state.quit_question()
    state.processes.clear()
    assert state.quit_question() == "Quit? 2 cases of the list are not submitted yet, and the list is not kept."
    state.begin_submit("Counter")
    state.handle(events.submitted_case(0, "a1"))
    question = state.quit_question()
    assert "end a submission?" in question and "1 case of the list is not submitted yet" in question
    state.handle(events.submitted_case(1, "a2"))
    state.end_submit([], stopped=False)
    assert state.quit_question() == "" and "serves" in state.quit_question(serves=True)


def test_a_change_in_the_database_asks_for_a_look(state):
    state.handle(events.cases_changed())
    assert state.stale


def test_activity_changes_nothing(state):
    state.handle(events.activity("process", running=1, waiting=2))
    assert not state.asks and not state.log


def test_an_unknown_event_is_logged_and_never_fatal(state, caplog):
    with caplog.at_level(logging.INFO):
        state.handle({"type": "of a newer daemon"})
        state.handle({})
    assert "of a newer daemon" in caplog.text


def test_an_event_without_its_keys_is_logged_and_never_fatal(state, caplog):
    state.handle({"type": "submitted case"})
    state.handle({"type": "state"})
    assert caplog.text.count("can't be used") == 2


# Looks.


def test_a_look_fills_my_cases_and_a_new_error_is_news(state):
    state.in_front = False
    state.take_look(look(case("a1"), case("a2", "error: old")))
    assert not state.news, "what failed before the first look is no news"
    state.take_look(look(case("a1", "error: Counter on PC-2: it failed"), case("a2", "error: old")))
    assert state.news.failed == 1 and state.refresh_state == "up to date"


def test_a_look_that_failed_keeps_what_is_shown(state):
    state.take_look(look(case("a1")))
    state.look_failed("the database does not answer", away=True)
    assert len(state.my_cases) == 1 and "does not answer" in state.refresh_state


def test_a_database_that_answers_no_look_is_told_once_and_since_the_first(state):
    state.look_failed("the database does not answer", away=True)
    (first,), banner = state.troubles.values(), state.banner
    state.look_failed("the database still does not answer", away=True)
    assert [line.text for line in state.log] == ["the database does not answer"]
    assert list(state.troubles.values()) == [first] and state.banner == banner
    state.take_look(look())
    assert state.banner == ""
    state.look_failed("the database does not answer", away=True)
    state.look_failed("the database refuses it")
    assert state.banner == "", "it answers, though not what is wanted"


def test_the_log_is_bounded(state):
    for number in range(states.log_lines_kept + 50):
        state.say("info", str(number))
    assert len(state.log) == states.log_lines_kept and state.logged == states.log_lines_kept + 50


def test_machines_of_the_grid_are_here_late_or_gone(state):
    now = datetime(2026, 1, 2, 12, 30, tzinfo=timezone.utc)
    machine = {"user": "anna", "offered": 2, "busy": 1, "applications": ["Counter"]}
    ages = {"PC-1": 3.0, "PC-2": 100.0, "PC-3": 900.0, "PC-4": None}
    state.grid.take(
        {
            "machines": [{"machine": name, "age": age, **machine} for name, age in ages.items()],
            "queue": {"Counter": {"to process": 4, "error": 1}},
            "history": [{"machine": "PC-1", "hour": now - timedelta(hours=1), "number": 3}],
            "now": now,
        }
    )
    assert [row["kind"] for row in state.grid.machines.values()] == ["here", "late", "gone", "gone"]
    assert state.grid.summary == "2 machines here, 4 processes offered, 2 busy"
    assert state.grid.queue["Counter"]["waiting"] == 4
