"""What becomes of MongoDB's errors: away and waited for, a wrong user, or a refusal with what to do."""

from __future__ import annotations

import pytest
from pymongo.errors import AutoReconnect, ExecutionTimeout, InvalidDocument, OperationFailure

from gridcompute.errors import DatabaseAway, DatabaseError, DatabaseRefused
from gridcompute.grid.database.refusals import ours
from gridcompute.grid.settings import Settings


def answer(code: int, text: str = "the server's words", *labels: str) -> OperationFailure:
    return OperationFailure(text, code, {"errmsg": text, "code": code, "errorLabels": list(labels)})


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (AutoReconnect("connection closed"), DatabaseAway, "does not answer (connection closed). Check that MongoDB"),
        (ExecutionTimeout("too slow", 50), DatabaseAway, "does not answer"),
        (answer(189, "stepped down"), DatabaseAway, "does not answer"),
        (AutoReconnect("SSL handshake failed"), DatabaseAway, "Check that it offers TLS"),
        # A server that was started again and whose clock was set.
        (answer(211, "Cache Reader No keys found for HMAC"), DatabaseAway, "does not answer (Cache Reader"),
        (answer(64, "waiting for replication", "RetryableWriteError"), DatabaseAway, "does not answer"),
        (answer(13, "not authorized"), DatabaseRefused, "refuses user group 'team' (not authorized). Check 'user"),
        (answer(18, "Authentication failed."), DatabaseRefused, "refuses user group 'team' (Authentication failed)."),
        (answer(8000, "bad auth : wrong"), DatabaseRefused, "refuses user group"),
        (answer(8000, "you are over your space quota"), DatabaseError, "quota, code 8000). Make room"),
        (answer(14031, "No space left."), DatabaseError, "refuses it (No space left, code 14031). Make room"),
        (answer(121, "validation failed"), DatabaseError, "(validation failed, code 121). Show this to whoever runs"),
        (InvalidDocument("too large"), DatabaseError, "refuses it (too large). Show this"),
    ],
)
def test_an_error_says_whether_to_wait_and_what_to_do(error, kind, words):
    found = ours("claim a case", error, "srv:27017", Settings("srv:27017", "team", "secret", "1"))

    assert type(found) is kind
    assert str(found).startswith("Cannot claim a case: the database at srv:27017 ") and words in str(found)
