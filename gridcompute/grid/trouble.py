"""What an error of the operating system means for a grid: a full disk, a share that is away, a file in use.

Windows tells more in `winerror` than in `errno` (its "network path not found" comes as ``ENOENT``), so that is asked
first.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def _numbers(*names: str) -> frozenset[int]:
    return frozenset(getattr(errno, name) for name in names if hasattr(errno, name))


_FULL = _numbers("ENOSPC", "EDQUOT")
_FULL_ON_WINDOWS = frozenset({39, 112, 1295})  # disk full twice, quota

_AWAY = _numbers(
    *("EIO", "EREMOTEIO", "ESTALE", "ENODEV", "ENXIO", "ENOTCONN", "ENOLINK", "ESHUTDOWN", "EPIPE", "EAGAIN"),
    *("EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETUNREACH", "ENETRESET", "ENONET"),
    *("ETIMEDOUT", "ECONNABORTED", "ECONNRESET", "ECONNREFUSED", "EINTR"),
)
_AWAY_ON_WINDOWS = frozenset(
    {
        *(21, 51, 53, 54, 55, 58, 59, 64, 67, 71, 121),  # not ready, path not found, busy, gone, unexpected, no name, …
        *(240, 1167, 1203, 1222, 1231, 1232, 1236, 1450, 2250),  # session cancelled, unreachable, aborted, …
    }
)

_IN_USE_ON_WINDOWS = frozenset({5, 32, 33})  # access denied (a deletion that is pending, too), sharing, lock

_NOT_SUPPORTED = _numbers("EINVAL", "ENOSYS", "ENOTSUP", "EOPNOTSUPP")

IN_USE_PAUSES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
"""Seconds between the tries of `retried_while_in_use`: virus scanners look at new files for that long."""


def is_full(exc: OSError) -> bool:
    """Whether no space is left, or none that this user may have."""
    number = _winerror(exc)
    return number in _FULL_ON_WINDOWS if number is not None else exc.errno in _FULL


def is_away(exc: OSError) -> bool:
    """Whether a network folder can't be reached now."""
    number = _winerror(exc)
    return number in _AWAY_ON_WINDOWS if number is not None else exc.errno in _AWAY


def is_missing(exc: OSError) -> bool:
    """Whether the file or its folder is not there."""
    return exc.errno in (errno.ENOENT, errno.ENOTDIR) and not is_away(exc)


def is_in_use(exc: OSError) -> bool:
    """Whether Windows refuses because another program has the file open, perhaps for a moment only."""
    return _winerror(exc) in _IN_USE_ON_WINDOWS


def is_not_supported(exc: OSError) -> bool:
    """Whether the file system doesn't know this operation, such as the flushing of a folder on a network mount."""
    return exc.errno in _NOT_SUPPORTED


def words(exc: OSError) -> str:
    """What the operating system says, without the path, which the caller names in his own way."""
    return exc.strerror or str(exc) or type(exc).__name__


def retried_while_in_use(act: Callable[[], T], *, pause: Callable[[float], None] = time.sleep) -> T:
    """The result of `act`, which is done again for a second at most while Windows says that a file is in use."""
    for seconds in IN_USE_PAUSES:
        try:
            return act()
        except OSError as exc:
            if not is_in_use(exc):
                raise
        pause(seconds)
    return act()


def _winerror(exc: OSError) -> int | None:
    return getattr(exc, "winerror", None)
