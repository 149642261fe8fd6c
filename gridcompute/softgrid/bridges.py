"""Direct connections between executors that are far from each other in the tree.

What goes from one end to the other takes the bridge, and is kept until the other end has it. When the bridge breaks
the rest goes again by the tree, and the other end, which remembers what came by the bridge, passes over what it has.
The loss of an end is still told by the tree: each end leaves one message with the other that is never answered but by
the news that the other is lost.
"""

from __future__ import annotations

import contextlib
import hmac
import itertools
import secrets
import socket
import ssl
import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from . import trust
from .transport import Link, LinkLost, Ticket, urgency
from .trust import Channel, Refused
from .wire import Segment, joined

if TYPE_CHECKING:
    from .node import Node

REMEMBERED = 50_000
"""Ids of messages that came by a bridge; more than the 8 MB that one end sends before the other acknowledges them."""


class Bridge:
    """One end's view of a bridge."""

    def __init__(self, builder: str, name: str, password: str, link: Link):
        self.builder = builder  # the end that it was built from
        self.name = name  # the other end
        self.password = password
        self.link = link
        self.is_ending = False
        self.kept: dict[int, tuple[dict[str, Any], list[Segment], Ticket]] = {}
        self._numbers = itertools.count()

    def send(self, header: dict[str, Any], segments: list[Segment], block: bool, flush: bool) -> Ticket:
        """Raises LinkLost where it broke before; then nobody sends the message again."""
        number = next(self._numbers)
        ticket = _Kept(self, number)
        self.kept[number] = (header, segments, ticket)
        try:
            self.link.send(header, segments, urgency(header.get("p")), block=block, flush=flush, ticket=ticket)
        except LinkLost:
            if self.kept.pop(number, None) is not None:
                raise
        return ticket


class _Kept(Ticket):
    """Frees a message that has arrived; one that has not is still needed, to go by the tree."""

    def __init__(self, bridge: Bridge, number: int):
        super().__init__()
        self._bridge, self._number = bridge, number

    def settle(self, failed: bool = False) -> None:
        if not failed:
            self._bridge.kept.pop(self._number, None)
            super().settle()


class Bridges:
    """The bridges of an executor, and the owner of their links."""

    def __init__(self, node: Node):
        self._node = node
        self._open: dict[str, Bridge] = {}
        self._expected: dict[str, tuple[bytes, Bridge, float]] = {}
        self._had: OrderedDict[str, None] = OrderedDict()
        self._had_lock = threading.Lock()
        self.watched: set[str] = set()

    def get(self, name: str) -> Bridge | None:
        return self._open.get(name)

    def all(self) -> list[Bridge]:
        return list(self._open.values())

    def links(self) -> list[Link]:
        return [bridge.link for bridge in self.all()]

    def passwords(self) -> list[str]:
        return [bridge.password for bridge in self.all()]

    # --- building ----------------------------------------------------------------------------------------

    def expect(self, ident: str, key: bytes, builder: str, name: str, password: str, timeout: float) -> None:
        """The other end will call within `timeout` seconds and prove that it knows the key."""
        now = time.monotonic()
        self._expected = {key: item for key, item in self._expected.items() if item[2] > now}
        self._expected[ident] = (key, self._make(ident, key, builder, name, password), now + timeout)

    def key_of(self, ident: str) -> bytes | None:
        expected = self._expected.get(ident)
        return expected[0] if expected is not None and expected[2] > time.monotonic() else None

    def welcome(self, channel: Channel, ident: str) -> None:
        """Takes in the other end's call. Raises Refused."""
        expected = self._expected.pop(ident, None)
        if expected is None or self._node.ending:
            raise Refused("This bridge is not expected any more.")
        channel.send_value({"welcome": True})
        self._open[expected[1].name] = expected[1]
        expected[1].link.attach(channel, 0)

    def call(
        self,
        place: tuple[str, int, str],
        ident: str,
        key: bytes,
        builder: str,
        name: str,
        password: str,
        timeout: float,
    ) -> None:
        """Calls the other end, which expects it. Raises OSError, ssl.SSLError or Refused."""
        address, port, fingerprint = place
        bridge = self._make(ident, key, builder, name, password)
        with contextlib.ExitStack() as undo:
            sock = socket.create_connection((address, port), timeout=timeout)
            undo.callback(sock.close)
            channel = trust.call(sock, f"bridge:{ident}", key, fingerprint)
            channel.send_value({"kind": "bridge"})
            answer = channel.receive_value(trust.WELCOME_LIMIT)
            if not answer.get("welcome"):
                raise Refused(str(answer.get("refused", "The other end does not speak this protocol.")))
            self._open[name] = bridge
            bridge.link.attach(channel, 0)
            undo.pop_all()

    def _make(self, ident: str, key: bytes, builder: str, name: str, password: str) -> Bridge:
        return Bridge(builder, name, password, Link(self._node.loop, self, name, ident, key))

    # --- carrying ----------------------------------------------------------------------------------------

    def for_message(self, header: dict[str, Any]) -> Bridge | None:
        """The bridge that a message of this executor may take: both are its ends, and the sender allows it."""
        if not self._open or "nb" in header or "t" in header or header.get("k") == "c":
            return None
        return self._open.get(header["d"])

    def is_new(self, header: dict[str, Any]) -> bool:
        """Whether a request that came by a bridge, or again by the tree, was not here before."""
        if header.get("k") != "x":
            return True
        with self._had_lock:
            if header["i"] in self._had:
                return False
            self._had[header["i"]] = None
            if len(self._had) > REMEMBERED:
                self._had.popitem(last=False)
            return True

    def destroy(self, name: str, password: str) -> str | None:
        """Takes a bridge down, what it carries goes on by the tree; the reason where it is not."""
        bridge = self._open.get(name)
        if bridge is None:
            return f"There is no bridge between {self._node.name} and {name}."
        if not hmac.compare_digest(bridge.password.encode(), str(password).encode()):
            return "The bridge's password is wrong."
        bridge.is_ending = True  # the other end may close the connection first
        bridge.link.bye({"why": "the bridge was destroyed"})
        bridge.link.wait_sent(1.0)
        done = threading.Event()
        self._node.loop.call_soon(self._end, bridge, "it was destroyed", True, done)
        done.wait(5.0)
        return None

    def _end(self, bridge: Bridge, reason: str, purpose: bool, done: threading.Event | None = None) -> None:
        """On the loop's thread."""
        if self._open.get(bridge.name) is bridge:
            del self._open[bridge.name]
            bridge.link.lose()
            for number in list(bridge.kept):
                kept = bridge.kept.pop(number, None)
                if kept is not None:
                    header, segments, ticket = kept
                    # Copied, since whoever waits for the ticket may change what it sent.
                    self._node.send({**header, "again": 1}, [bytes(joined(part)) for part in segments], block=False)
                    ticket.settle()
            if not self._node.ending:
                self._node.handler.on_bridge_gone(bridge.name, reason, purpose)
        if done is not None:
            done.set()

    # --- what the links ask, on the loop's thread --------------------------------------------------------

    def route(self, link: Link, header: dict[str, Any]) -> Link | None:
        return self._node.route(link, header)

    def received(self, link: Link, header: dict[str, Any], segments: list[Segment]) -> None:
        if self.is_new(header):
            header["vb"] = 1
            self._node.received(link, header, segments)

    def undeliverable(self, link: Link | None, header: dict[str, Any], reason: str) -> None:
        self._node.undeliverable(link, header, reason)

    def refused(self, link: Link, header: dict[str, Any], reason: str) -> None:
        self._node.refused(link, header, reason)

    def truncated(self, link: Link, header: dict[str, Any]) -> None:
        """The rest comes again by the tree."""

    def broken(self, link: Link, reason: str) -> None:
        self._over(link, reason, purpose=False)

    def left(self, link: Link, why: dict[str, Any]) -> None:
        self._over(link, str(why.get("why", "it disconnected")), purpose=True)

    def tick(self, now: float) -> None:
        """The node looks after the links of bridges with its own."""

    def _over(self, link: Link, reason: str, purpose: bool) -> None:
        bridge = self._open.get(link.name)
        if bridge is not None and bridge.link is link:
            self._end(bridge, reason, purpose or bridge.is_ending)


def fresh_key() -> tuple[str, bytes, str]:
    """(name of the key, key, password of a bridge)."""
    return secrets.token_hex(8), secrets.token_bytes(32), secrets.token_hex(16)


CALL_ERRORS = (OSError, ssl.SSLError, Refused)
