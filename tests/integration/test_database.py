"""Each transition of the protocol's table, on a real MongoDB: what it changes, and what it must not."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from gridcompute import config
from gridcompute.errors import DatabaseAway, DatabaseError, DatabaseRefused, UsageError, VersionRefused
from gridcompute.grid import cases
from gridcompute.grid.cases import Archive, Case, Party, new_token
from gridcompute.grid.database import Database, Doorbell, Observed
from tests.support.waiting import wait_for

ANNA = Party("pc-anna", "anna", "installation-anna", "agent-anna")
BEN = Party("pc-ben", "ben", "installation-ben", "agent-ben")
RESULT = Archive("Results/anna/pc-anna/result.zip", 7, "ab" * 32)


@pytest.fixture
def database(settings):
    made = Database(settings)
    made.ensure_indexes()
    yield made
    made.close()


@pytest.fixture
def submit(database: Database) -> Callable[..., Any]:
    """Submits one case and returns its id."""

    def make(application: str = "App", *, origin: Party = ANNA, priority: int = 50) -> Any:
        (case_id,), moment = database.new_ids(1)
        archive = Archive(f"Cases/anna/pc-anna/{case_id}.zip", 5, "cd" * 32)
        database.submit(
            [
                database.case_document(
                    case_id, moment, application, origin, archive, submission="s", priority=priority, names=["a.txt"]
                )
            ]
        )
        return case_id

    return make


def claim(database: Database, party: Party = BEN, applications=("App",), *, alone: bool = True) -> tuple[Case, str]:
    token = new_token()
    case = database.claim(party, applications, token, alone=alone)
    assert case is not None, "there was no case to claim"
    return case, token


def fail(database: Database, case: Case, token: str, **changes: Any) -> bool:
    arguments = {"machine": "pc-ben", "user": "ben", "attempts": 3, "pause": 0.0, "avoid": 0.0, **changes}
    return database.fail(case.id, token, "it broke", **arguments)


def status(database: Database, case_id: Any) -> str:
    case = database.case(case_id)
    assert case is not None
    return case.status


def processed(database: Database, submit) -> tuple[Any, str]:
    case_id = submit()
    case, token = claim(database)
    assert database.complete(case.id, token, RESULT)
    return case_id, token


# T1


def test_a_submitted_case_has_every_documented_field(database, submit):
    case = database.case(submit(priority=70))
    document = case.document
    assert document["user_group"] == database.settings.user_group
    assert document["instance"] == database.settings.instance
    assert document["status"] == "to process"
    assert document["origin"]["machine"] == "pc-anna" and document["origin"]["user"] == "anna"
    assert document["path"] == document["input"]["path"]
    assert document["priority"] == 70
    assert abs(document["origin"]["time"]["start"] - datetime.now(timezone.utc)) < timedelta(minutes=1)


def test_submitting_again_after_a_lost_reply_adds_nothing(database, submit):
    case_id = submit()
    document = database.case(case_id).document
    database.submit([document])
    assert len(database.cases()) == 1


def test_an_id_that_another_submission_has_is_refused(database, submit):
    document = dict(database.case(submit()).document, submission="another")
    with pytest.raises(DatabaseError, match="another case has this id"):
        database.submit([document])


def test_ids_of_one_call_ascend(database):
    ids, _ = database.new_ids(1000)
    assert ids == sorted(ids) and len(set(ids)) == 1000


# T2


def test_the_queue_goes_by_priority_then_by_age(database, submit):
    first, urgent, last = submit(), submit(priority=90), submit()
    order = [claim(database, alone=False)[0].id for _ in range(3)]
    assert order == [urgent, first, last]


def test_a_claim_names_its_owner_and_starts_a_lease(database, submit):
    submit()
    case, token = claim(database)
    assert case.status == "processing" and case.token == token and case.attempt == 1
    assert case.processors[-1]["machine"] == "pc-ben" and case.processors[-1]["user"] == "ben"
    lease = case.document["lease_until"] - case.last_heartbeat
    assert lease == timedelta(seconds=database.settings.heartbeat_dead)


def test_only_the_applications_asked_for_are_claimed(database, submit):
    submit("Other")
    assert database.claim(BEN, ["App"], new_token(), alone=True) is None
    assert database.claim(BEN, [], new_token(), alone=True) is None


def test_another_instance_or_newer_format_is_not_claimed(database, submit, make_settings):
    case_id = submit()
    elsewhere = Database(make_settings())
    assert elsewhere.claim(BEN, ["App"], new_token(), alone=True) is None
    elsewhere.close()
    database._cases.update_one({"_id": case_id}, {"$set": {"format": config.case_format + 1}})
    assert database.claim(BEN, ["App"], new_token(), alone=True) is None


def test_eight_claimers_at_once_never_get_one_case_twice(database, submit):
    for _ in range(40):
        submit()
    got: list[Any] = []
    lock = threading.Lock()

    def work() -> None:
        while True:
            case = database.claim(BEN, ["App"], new_token(), alone=False)
            if case is None:
                return
            with lock:
                got.append(case.id)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 40 and len(set(got)) == 40


# T3


def test_a_heartbeat_covers_all_cases_held_and_tells_when_one_is_gone(database, submit):
    submit(), submit()
    one, two = claim(database, alone=False), claim(database, alone=False)
    assert database.beat([one[1], two[1]])
    assert database.case(one[0].id).beat == 1
    assert database.cancel(one[0].id, "anna")
    assert not database.beat([one[1], two[1]])
    assert database.still_held([one[1], two[1]]) == {two[1]}


def test_a_sleeper_who_wakes_before_the_next_claim_goes_on(database, submit):
    case_id = submit()
    case, token = claim(database)
    assert database.expire(Observed(case.id, token, 0))
    assert status(database, case_id) == "to process"
    assert database.beat([token])
    assert status(database, case_id) == "processing"


# T4


def test_a_completed_case_names_its_result_and_who_made_it(database, submit):
    case_id, token = processed(database, submit)
    case = database.case(case_id)
    assert case.status == "processed" and case.path == RESULT.path
    assert case.result == RESULT and case.result_token == token
    assert case.token is None and "lease_until" not in case.document
    assert case.processors[-1]["outcome"] == "processed"


def test_completing_again_after_a_lost_reply_is_still_mine(database, submit):
    case_id, token = processed(database, submit)
    assert not database.holds(case_id, token)
    assert database.complete(case_id, token, RESULT)


def test_a_result_of_an_owner_that_lost_its_case_changes_nothing(database, submit):
    case_id = submit()
    case, old = claim(database)
    assert database.expire(Observed(case.id, old, 0))
    _, new = claim(database, ANNA)
    assert not database.complete(case_id, old, RESULT)
    assert not fail(database, case, old)
    assert not database.hand_back(case_id, old)
    after = database.case(case_id)
    assert after.token == new and after.failures == 0 and after.result is None


# T5


def test_a_failure_counts_and_the_third_is_an_error_with_its_reason(database, submit):
    case_id = submit()
    for attempt in range(3):
        case, token = claim(database)
        assert fail(database, case, token, traceback="Traceback: line 3", output="said this")
        assert database.case(case_id).failures == attempt + 1
    case = database.case(case_id)
    assert case.status == "error: it broke"
    assert case.error["traceback"] == "Traceback: line 3" and case.output == "said this"
    assert [one["outcome"] for one in case.processors] == ["failed"] * 3
    assert database.claim(BEN, ["App"], new_token(), alone=True) is None


def test_a_machine_on_which_a_case_failed_leaves_it_to_others_for_a_while(database, submit):
    submit()
    case, token = claim(database)
    fail(database, case, token, avoid=1.5)
    assert database.claim(BEN, ["App"], new_token(), alone=True) is None
    wait_for(lambda: database.claim(BEN, ["App"], new_token(), alone=True), 10, "the avoidance lapses")


def test_another_machine_takes_the_case_that_one_avoids(database, submit):
    case_id = submit()
    case, token = claim(database)
    fail(database, case, token, avoid=60)
    assert claim(database, ANNA)[0].id == case_id


def test_a_failed_case_rests_before_the_next_claim(database, submit):
    submit()
    case, token = claim(database)
    fail(database, case, token, pause=60)
    assert database.claim(ANNA, ["App"], new_token(), alone=True) is None


@pytest.mark.parametrize("text", ["$where", "$$NOW", "{'$set': 1}", "ä\nü", ""])
def test_what_a_plugin_says_is_kept_as_it_is(database, submit, text):
    submit()
    case, token = claim(database)
    database.fail(
        case.id, token, text, machine="$m", user="$u", attempts=1, pause=0, avoid=9, traceback=text, output=text
    )
    after = database.case(case.id)
    assert after.status == f"error: {text}" and after.output == text and after.error["traceback"] == text


# T6


def test_a_case_handed_back_counts_nothing(database, submit):
    case_id = submit()
    _, token = claim(database)
    assert database.hand_back(case_id, token)
    case = database.case(case_id)
    assert (case.status, case.failures, case.losses, case.token) == ("to process", 0, 0, None)
    assert database.hand_back(case_id, token), "asked again after a lost reply it is still my doing"


# T7


def test_a_case_expires_only_if_token_and_beat_are_still_as_observed(database, submit):
    submit()
    case, token = claim(database)
    database._cases.update_one({"_id": case.id}, {"$set": {"lease_until": datetime(2020, 1, 1)}})
    (seen,) = database.expired()
    assert seen == Observed(case.id, token, 0)
    database.beat([token])
    assert not database.expire(seen)
    assert status(database, case.id) == "processing"
    assert database.expired() == []


def test_losses_count_machines_and_the_case_that_took_two_down_runs_alone(database, submit):
    case_id = submit()
    for party in (BEN, BEN, ANNA):
        case, token = claim(database, party)
        assert database.expire(Observed(case.id, token, 0))
    case = database.case(case_id)
    assert case.losses == 2 and case.alone and case.failures == 0
    assert database.claim(BEN, ["App"], new_token(), alone=False) is None
    assert database.must_run_alone(BEN, ["App"])
    third, token = claim(database, Party("pc-third", "x", "i3"), alone=True)
    assert database.expire(Observed(third.id, token, 0))
    assert status(database, case_id).startswith("error: lost 3 machines")
    assert not database.beat([token]), "an error has no owner that could wake"


# T8, T13, T14


@pytest.mark.parametrize("stage", ["to process", "processing", "processed", "error"])
def test_a_case_can_be_cancelled_until_it_is_received(database, submit, stage):
    case_id = submit()
    if stage != "to process":
        case, token = claim(database)
        if stage == "processed":
            database.complete(case_id, token, RESULT)
        elif stage == "error":
            fail(database, case, token, attempts=1)
    assert database.cancel(case_id, "anna")
    assert status(database, case_id) == "cancelled"
    assert database.cancel(case_id, "anna"), "cancelling again is done already"


def test_others_cases_and_cases_being_received_are_not_cancelled(database, submit):
    case_id, _ = processed(database, submit)
    assert not database.cancel(case_id, "ben")
    token = new_token()
    assert database.claim_result(ANNA, token)
    assert not database.cancel(case_id, "anna")
    assert database.received(case_id, token)
    assert not database.cancel(case_id, "anna")
    assert status(database, case_id) == "received"


def test_a_retried_error_starts_anew(database, submit):
    case_id = submit()
    case, token = claim(database)
    fail(database, case, token, attempts=1, avoid=60, pause=60)
    assert database.retry(case_id, "anna")
    again, _ = claim(database)
    assert again.id == case_id and again.failures == 0


def test_a_retry_of_a_case_with_a_result_goes_on_to_receive_it(database, submit):
    case_id, _ = processed(database, submit)
    assert database.cancel(case_id, "anna")
    assert database.retry(case_id, "anna")
    case = database.case(case_id)
    assert case.status == "processed" and case.path == RESULT.path
    assert not database.retry(case_id, "anna"), "it is neither an error nor cancelled any more"


def test_archives_of_a_cancelled_case_are_removed_on_request_or_past_retention(database, submit):
    asked, old, kept = submit(), submit(), submit()
    for case_id in (asked, old, kept):
        database.cancel(case_id, "anna")
    database._cases.update_one({"_id": old}, {"$set": {"ended": datetime(2020, 1, 1)}})
    assert database.begin_removal(asked, "anna")
    assert database.past_retention(ANNA, 30) == [old]
    assert [case.id for case in database.removals(ANNA)] == [asked]
    database.removed([asked])
    assert database.removals(ANNA) == []
    assert not database.retry(asked, "anna"), "its files are gone"


# T9 to T12


def test_a_result_is_received_by_its_own_origin_and_installation(database, submit):
    case_id, _ = processed(database, submit)
    assert database.claim_result(BEN, new_token()) is None
    clone = Party(ANNA.machine, ANNA.user, "another installation")
    assert database.claim_result(clone, new_token()) is None
    case = database.claim_result(ANNA, new_token())
    assert case.id == case_id
    assert database.claim_result(ANNA, new_token()) is None, "two receivers never work on one case"


def test_a_received_case_keeps_its_document_and_gives_up_its_files(database, submit):
    case_id, _ = processed(database, submit)
    token = new_token()
    database.claim_result(ANNA, token)
    assert database.received(case_id, token)
    assert database.received(case_id, token), "asked again after a lost reply it is still my doing"
    case = database.case(case_id)
    assert case.status == "received" and case.received is not None
    assert [one.id for one in database.removals(ANNA)] == [case_id]


def test_a_silent_receiver_is_taken_over_only_as_observed(database, submit):
    case_id, _ = processed(database, submit)
    old, new = new_token(), new_token()
    database.claim_result(ANNA, old)
    database._cases.update_one({"_id": case_id}, {"$set": {"receiver.lease_until": datetime(2020, 1, 1)}})
    (seen,) = database.silent_receivers(ANNA)
    database.beat_receiver([old])
    assert database.take_over_result(seen, ANNA, new) is None
    assert database.take_over_result(Observed(case_id, old, 1), ANNA, new) is not None
    assert not database.received(case_id, old)
    assert database.beat_receiver([old, new]) == {new}


def test_the_third_failure_of_receive_is_an_error_and_both_archives_stay(database, submit):
    case_id, _ = processed(database, submit)
    for _ in range(3):
        token = new_token()
        assert database.claim_result(ANNA, token)
        assert database.receive_failed(case_id, token, "no room", attempts=3, pause=0)
    case = database.case(case_id)
    assert case.status == "error: receive: no room" and case.files == "kept"
    assert database.retry(case_id, "anna")
    assert status(database, case_id) == "processed"


def test_a_lost_result_is_made_again_twice_at_most(database, submit):
    case_id = submit()
    for round_ in range(3):
        case, token = claim(database)
        assert case.id == case_id and database.complete(case_id, token, RESULT)
        receiver = new_token()
        assert database.claim_result(ANNA, receiver)
        assert database.result_lost(case_id, receiver, "not on the share")
        assert database.result_lost(case_id, receiver, "not on the share"), "asked again after a reply that was lost"
        assert (status(database, case_id) == "to process") == (round_ < 2)
    assert status(database, case_id).startswith("error: result lost")


# What holds of the connection.


def test_a_wrong_password_and_an_absent_server_are_told_apart(settings, make_settings, mongod):
    wrong = Database(make_settings(password="wrong"))
    with pytest.raises(DatabaseRefused, match="refuses user group"):
        wrong.ping()
    wrong.close()
    away = Database(make_settings("127.0.0.1:1"), patience=0.3)
    with pytest.raises(DatabaseAway, match=r"127\.0\.0\.1:1 does not answer"):
        away.ping()
    away.close()


def test_an_address_with_a_password_never_shows_it(make_settings):
    database = Database(make_settings("mongodb://me:secret@127.0.0.1:1/?directConnection=true"), patience=0.2)
    with pytest.raises(DatabaseError) as caught:
        database.ping()
    database.close()
    assert "secret" not in str(caught.value)


def test_a_claim_whose_reply_was_lost_is_found_by_its_token(database, submit, make_settings, make_proxy, mongod):
    """A second claim under the same token would take a second case: the first is asked about before."""
    case_id = submit()
    proxy = make_proxy(mongod.address)
    through = Database(make_settings(proxy.address, instance=database.settings.instance), patience=2)
    through.ping()
    token = new_token()
    swallow = proxy.swallow("findAndModify")
    case = through.claim(BEN, ["App"], token, alone=True)
    assert swallow.happened.wait(10)
    assert case is None or case.id == case_id  # the driver may have sent the claim again by itself
    assert database.claimed(token).id == case_id
    through.close()


def test_a_claim_on_a_connection_that_went_dumb_is_known_before_its_lease_ends(
    database, submit, make_settings, make_proxy, mongod
):
    case_id = submit()
    proxy = make_proxy(mongod.address)
    settings = make_settings(
        proxy.address, instance=database.settings.instance, heartbeat_frequency="1", heartbeat_dead="16"
    )
    through = Database(settings, patience=2, answer=Database.lease_patience(settings))
    through.ping()
    token = new_token()
    proxy.swallow("findAndModify", hang=True)
    begin = time.monotonic()
    case = None
    with contextlib.suppress(DatabaseAway):
        case = through.claim(BEN, ["App"], token, alone=True)
    case = case or through.claimed(token)
    assert time.monotonic() - begin < settings.heartbeat_dead and case.id == case_id
    through.close()


def test_a_heartbeat_on_a_connection_that_went_dumb_leaves_time_for_the_next(
    database, submit, make_settings, make_proxy, mongod
):
    submit()
    _, token = claim(database)
    proxy = make_proxy(mongod.address)
    settings = make_settings(
        proxy.address, instance=database.settings.instance, heartbeat_frequency="1", heartbeat_dead="16"
    )
    through = Database(settings, patience=2)
    through.ping()
    proxy.swallow("update", hang=True)
    begin = time.monotonic()
    with contextlib.suppress(DatabaseAway):
        through.beat([token])
    assert time.monotonic() - begin < settings.heartbeat_dead / 2
    assert through.beat([token])
    through.close()


def test_versions(database):
    try:
        database.set_versions([])
        assert "not controlled" in (database.check_version("1.0") or "")
        database.set_versions(
            [
                {"_id": "1.0", "status": "allowed"},
                {"_id": "0.2", "status": "warning", "message": "Beta"},
                {"_id": "0.1", "status": "refused", "message": "Too old"},
            ]
        )
        assert database.check_version("1.0") is None
        assert database.check_version("0.2") == "Beta"
        with pytest.raises(VersionRefused, match="Too old"):
            database.check_version("0.1")
        with pytest.raises(VersionRefused, match=r"does not know version 9\.9"):
            database.check_version("9.9")
    finally:
        database.set_versions([])


def test_a_case_is_found_by_a_unique_beginning_of_its_id(database, submit):
    case_id = submit()
    assert database.find(str(case_id)[:20]).id == case_id
    with pytest.raises(UsageError, match="No case"):
        database.find("0" * 24)
    with pytest.raises(UsageError, match="is no case"):
        database.find("xyz")


def test_the_doorbell_rings_at_once_for_what_it_listens_to(database, submit):
    rings: list[str] = []
    stop = threading.Event()
    doorbell = Doorbell(database, [cases.TO_PROCESS, cases.CANCELLED], rings.append, stop)
    thread = threading.Thread(target=doorbell.run)
    thread.start()
    try:
        wait_for(lambda: "opened" in rings, 10, "the change stream opens")
        case_id = submit()
        wait_for(lambda: "to process" in rings, 5, "the insert rings")
        case, token = claim(database)
        database.hand_back(case.id, token)
        wait_for(lambda: rings.count("to process") == 2, 5, "the hand-back rings")
        database.cancel(case_id, "anna")
        wait_for(lambda: "cancelled" in rings, 5, "the cancel rings")
    finally:
        stop.set()
        thread.join()


def test_each_query_of_the_daemons_has_an_index(database, submit):
    """Nothing that runs all day scans the collection."""
    case_id = submit()
    case, token = claim(database)
    collection = database._cases
    queries = [
        ({**database._scope, "status": "to process", "application": {"$in": ["App"]}}, [("priority", -1), ("_id", 1)]),
        ({"token": {"$in": [token]}, "status": {"$in": ["processing", "to process"]}}, None),
        ({"receiver.token": {"$in": ["x"]}, "status": "processed"}, None),
        ({**database._of_origin(ANNA), "status": "processed", "receiver": {"$exists": False}}, [("_id", 1)]),
        (
            {**database._scope, "origin.user": "anna", "origin.time.end": {"$gte": database.server_time()}},
            [("origin.time.end", -1)],
        ),
    ]
    for query, sort in queries:
        cursor = collection.find(query)
        plan = str((cursor.sort(sort) if sort else cursor).explain()["queryPlanner"]["winningPlan"])
        assert "IXSCAN" in plan and "COLLSCAN" not in plan, query
        assert "'SORT'" not in plan, query
    assert case.id == case_id
