"""What a window reads of a real MongoDB: places in the queue, machines that are there, cases finished by hour."""

from __future__ import annotations

import pytest
from bson import ObjectId

from gridcompute import config
from gridcompute.grid.cases import Archive, Party
from gridcompute.grid.database import Database

anna = Party("PC-1", "anna", "installation-1", "agent-1")


@pytest.fixture
def database(settings):
    made = Database(settings)
    made.ensure_indexes()
    yield made
    made.close()


def submit(database: Database, application: str, priority: int = 50) -> str:
    (case_id,), moment = database.new_ids(1)
    archive = Archive(f"Cases/{case_id}.zip", 10, "0" * 64)
    database.submit(
        [
            database.case_document(
                case_id, moment, application, anna, archive, submission="s", priority=priority, names=["in.txt"]
            )
        ]
    )
    return str(case_id)


def test_the_place_in_the_queue_counts_by_application_and_priority(database):
    first, second = submit(database, "A"), submit(database, "A")
    urgent, other = submit(database, "A", priority=90), submit(database, "B")
    assert database.positions() == {urgent: 1, first: 2, second: 3, other: 1}
    assert len(database.positions(limit=2)) == 2


def test_received_cases_stay_in_the_list_for_a_while_behind_the_others(database, monkeypatch):
    ids = [submit(database, "A") for _ in range(3)]
    for number in range(2):
        case = database.claim(anna, ["A"], f"token-{number}", alone=True)
        assert database.complete(case.id, f"token-{number}", Archive("Results/r.zip", 1, "0" * 64))
        assert database.claim_result(anna, f"home-{number}") and database.received(case.id, f"home-{number}")
    found = list(database.shown("anna"))
    assert [str(case.id) for case in found] == [ids[2], ids[1], ids[0]]
    assert [case.status for case in found] == ["to process", "received", "received"]
    assert list(database.shown("ben")) == []

    monkeypatch.setattr(config, "received_listed", 1)
    assert [str(case.id) for case in database.shown("anna")] == [ids[2], ids[1]]
    monkeypatch.setattr(config, "received_shown", -60.0)
    assert [str(case.id) for case in database.shown("anna")] == [ids[2]]


def test_a_case_that_is_given_up_leaves_the_list_and_the_counts(database):
    cancelled, failed, waiting = (submit(database, name) for name in "ABC")
    assert database.cancel(ObjectId(cancelled), "anna")
    case = database.claim(anna, ["B"], "token", alone=True)
    assert database.fail(case.id, "token", "broke", machine="PC-1", user="anna", attempts=1, pause=0.0, avoid=0.0)
    assert [str(one.id) for one in database.shown("anna")] == [cancelled, failed, waiting]
    assert database.queue() == {"B": {"error": 1}, "C": {"to process": 1}}
    for one in (cancelled, failed):
        assert database.begin_removal(ObjectId(one), "anna")
    assert [str(one.id) for one in database.shown("anna")] == [waiting]
    assert database.queue() == {"C": {"to process": 1}}


def test_a_machine_is_there_once_with_its_newest_offer(database):
    database.say_present(anna, offered=4, busy=0, applications=["A"])
    database.say_present(anna, offered=4, busy=2, applications=["$B", "A"])
    (machine,) = database.present()
    assert (machine["machine"], machine["offered"], machine["busy"]) == ("PC-1", 4, 2)
    assert machine["applications"] == ["$B", "A"] and 0 <= machine["age"] < 60


def test_machines_of_another_instance_are_not_seen(database, make_settings):
    database.say_present(anna, offered=1, busy=0, applications=[])
    other = Database(make_settings())
    assert other.present() == []
    other.close()


def test_finished_cases_are_counted_by_machine_and_hour(database):
    for _ in range(3):
        submit(database, "A")
    for number in range(2):
        case = database.claim(anna, ["A"], f"token-{number}", alone=True)
        assert database.complete(case.id, f"token-{number}", Archive("Results/r.zip", 1, "0" * 64))
    now, history = database.finished_by_hour(12)
    assert [(one["machine"], one["number"]) for one in history] == [("PC-1", 2)]
    assert abs((now - history[0]["hour"]).total_seconds()) < 3700
