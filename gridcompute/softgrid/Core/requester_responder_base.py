"""Requests between executors that wait for a response."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from .. import Globals, travel
from ..Collections import SoftgridStatus
from ..errors import SoftgridError
from ..node import Answer, Batch
from ..requests import Received, Requests, Sent
from ..tree import split_name
from ..wire import Segment
from .transfer_base import TransferBase, repeated


class RequesterResponderBase(TransferBase):
    """Requests, responses and what waits for them.

    What is awaited returns a list of statuses in order, else None is returned and an error is logged when it comes
    back. A request that comes before anybody waits for it is kept, in order. `frequency` is accepted and not needed:
    whoever waits is woken by the arrival.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._requests = Requests()

    # --- sending -----------------------------------------------------------------------------------------

    def transfer_request_to_responder(
        self,
        responder: Any,
        password: Any,
        request: Any,
        timeout: Any = 3600,
        allowedResponders: Any = None,
        register: bool = True,
        errorRaise: Any = False,
        errorLog: Any = True,
    ) -> list[SoftgridStatus] | None:
        """Sends a request; `wait_for_response` with the same password waits for what is responded to it.

        `timeout` is seconds until a response is no longer taken, None for ever. A list of responders gets a list of
        requests, of passwords and of timeouts as long, or one of each for all; with `register` the passwords must
        differ. Without it no response is taken. With `errorRaise` the arrival is awaited and SoftgridError raised
        where one failed. Raises ValueError, with nothing sent, for lists of other lengths and passwords in use.
        """
        receivers = _names(responder, "responder")
        count = len(receivers)
        passwords = _passwords(password, count)
        requests = _values(request, responder, "request")
        timeouts = [Globals.maxint if item is None else item for item in repeated(timeout, count, "timeout")]
        allowed = None if allowedResponders is None else frozenset(_names(allowedResponders, "allowedResponders"))
        flags = repeated(errorRaise, count, "errorRaise"), repeated(errorLog, count, "errorLog")
        sent: list[Sent | None] = [None] * count
        if register:
            if len(set(passwords)) != count:
                raise ValueError("Registered requests need passwords that differ; register=False needs no response.")
            noted = [Sent(passwords[i], receivers[i], requests[i], float(timeouts[i]), allowed) for i in range(count)]
            self._requests.register(noted)
            sent = list(noted)
        letters = []
        try:
            for index, receiver in enumerate(receivers):
                header = {"f": "$request", "rp": passwords[index], "rq": self._node.name}
                letters.append((header, receiver, travel.dumps(requests[index], self._minor_of(receiver))))
        except travel.TravelError as exc:
            for item in sent:
                if item is not None:
                    self._requests.withdraw(item)
            raise SoftgridError(f"The request can't be sent: {exc}") from exc

        def failed(index: int, error: str) -> None:
            request_sent = sent[index]
            if request_sent is not None:
                self._requests.fail(request_sent, error)

        return self._send_letters("A request", letters, flags, False, failed)

    def transfer_asynchronous_request(self, requester: Any, newResponder: Any, password: Any, response: Any) -> None:
        """Passes a request on to another responder, who responds to the requester himself or passes it on again.

        `response` is what the new responder gets as its request. Where it cannot get there the requester is told.
        """
        receivers = _names(newResponder, "newResponder")
        count = len(receivers)
        requesters = repeated(requester, count, "requester")
        passwords = _passwords(password, count)
        values = _values(response, newResponder, "response")
        letters = []
        for index, receiver in enumerate(receivers):
            split_name(requesters[index])
            header = {"f": "$request", "rp": passwords[index], "rq": requesters[index]}
            letters.append((header, receiver, self._packed(values[index], receiver)))

        def failed(index: int, error: str) -> None:
            # On the transport's thread: the requester must not wait for an answer that can't come.
            self._tell_failure(requesters[index], passwords[index], error)

        self._send_letters("An asynchronous request", letters, ([False] * count, [True] * count), False, failed)

    def transfer_response_to_requester(
        self,
        requester: Any,
        password: Any,
        response: Any,
        blocking: bool = False,
        errorRaise: Any = False,
        errorLog: Any = True,
    ) -> list[SoftgridStatus] | None:
        """Responds to a request. The requester refuses a wrong password, a responder it does not allow, a second
        response and one that is late; with `blocking` or `errorRaise` its word is awaited, and raised as SoftgridError
        with the latter.
        """
        receivers = _names(requester, "requester")
        count = len(receivers)
        passwords = _passwords(password, count)
        values = _values(response, requester, "response")
        flags = repeated(errorRaise, count, "errorRaise"), repeated(errorLog, count, "errorLog")
        letters = [
            ({"f": "$response", "rp": passwords[index]}, receiver, self._packed(values[index], receiver))
            for index, receiver in enumerate(receivers)
        ]
        return self._send_letters("A response", letters, flags, bool(blocking), lambda index, error: None)

    def _packed(self, value: Any, receiver: str) -> list[Segment]:
        try:
            return travel.dumps(value, self._minor_of(receiver))
        except travel.TravelError as exc:
            raise SoftgridError(f"The value can't be sent to {receiver}: {exc}") from exc

    def _send_letters(
        self,
        what: str,
        letters: list[tuple[dict[str, Any], str, list[Segment]]],
        flags: tuple[list[bool], list[bool]],
        blocking: bool,
        failed: Callable[[int, str], None],
    ) -> list[SoftgridStatus] | None:
        raises, logs = flags
        awaited = blocking or any(raises)

        def then(index: int, answer: Answer) -> None:
            if answer.error is not None:
                failed(index, answer.error)
                if logs[index]:
                    self.log_and_transfer("error", f"{what} to {letters[index][1]} failed: {answer.error}")

        batch = Batch(len(letters), then)
        tickets = []
        for index, (header, receiver, segments) in enumerate(letters):
            number = self._node.new_id()
            self._node.expect(number, batch, index, receiver)
            full = {"k": "x", "i": number, "s": self._node.name, "d": receiver, "p": None, **header}
            tickets.append(self._node.send(full, segments))
        for ticket in tickets:
            if ticket is not None:
                ticket.wait()  # afterwards the caller may change what it sent
        if not awaited:
            return None
        batch.wait(None)
        statuses = [
            SoftgridStatus(answer.error is None, answer.error, letter[1], what)
            for answer, letter in zip(batch.answers, letters, strict=True)
            if answer is not None
        ]
        for status, raising in zip(statuses, raises, strict=True):
            if not status and raising:
                raise SoftgridError(f"{what} to {status.data} failed: {status.error}")
        return statuses

    def _tell_failure(self, requester: str, password: str, error: str) -> None:
        header = {"k": "x", "i": self._node.new_id(), "s": self._node.name, "d": requester, "p": None}
        self._node.send({**header, "f": "$response", "rp": password, "re": error}, [], block=False)

    # --- arriving, on the transport's thread -------------------------------------------------------------

    def _serve(self, header: dict[str, Any], name: str, segments: list[Segment]) -> None:
        if name == "$request":
            self._requests.arrive(str(header["rp"]), Received(str(header["rq"]), segments))
            self._node.reply(header, [])
        elif name == "$response":
            error = header.get("re")
            sender = str(header["s"])
            refusal = self._requests.respond(str(header["rp"]), sender, segments, error)
            told = None if refusal is None else f"{self.gridUniqueName} refused the response: {refusal}."
            self._node.reply(header, [], told)
        else:
            super()._serve(header, name, segments)

    # --- waiting -----------------------------------------------------------------------------------------

    def wait_for_response(self, password: Any, timeout: Any = 60, frequency: float = 0.001) -> dict[str, Any]:
        """{password: what is known of the request}, when all are responded to, have failed or ran out of time.

        An entry has 'responder', 'request', 'request_sent_utctime', 'response_received_utctime' (None where there was
        no response), 'response' ({'value', 'responder'}, the value None without a response) and 'error' (None, or
        why no response can come). What was responded to is taken out. `timeout` is seconds, None for ever.
        """
        found: dict[str, Any] = {}
        for one, until in self._deadlines(password, timeout):
            sent = self._requests.wait_for_response(one, until)
            entry: dict[str, Any] = {
                "responder": None if sent is None else sent.responder,
                "request": None if sent is None else sent.request,
                "request_sent_utctime": None if sent is None else sent.utctime,
                "response_received_utctime": None,
                "response": {"value": None, "responder": None},
                "error": None if sent is None else sent.error,
            }
            if sent is not None and sent.answer is not None and sent.error is None:
                try:
                    entry["response"] = {"value": travel.loads(sent.answer), "responder": sent.answered_by}
                    entry["response_received_utctime"] = sent.answered_utctime
                except Exception as exc:  # noqa: BLE001
                    entry["error"] = f"The response can't be read here: {type(exc).__name__}: {exc}"
            found[one] = entry
        return found

    def wait_for_request(self, password: Any, timeout: Any = 60, frequency: float = 0.001) -> dict[str, Any]:
        """{password: the oldest request that came with it, or None}, taken out.

        A request has 'request', 'requester', 'password' and 'request_received_utctime'. Of several passwords each is
        waited for as long as its own timeout says. `timeout` is seconds, None for ever.
        """
        return {one: self._next_request(one, until) for one, until in self._deadlines(password, timeout)}

    def _next_request(self, password: str, until: float) -> dict[str, Any] | None:
        while True:
            received = self._requests.wait_for_request(password, until)
            if received is None:
                return None
            try:
                value = travel.loads(received.segments)
            except Exception as exc:  # noqa: BLE001
                error = f"{self.gridUniqueName} can't read the request: {type(exc).__name__}: {exc}"
                self._tell_failure(received.requester, password, error)
                continue
            return {
                "request": value,
                "requester": received.requester,
                "password": password,
                "request_received_utctime": received.utctime,
            }

    @staticmethod
    def _deadlines(password: Any, timeout: Any) -> list[tuple[str, float]]:
        passwords = [password] if isinstance(password, str) else list(password)
        now = time.monotonic()
        limits = repeated(timeout, len(passwords), "timeout")
        return [
            (one, now + (Globals.maxint if limit is None else limit))
            for one, limit in zip(passwords, limits, strict=True)
        ]

    # --- releasing ---------------------------------------------------------------------------------------

    def release_request(self, password: Any) -> SoftgridStatus:
        """Forgets requests sent from here or come here; whoever waits for one here goes on without it."""
        passwords = [password] if isinstance(password, str) else list(password)
        released = [one for one in passwords if self._requests.release(one)]
        return SoftgridStatus(True, data=len(released), name="release_request")

    def transfer_release_request(self, gun: Any, password: Any) -> list[SoftgridStatus]:
        """Releases at other executors too; a status for each, in order.

        Of as many passwords as executors each executor releases its own, else each releases all.
        """
        receivers = _names(gun, "gun")
        passwords = [password] if isinstance(password, str) else list(password)
        paired = not isinstance(gun, str) and not isinstance(password, str) and len(passwords) == len(receivers)
        asked = [(receiver, [passwords[index]] if paired else passwords) for index, receiver in enumerate(receivers)]
        statuses = []
        for receiver, ones in asked:
            answer = self._ask(receiver, "$release", ones, self.get_big_transfer_wait_timeout())
            statuses.append(SoftgridStatus(answer.error is None, answer.error, receiver, "transfer_release_request"))
        return statuses

    def _service_release(self, passwords: list[str]) -> int:
        return int(self.release_request(passwords).data)

    def _before_ending(self, why: str) -> None:
        super()._before_ending(why)
        self._requests.close()


def _names(value: Any, what: str) -> list[str]:
    names = [value] if isinstance(value, str) else list(value)
    for name in names:
        if not isinstance(name, str):
            raise ValueError(f"A {what} must be a grid unique name, not {name!r}.")
        split_name(name)
    return names


def _passwords(password: Any, count: int) -> list[str]:
    passwords = repeated(password, count, "password")
    for one in passwords:
        if not isinstance(one, str) or not one:
            raise ValueError("A request's password must be a string that is not empty.")
    return passwords


def _values(value: Any, receivers: Any, what: str) -> list[Any]:
    """What each receiver gets: a list is one value for each of several receivers, for a single name it is the value."""
    if isinstance(receivers, str):
        return [value]
    count = len(list(receivers))
    if isinstance(value, (list, tuple)) and (count > 1 or len(value) == 1):
        return repeated(value, count, what)
    return [value] * count
