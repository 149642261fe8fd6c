"""The server's clock was ahead and is set right: what was written meanwhile must not be waited for (hard case 2)."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from gridcompute.grid.cases import Archive, Party, new_token
from gridcompute.grid.database import Database, Observed

ANNA = Party("pc-anna", "anna", "installation-anna", "agent-anna")
BEN = Party("pc-ben", "ben", "installation-ben", "agent-ben")
AN_HOUR_AHEAD = datetime.now(timezone.utc) + timedelta(hours=1)


@pytest.fixture
def database(settings):
    made = Database(settings)
    made.ensure_indexes()
    yield made
    made.close()


@pytest.fixture
def case_id(database):
    (case_id,), moment = database.new_ids(1)
    archive = Archive(f"Cases/anna/pc-anna/{case_id}.zip", 5, "cd" * 32)
    database.submit(
        [database.case_document(case_id, moment, "App", ANNA, archive, submission="s", priority=50, names=["a"])]
    )
    return case_id


def write(database: Database, case_id, **moments) -> None:
    database._cases.update_one({"_id": case_id}, {"$set": moments})


def test_a_case_that_rests_until_an_hour_ahead_is_claimed_now(database, case_id):
    write(database, case_id, not_before=AN_HOUR_AHEAD)
    assert database.claim(BEN, ["App"], new_token(), alone=True) is not None


def test_a_machine_that_avoids_a_case_until_an_hour_ahead_may_have_it_now(database, case_id):
    write(database, case_id, avoid=[{"machine": "pc-ben", "until": AN_HOUR_AHEAD}])
    assert database.claim(BEN, ["App"], new_token(), alone=True) is not None


def test_a_lease_until_an_hour_ahead_is_observed_as_one_that_ran_out(database, case_id):
    token = new_token()
    database.claim(BEN, ["App"], token, alone=True)
    assert database.expired() == []
    write(database, case_id, lease_until=AN_HOUR_AHEAD)
    assert database.expired() == [Observed(case_id, token, 0)]


def test_a_receivers_lease_until_an_hour_ahead_is_observed_too(database, case_id):
    token, receiver = new_token(), new_token()
    database.claim(BEN, ["App"], token, alone=True)
    database.complete(case_id, token, Archive("Results/anna/pc-anna/result.zip", 7, "ab" * 32))
    database.claim_result(ANNA, receiver)
    assert database.silent_receivers(ANNA) == []
    write(database, case_id, **{"receiver.lease_until": AN_HOUR_AHEAD})
    assert database.silent_receivers(ANNA) == [Observed(case_id, receiver, 0)]
