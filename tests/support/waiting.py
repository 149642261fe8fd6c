"""Waiting in tests: poll a condition that is stated, with a bound."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_for(condition: Callable[[], T], timeout: float = 10.0, message: str | Callable[[], str] = "") -> T:
    """Poll `condition` until it is true and return its value; an AssertionError with `message` after `timeout` seconds.

    `message` may be a function, called at the end only, that says what there was instead.
    """
    deadline = time.monotonic() + timeout
    pause = 0.005
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            words = message() if callable(message) else message
            raise AssertionError(f"{words or 'The condition'}: not within {timeout} s (last seen: {value!r})")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)
