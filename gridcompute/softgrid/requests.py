"""Requests that wait for a response: those sent from here, and those that came here. Bytes and names, no sockets.

One condition wakes whoever waits; values stay packed until the waiting thread takes them out, so that the transport's
thread never unpickles what users sent.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .wire import Segment


@dataclass
class Sent:
    """A request of this executor."""

    password: str
    responder: str
    request: Any
    timeout: float  # seconds
    allowed: frozenset[str] | None  # who may respond; None is everybody
    utctime: float = field(default_factory=time.time)
    expires: float = 0.0  # on the clock of this process
    answer: list[Segment] | None = None
    answered_by: str | None = None
    answered_utctime: float | None = None
    error: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether a response would still be taken."""
        return self.answer is None and self.error is None and time.monotonic() < self.expires


@dataclass
class Received:
    """A request that came here and was not taken out yet."""

    requester: str
    segments: list[Segment]
    utctime: float = field(default_factory=time.time)


class _Wait:
    """Somebody who waits for one password; a release ends it."""

    def __init__(self, password: str):
        self.password = password
        self.released = False


class Requests:
    """Every method may be called from any thread; only the two `wait_for_*` block."""

    def __init__(self) -> None:
        self._sent: dict[str, Sent] = {}
        self._received: dict[str, deque[Received]] = {}
        self._waits: list[_Wait] = []
        self._news = threading.Condition()
        self._closed = False

    def register(self, requests: list[Sent]) -> None:
        """Notes requests before they are sent. Raises ValueError, with none noted, where a password is in use."""
        with self._news:
            for request in requests:
                known = self._sent.get(request.password)
                if known is not None and known.is_open:
                    raise ValueError(
                        f"A request to {known.responder} waits for its response with the same password; "
                        "release it or take another password."
                    )
            now = time.monotonic()
            # What expired long ago and was never asked for is forgotten here, so that nothing piles up.
            for password in [p for p, old in self._sent.items() if old.expires < now and p not in self._awaited()]:
                del self._sent[password]
            for request in requests:
                request.expires = now + request.timeout
                self._sent[request.password] = request

    def _awaited(self) -> set[str]:
        return {wait.password for wait in self._waits}

    def withdraw(self, request: Sent) -> None:
        with self._news:
            if self._sent.get(request.password) is request:
                del self._sent[request.password]
                self._news.notify_all()

    def respond(self, password: str, responder: str, segments: list[Segment], error: str | None) -> str | None:
        """Takes a response; the reason where it is refused."""
        with self._news:
            request = self._sent.get(password)
            if request is None:
                return "it sent no request with this password"
            if request.allowed is not None and responder not in request.allowed:
                return f"{responder} is not allowed to respond to this request"
            if not request.is_open:
                return "the request was responded to already, or its time is over"
            request.answer, request.error = segments, error
            request.answered_by, request.answered_utctime = responder, None if error is not None else time.time()
            self._news.notify_all()
            return None

    def fail(self, request: Sent, error: str) -> None:
        """No response will come."""
        with self._news:
            if self._sent.get(request.password) is request and request.is_open:
                request.error = error
                self._news.notify_all()

    def arrive(self, password: str, received: Received) -> None:
        with self._news:
            self._received.setdefault(password, deque()).append(received)
            self._news.notify_all()

    def release(self, password: str) -> bool:
        """Forgets what was sent or received with a password and ends whoever waits for it; whether there was any."""
        with self._news:
            found = self._sent.pop(password, None) is not None
            found = self._received.pop(password, None) is not None or found
            for wait in self._waits:
                if wait.password == password:
                    wait.released = found = True
            self._news.notify_all()
            return found

    def close(self) -> None:
        """Ends every wait, now and later."""
        with self._news:
            self._closed = True
            self._news.notify_all()

    def wait_for_response(self, password: str, until: float) -> Sent | None:
        """The request when its response is there, it failed or its time is over; None where it was not sent.

        One that was answered or has failed is taken out; another stays, for a later wait.
        """

        def look() -> Sent | None:
            request = self._sent.get(password)
            if request is None or request.is_open:
                return None
            return self._sent.pop(password)

        def expires() -> float:
            request = self._sent.get(password)
            return until if request is None else min(until, request.expires)

        return self._wait(password, look, expires) or self._sent.get(password)

    def wait_for_request(self, password: str, until: float) -> Received | None:
        """The oldest request that came with this password, taken out; None at `until` or a release."""

        def look() -> Received | None:
            queue = self._received.get(password)
            if not queue:
                return None
            received = queue.popleft()
            if not queue:
                del self._received[password]
            return received

        return self._wait(password, look, lambda: until)

    def _wait(self, password: str, look: Callable[[], Any], until: Callable[[], float]) -> Any:
        wait = _Wait(password)
        with self._news:
            self._waits.append(wait)
            try:
                while True:
                    found = look()
                    left = until() - time.monotonic()
                    if found is not None or wait.released or self._closed or left <= 0:
                        return found
                    self._news.wait(min(left, threading.TIMEOUT_MAX))
            finally:
                self._waits.remove(wait)
