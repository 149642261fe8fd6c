"""Pymongo's errors as ours: the database is away, refuses the user, or refuses what was asked of it."""

from __future__ import annotations

from pymongo import errors as mongo

from gridcompute import config
from gridcompute.errors import DatabaseAway, DatabaseError, DatabaseRefused
from gridcompute.grid.passwords import place_of_login
from gridcompute.grid.settings import Settings

_USER = {13, 18}
"""Codes of a wrong user or password, and of a right that is missing."""

_ATLAS = 8000
"""MongoDB Atlas says this for a wrong user, and for a quota that is used up."""

_PASSING = {6, 7, 24, 50, 64, 89, 91, 112, 133, 189, 202, 211, 9001, 10107, 11600, 11602, 13435, 13436}
"""Codes of a server that starts, stops, elects or is cut off; the command is worth sending again.

211, no key for the cluster's time, comes from one that was started again and whose clock was set.
"""

_NO_SPACE = {14031, 12501}
"""Codes of a disk without space, and of a quota that is used up."""


def ours(what: str, exc: mongo.PyMongoError, address: str, settings: Settings) -> DatabaseError:
    """The error to raise when `what` was tried in the database at `address` and `exc` came of it.

    `settings` tell the user group, and where its password came from; `address` hides a password in it.
    """
    if isinstance(exc, mongo.OperationFailure):
        answer = str((exc.details or {}).get("errmsg") or exc).rstrip(".")
        if _is_about_the_user(exc.code, answer):
            return DatabaseRefused(
                f"Cannot {what}: the database at {address} refuses user group '{settings.user_group}' ({answer}). "
                f"Check {place_of_login(settings)}, and that this user has the role readWrite in the database "
                f"'{config.database_name}'."
            )
        if exc.code not in _PASSING and not exc.has_error_label("RetryableWriteError"):
            return _refusal(what, address, exc.code, answer)
    elif not isinstance(exc, mongo.ConnectionFailure | mongo.ExecutionTimeout):
        return _refusal(what, address, None, str(exc).rstrip("."))
    reason = str(exc).split(", Timeout:")[0].split(" (configured timeouts")[0]
    if "SSL" in reason or "certificate" in reason:
        advice = "Check that it offers TLS, and the address's options for it."
    else:
        advice = "Check that MongoDB runs there and that this computer reaches it."
    return DatabaseAway(f"Cannot {what}: the database at {address} does not answer ({reason}). {advice}")


def _is_about_the_user(code: int | None, answer: str) -> bool:
    return code in _USER or (code == _ATLAS and "quota" not in answer)


def _refusal(what: str, address: str, code: int | None, answer: str) -> DatabaseError:
    number = "" if code is None else f", code {code}"
    if code in _NO_SPACE or "quota" in answer:
        advice = "Make room where MongoDB keeps its data, or raise its quota."
    else:
        advice = "Show this to whoever runs MongoDB; its log says more."
    return DatabaseError(f"Cannot {what}: the database at {address} refuses it ({answer}{number}). {advice}")
