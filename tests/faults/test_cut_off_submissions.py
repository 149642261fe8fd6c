"""Hard cases 5, 12, 13 and 15: submissions that crash, what is kept and for how long, what newer programs wrote."""

from __future__ import annotations

import signal
import subprocess
import sys
from datetime import datetime, timedelta, timezone

import pytest

from gridcompute.grid.database import object_id
from gridcompute.machine.home import Home
from gridcompute.server import Server
from tests.faults.conftest import patience
from tests.faults.doors import application
from tests.support.grids import command_environment
from tests.support.waiting import wait_for

killed_in = """
import os, signal, sys
from gridcompute.grid.database import Database
from gridcompute.commands.cli import main

submit = Database.submit

def die(*arguments):
    if sys.argv[1] == "after":
        submit(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)

Database.submit = die
main(sys.argv[2:])
"""
"""The command line, killed just before or after the database hears of the cases."""


def submit_and_die(office, when: str, number: int = 3) -> None:
    folder = office.folder / "in"
    folder.mkdir(exist_ok=True)
    for name in range(number):
        (folder / f"file {name}").write_text("content")
    files = sorted(map(str, folder.iterdir()))
    place = ["--server", str(office.grid.root), "--machine", "PC-1"]
    done = subprocess.run(
        [sys.executable, "-c", killed_in, when, *place, "submit", "Door", *files],
        env=command_environment(office.home_of("PC-1")),
        timeout=60,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL


def journals(office) -> list:
    return list((office.home_of("PC-1") / "journal").glob("submission-*"))


def test_a_submission_killed_before_the_database_heard_is_undone_and_told(make_office):
    office = make_office()
    submit_and_die(office, "before")
    assert len(office.grid.archives()) == 3 and not office.grid.documents()

    told = office.command("cases")

    assert told.code == 0 and "cut off" in told.err and "file 0" in told.err and "Submit those again" in told.err
    assert not office.grid.archives() and not office.grid.documents() and not journals(office)
    assert "cut off" not in office.command("cases").err, "it is told once"


def test_a_submission_killed_after_the_database_heard_is_kept_and_told(make_office):
    office = make_office()
    submit_and_die(office, "after")

    told = office.command("cases")

    assert "All 3 cases" in told.err
    assert len(office.grid.documents()) == 3 and len(office.grid.archives()) == 3 and not journals(office)
    for name in range(3):
        office.open(f"file {name}")
    office.agent("PC-1")
    office.wait_for_all([str(case["_id"]) for case in office.grid.documents()])


def test_a_submission_of_another_grid_is_left_alone(make_office):
    """Hard case 12: the database may be another one, which does not know these archives."""
    office, other = make_office(), make_office()
    submit_and_die(office, "before")

    told = other.command("cases")

    assert "cut off" not in told.err and len(office.grid.archives()) == 3 and journals(office)


def test_a_submission_that_is_at_work_is_not_undone_by_another_command(make_office, make_proxy, mongod):
    proxy = make_proxy(mongod.address)
    office = make_office(server=proxy.address, seen_at=mongod.address)
    file = office.folder / "file"
    file.write_text("content")
    lost = proxy.swallow("insert", hang=True)
    place = ["--server", str(office.grid.root), "--machine", "PC-1"]
    working = subprocess.Popen(
        [sys.executable, "-m", "gridcompute", *place, "submit", "Door", str(file)],
        env=command_environment(office.home_of("PC-1")),
        stdout=subprocess.DEVNULL,
    )
    with working:
        assert lost.happened.wait(60)
        assert "cut off" not in office.command("cases").err
        assert len(office.grid.archives()) == 1
        proxy.cut()
        assert working.wait(60) == 0
    assert len(office.grid.documents()) == 1 and not journals(office)


# Retention and what is never removed.


def age(office, case_id: str, days: float) -> None:
    """Move the end of a case back, in place of waiting for it to pass."""
    with office.grid.database() as database:
        ended = datetime.now(timezone.utc) - timedelta(days=days)
        database["cases"].update_one({"_id": object_id(case_id)}, {"$set": {"ended": ended}})


def test_archives_of_cancelled_and_failed_cases_are_removed_after_the_retention_time(make_office):
    office = make_office(retention_days="10")
    old, young = office.submit(["old", "young"])
    for one, days in ((old, 10.5), (young, 9.5)):
        assert office.command("cancel", one).code == 0
        age(office, one, days)

    office.agent("PC-1", 0)

    wait_for(lambda: office.case(old)["files"] == "removed", patience, "the old case's archive is removed")
    assert office.grid.archives() == [office.case(young)["path"]] and office.case(young)["files"] == "kept"
    refused = office.command("retry", old)
    assert refused.code == 2 and "removed" in refused.err


def test_results_that_nobody_received_are_never_removed_for_age(make_office):
    office = make_office(retention_days="1")
    (case_id,) = office.submit(machine="PC-3")
    office.open("case")
    agent = office.agent("PC-1")
    office.wait_for_status(case_id, "processed")
    age(office, case_id, 400)
    with office.grid.database() as database:
        long_ago = datetime.now(timezone.utc) - timedelta(days=400)
        changes = {"processors.time.end": long_ago, "origin.time.start": long_ago, "last_heartbeat": long_ago}
        database["cases"].update_one({"_id": object_id(case_id)}, {"$set": changes})
    agent.stop()

    (cancelled,) = office.submit(["cancelled"], machine="PC-3")
    assert office.command("cancel", cancelled, machine="PC-3").code == 0
    age(office, cancelled, 400)
    with Server(folder=str(office.grid.root), machine="PC-3", home=Home(office.home_of("PC-3"))) as server:
        server.connect()
        assert [str(one) for one in server.mongodb.past_retention(server.party, 1)] == [cancelled]


def test_a_file_that_no_case_names_is_left_alone(make_office):
    office = make_office()
    (case_id,) = office.submit()
    office.open("case")
    strangers = [
        office.grid.root / "Cases" / "somebody" / "PC" / "left.zip",
        (office.grid.root / office.case(case_id)["path"]).with_name("stranger.zip"),
        office.grid.root / "Results" / "note.txt",
    ]
    for one in strangers:
        one.parent.mkdir(parents=True, exist_ok=True)
        one.write_text("not ours")

    office.agent("PC-1")
    office.wait_for_status(case_id, "received")

    wait_for(lambda: len(office.grid.archives()) == 3, patience, "the case's own archives are removed")
    assert all(one.read_text() == "not ours" for one in strangers)


def test_a_removal_cut_off_by_a_crash_is_resumed(make_office):
    office = make_office()
    (case_id,) = office.submit()
    assert office.command("cancel", case_id).code == 0
    assert office.database.begin_removal(object_id(case_id), office.case(case_id)["origin"]["user"])

    office.agent("PC-1", 0)  # as after a crash between the mark and the removal

    wait_for(lambda: office.case(case_id)["files"] == "removed", patience, "the removal is finished")
    office.wait_until_empty()


# Cases of a newer program.


@pytest.fixture
def newer(make_office):
    """An office with one case in each state that a newer program wrote; the documents by id."""
    office = make_office({"Note": application("def process_case(files):\n    return []\n")})
    ids = office.submit(["a", "b", "c", "d", "e"], "Note")
    past = datetime.now(timezone.utc) - timedelta(days=100)
    result = office.case(ids[2])["input"]
    states = [
        {"status": "to process"},
        {"status": "processing", "token": "t", "beat": 1, "lease_until": past},
        {"status": "processed", "result": {**result, "token": "t"}},
        {"status": "cancelled", "ended": past},
        {"status": "resting"},
    ]
    with office.grid.database() as database:
        for one, state in zip(ids, states, strict=True):
            database["cases"].update_one({"_id": object_id(one)}, {"$set": {**state, "format": 2}})
    return office, ids


def test_cases_of_a_newer_program_are_shown_and_not_changed(newer):
    office, ids = newer
    before = office.grid.documents()

    agent = office.agent("PC-1", 1, "--until-idle")
    assert agent.process.wait(60) == 0, agent.text
    user = before[0]["origin"]["user"]
    for one in ids:
        for act in (office.database.cancel, office.database.retry, office.database.begin_removal):
            act(object_id(one), user)

    shown = office.command("cases")
    assert all(one in shown.out for one in ids) and "resting" in shown.out
    assert office.grid.documents() == before
    assert len(office.grid.archives()) == 5


def test_an_older_program_says_why_it_does_not_cancel(newer):
    office, ids = newer
    refused = office.command("cancel", ids[0])
    assert refused.code == 2 and "newer version" in refused.err


def test_an_unknown_status_is_shown_and_left_alone(make_office):
    office = make_office()
    (case_id,) = office.submit()
    with office.grid.database() as database:
        database["cases"].update_one({"_id": object_id(case_id)}, {"$set": {"status": "resting"}})
    before = office.case(case_id)

    agent = office.agent("PC-1", 1, "--until-idle")

    assert agent.process.wait(60) == 0
    assert "resting" in office.command("cases").out and office.case(case_id) == before


def test_a_version_that_is_refused_stops_claiming_and_says_so(make_office, own_mongod):
    server = own_mongod()
    office = make_office(server=server)
    (case_id,) = office.submit()
    office.database.put_version({"_id": "0.0.1", "status": "allowed"})

    refused = office.agent("PC-1")

    assert refused.process.wait(60) == 2 and "does not know version" in refused.text
    assert office.case(case_id)["attempt"] == 0
