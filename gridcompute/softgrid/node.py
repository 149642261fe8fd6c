"""An executor's place in the grid: its links, routes, joins and losses, and the answers that are waited for.

Functions and results are bytes here; `Core` knows what they mean. What a thread of the transport calls never blocks.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

from . import trust
from .bridges import Bridges
from .processes import is_gone, runs_here
from .transport import Link, LinkLost, Listener, Loop, Ticket, urgency
from .tree import Member, Tree
from .trust import Channel, Identity, Refused
from .wire import Segment, WireError, shortened

BOUNCED = "==>"
_RECONNECT_PAUSE = 0.5
_TOLD_AT_ONCE = 500  # members in one message, whose header is bounded
ERROR_LIMIT = 300_000
"""Bytes of an error in an answer's header."""


class Handler(Protocol):
    """What the executor does when news come. Called on the transport's thread: hand over, never block."""

    def admit(self, hello: dict[str, Any]) -> dict[str, Any]:
        """What to tell an executor that wants to join; raises Refused. Called on a thread of its own."""

    def dismiss(self, hello: dict[str, Any]) -> None:
        """An executor that was admitted did not come in. Called on the same thread."""

    def on_execute(self, header: dict[str, Any], segments: list[Segment]) -> None: ...
    def on_joined(self, members: list[Member]) -> None: ...
    def on_gone(self, members: list[Member], reason: str, purpose: bool, direct: bool) -> None: ...
    def on_orphaned(self, reason: str, purpose: bool) -> None: ...
    def on_control(self, link: Link, name: str, body: dict[str, Any]) -> None: ...
    def on_stranger(self, address: str, reason: str) -> None: ...
    def on_bridge_gone(self, name: str, reason: str, purpose: bool) -> None: ...


class Answer:
    """One receiver's answer: `segments` hold the pickled result, or `error` says why there is none."""

    __slots__ = ("error", "header", "segments")

    def __init__(self, header: dict[str, Any], segments: list[Segment], error: str | None = None):
        self.header, self.segments, self.error = header, segments, error


class Batch:
    """The answers to one transfer, in receiver order."""

    def __init__(self, count: int, then: Callable[[int, Answer], None] | None = None):
        self.answers: list[Answer | None] = [None] * count
        self._left = count
        self._then = then
        self._lock = threading.Lock()
        self._done = threading.Event()
        if not count:
            self._done.set()

    def settle(self, index: int, answer: Answer) -> None:
        with self._lock:
            if self.answers[index] is not None:
                return
            self.answers[index] = answer
            self._left -= 1
            left = self._left
        if not left:
            self._done.set()
        if self._then is not None:
            self._then(index, answer)

    def wait(self, timeout: float | None) -> bool:
        return self._done.wait(timeout)


class _Pending:
    __slots__ = ("batch", "index", "receiver", "way")

    def __init__(self, batch: Batch, index: int, receiver: str, way: Link | None):
        self.batch, self.index, self.receiver, self.way = batch, index, receiver, way


class Node:
    """Everything between an executor and its neighbours."""

    def __init__(self, handler: Handler, password: str, label: str):
        self.handler = handler
        self.loop = Loop(label)
        self.identity = Identity(password)
        self.listener = Listener(self.loop, self.identity, self._key_of, self._welcome, handler.on_stranger)
        self.tree = Tree("")
        self.bridges = Bridges(self)
        self.up: Link | None = None
        self.info: dict[str, Any] = {}
        self.frequency = 10.0
        self.tolerance = 60.0
        self.ending = False
        self._children: dict[str, Link] = {}
        self._sessions: dict[str, Link] = {}
        self._pending: dict[str, _Pending] = {}
        self._passing: dict[Link, dict[tuple[str, str], str]] = {}
        self._up_address: tuple[str, int, str | None] = ("", 0, None)
        self._resuming = False
        self._ticked = time.monotonic()
        self._probing: set[str] = set()
        self._vouched: dict[str, float] = {}
        self._prefix = secrets.token_hex(6)
        self._count = 0
        self._lock = threading.Lock()
        self.loop.on_tick(self.tick)

    @property
    def name(self) -> str:
        return self.tree.name

    def set_hearts(self, frequency: float, tolerance: float) -> None:
        self.frequency, self.tolerance = float(frequency), float(tolerance)
        self.loop.interval = max(0.05, min(0.5, self.tolerance / 10, self.frequency))

    # --- sending -----------------------------------------------------------------------------------------

    def new_id(self) -> str:
        with self._lock:
            self._count += 1
            return f"{self._prefix}{self._count:x}"

    def expect(self, number: str, batch: Batch, index: int, receiver: str) -> None:
        """An answer to message `number` will be awaited."""
        self._pending[number] = _Pending(batch, index, receiver, None)

    def awaited(self) -> dict[str, int]:
        """How many answers are awaited, by the receiver they are awaited from."""
        return dict(Counter(pending.receiver for pending in list(self._pending.values())))

    def forget(self, numbers: list[str]) -> None:
        for number in numbers:
            self._pending.pop(number, None)

    def send(
        self, header: dict[str, Any], segments: list[Segment], block: bool = True, flush: bool = True
    ) -> Ticket | None:
        """Sends a message of ours, or hands it to this executor. What cannot go is answered as failed."""
        try:
            link = self.route(None, header)
            header.pop("*", None)
            if link is None:
                self.received(None, header, segments)
                return None
            bridge = self.bridges.for_message(header)
            if bridge is not None:
                with contextlib.suppress(LinkLost):
                    self._note_way(header, bridge.link)
                    return bridge.send(header, segments, block, flush)
            self._note_way(header, link)
            return link.send(header, segments, urgency(header.get("p")), block=block, flush=flush)
        except (LinkLost, WireError) as exc:
            self.undeliverable(None, header, str(exc))
            return None

    def _note_way(self, header: dict[str, Any], link: Link) -> None:
        """By whose loss the answers to a message of ours will never come."""
        if header["k"] == "x" and header["s"] == self.name:
            for number, _ in _numbers(header):
                pending = self._pending.get(number)
                if pending is not None:
                    pending.way = link

    def flush(self) -> None:
        for link in [*self.links(), *self.bridges.links()]:
            link.flush()

    def control(self, link: Link, name: str, body: dict[str, Any]) -> None:
        """Tells a neighbour something that concerns it alone."""
        with contextlib.suppress(LinkLost):
            link.send({"k": "c", "c": name, "b": body}, [], block=False)

    def links(self) -> list[Link]:
        return [*self._children.values(), *([self.up] if self.up else [])]

    def child(self, name: str) -> Link | None:
        return self._children.get(name)

    def reply(self, request: dict[str, Any], segments: list[Segment], error: str | None = None) -> Ticket | None:
        header: dict[str, Any] = {"k": "r", "i": request["i"], "s": self.name, "d": request["s"]}
        if "vb" not in request:
            header["nb"] = 1  # by the way the request came, whose executors wait to see the answer pass
        if error is not None:
            header["e"] = shortened(error, ERROR_LIMIT)
        if "p" in request:
            header["p"] = request["p"]
        return self.send(header, segments)

    # --- what the links ask ------------------------------------------------------------------------------

    def route(self, link: Link | None, header: dict[str, Any]) -> Link | None:
        kind = header.get("k")
        if kind == "c":
            return None
        target = header.get("d")
        way = header.get("t")
        if way:
            while way and way[0] == self.name:
                way.pop(0)
                header["*"] = 1
            if way:
                target = way[0]
        if target == self.name:
            return None
        neighbour = self.tree.ways.get(target)  # type: ignore[arg-type]
        onward = self._children.get(neighbour) if neighbour is not None else self.up
        if onward is None or onward is link or onward.state == "lost":
            raise LinkLost(f"{target} does not belong to this grid, or no more.")
        if link is not None:
            if kind == "r":
                passing = self._passing.get(link)
                if passing is not None:
                    passing.pop((header["d"], header["i"]), None)
            elif kind == "x" and onward is not self.up and "na" not in header:
                passing = self._passing.setdefault(onward, {})
                for number, receiver in _numbers(header):
                    passing[(header["s"], number)] = receiver
        return onward

    def received(self, link: Link | None, header: dict[str, Any], segments: list[Segment]) -> None:
        kind = header.get("k")
        if "again" in header and not self.bridges.is_new(header):
            return
        if kind == "x":
            if header.get("b"):
                self._bounce(link, header, segments)
            else:
                self.handler.on_execute(header, segments)
        elif kind == "r":
            self.settle(str(header.get("i")), Answer(header, segments, header.get("e")))
        elif kind == "c" and link is not None:
            self._control(link, str(header.get("c")), header.get("b") or {})

    def settle(self, number: str, answer: Answer) -> None:
        pending = self._pending.pop(number, None)
        if pending is not None:
            pending.batch.settle(pending.index, answer)

    def _bounce(self, link: Link | None, header: dict[str, Any], segments: list[Segment]) -> None:
        """Sends a transfer on to each of its final receivers; they answer its sender, not us."""
        children = set()
        for number, receiver in _numbers(header):
            onward = {key: value for key, value in header.items() if key not in ("b", "t", "*", "vb", "again")}
            onward.update(i=number, d=receiver)
            if receiver != self.name:
                child = self._children.get(self.tree.ways.get(receiver, ""))
                if child is not None:
                    children.add(child)
                    if "na" not in header:
                        self._passing.setdefault(child, {})[(header["s"], number)] = receiver
            self.send(onward, segments, block=False)
        if link is not None:
            for child in children:
                link.heed(child)

    def undeliverable(self, link: Link | None, header: dict[str, Any], reason: str) -> None:
        if header.get("k") != "x":
            return
        for number, receiver in _numbers(header):
            self._fail(str(header["s"]), number, receiver, reason)

    def refused(self, link: Link, header: dict[str, Any], reason: str) -> None:
        if header.get("k") == "x":
            self.undeliverable(link, header, f"{self.name}: {reason}")
        elif header.get("k") == "r":
            self.settle(str(header.get("i")), Answer(header, [], f"The result cannot be taken: {reason}"))

    def truncated(self, link: Link, header: dict[str, Any]) -> None:
        if header.get("k") == "r":
            reason = f"{header.get('s')} was lost while its result was on the way."
            self.settle(str(header.get("i")), Answer(header, [], reason))

    def _fail(self, sender: str, number: str, receiver: str, reason: str) -> None:
        header = {"k": "r", "i": number, "s": receiver, "d": sender, "e": shortened(reason, ERROR_LIMIT)}
        if sender == self.name:
            self.settle(number, Answer(header, [], reason))
        else:
            with contextlib.suppress(LinkLost):
                onward = self.route(None, header)
                if onward is not None:
                    onward.send(header, [], block=False)

    def broken(self, link: Link, reason: str) -> None:
        """A connection ended without a word. Its other end may be gone, or only cut off."""
        if self.ending:
            return
        if link is self.up:
            self._resume()
        else:
            self._probe(link)

    def left(self, link: Link, why: dict[str, Any]) -> None:
        if link is self.up:
            self._orphan(str(why.get("why", "the upgrid ended")), purpose=True)
        else:
            self._lose(link, str(why.get("why", "it disconnected")), purpose=True)

    def _control(self, link: Link, name: str, body: dict[str, Any]) -> None:
        if name == "joined":
            members = [Member(item["name"], item["path"], item["info"]) for item in body["members"]]
            self._add(members, link)
        elif name == "gone":
            gone = [member for item in body["names"] for member in self.tree.remove(item)]
            self._announce_gone(gone, body["reason"], body["purpose"], direct=False)
            lost = {member.name for member in gone}
            numbers = [number for number, pending in list(self._pending.items()) if pending.receiver in lost]
            if numbers:
                self.loop.call_later(self.tolerance, self._give_up, link, numbers, body["reason"], self._arriving())
        elif name == "path" and link is self.up:
            self.tree.rename_path(body["path"])
            self.set_hearts(body["frequency"], body["tolerance"])
            self._tell_path()
        else:
            self.handler.on_control(link, name, body)

    # --- joins -------------------------------------------------------------------------------------------

    def _key_of(self, key_name: str) -> bytes | None:
        if key_name == "password":
            return self.identity.key
        if key_name.startswith("bridge:"):
            return self.bridges.key_of(key_name.removeprefix("bridge:"))
        link = self._of_session(key_name)
        return link.key if link is not None and link.state != "lost" else None

    def _of_session(self, key_name: str) -> Link | None:
        """The link to a neighbour by the name of the key that it got when one of the two joined the other."""
        session = key_name.removeprefix("session:")
        if self.up is not None and self.up.session == session:
            return self.up
        return self._sessions.get(session)

    def _welcome(self, channel: Channel, key_name: str, address: str) -> None:
        hello = channel.receive_value(trust.WELCOME_LIMIT)
        kind = hello.get("kind")
        if kind == "join" and key_name == "password":
            self._take_in(channel, hello)
        elif kind == "bridge" and key_name.startswith("bridge:"):
            self.bridges.welcome(channel, key_name.removeprefix("bridge:"))
        elif kind in ("resume", "vouch") and key_name.startswith("session:"):
            link = self._of_session(key_name)
            if link is None or link.state == "lost":
                channel.send_value({"refused": "This executor was given up."})
                channel.sock.close()
            elif kind == "vouch":
                self._hear_voucher(channel, link)
            elif link is self.up:
                raise Refused("An upgrid does not call again.")
            else:
                link.detach()
                channel.send_value({"received": link.received_number})
                link.attach(channel, int(hello["received"]))
        else:
            raise Refused("The other side does not speak this protocol.")

    def _take_in(self, channel: Channel, hello: dict[str, Any]) -> None:
        try:
            if self.ending:
                raise Refused("This executor is ending.")
            told = self.handler.admit(hello)
        except Refused as exc:
            channel.send_value({"refused": str(exc)})
            raise
        try:
            self._let_in(channel, hello, told)
        except BaseException:
            self.handler.dismiss(hello)
            raise

    def _let_in(self, channel: Channel, hello: dict[str, Any], told: dict[str, Any]) -> None:
        name = hello["info"]["name"]
        link = Link(self.loop, self, name, secrets.token_hex(16), secrets.token_bytes(32))
        link.info = hello["info"]
        channel.send_value(
            {
                **told,
                "name": self.name,
                "path": self.tree.path,
                "info": self.info,
                "session": link.session,
                "key": link.key.hex(),
                "frequency": self.frequency,
                "tolerance": self.tolerance,
            }
        )
        if not channel.receive_value(trust.WELCOME_LIMIT).get("ready"):
            raise Refused("The executor did not join.")
        self._sessions[link.session] = link
        members = [Member(name, self.tree.path, hello["info"])]
        members += [
            Member(item["name"], [*self.tree.path, *item["path"]], item["info"]) for item in hello.get("members", [])
        ]
        # Known before the first of its messages is read, so that the answer to that one finds its way.
        self.loop.call_soon(self._took_in, link, members)
        link.attach(channel, 0)

    def _took_in(self, link: Link, members: list[Member]) -> None:
        self._children[link.name] = link
        self._add(members, link)

    def _add(self, members: list[Member], link: Link) -> None:
        for member in members:
            self.tree.add(member, link.name)
        if self.up is not None:
            told = [{"name": m.name, "path": m.path, "info": m.info} for m in members]
            for start in range(0, len(told), _TOLD_AT_ONCE):
                self.control(self.up, "joined", {"members": told[start : start + _TOLD_AT_ONCE]})
        self.handler.on_joined(members)

    def connect(
        self,
        address: str,
        port: int,
        password: str,
        timeout: float,
        pinned: str | None = None,
        tracking: str | None = None,
    ) -> dict[str, Any]:
        """Joins an upgrid; returns what it told. Raises Refused, OSError or ssl.SSLError."""
        until = time.monotonic() + timeout
        with contextlib.ExitStack() as undo:
            sock = socket.create_connection((address, port), timeout=timeout)
            undo.callback(sock.close)
            sock.settimeout(max(0.1, until - time.monotonic()))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            channel = trust.call(sock, "password", lambda salt: trust.stretch(password, salt), pinned)
            below = [
                {"name": m.name, "path": m.path[len(self.tree.above) :], "info": m.info}
                for m in self.tree.members.values()
            ]
            channel.send_value({"kind": "join", "info": self.info, "tracking": tracking, "members": below})
            welcome = channel.receive_value(trust.WELCOME_LIMIT)
            if "refused" in welcome:
                raise Refused(str(welcome["refused"]))
            link = Link(self.loop, self, welcome["name"], welcome["session"], bytes.fromhex(welcome["key"]))
            link.info = welcome["info"]
            self.set_hearts(welcome["frequency"], welcome["tolerance"])
            self.tree.rename_path(welcome["path"])
            self._up_address = (address, port, channel.peer_fingerprint())
            self.up = link
            channel.send_value({"ready": True})
            link.attach(channel, 0)
            undo.pop_all()
        self._tell_path()
        return welcome

    def _tell_path(self) -> None:
        """Who hung on this executor before it joined learns where it stands now, and the grid's two heart values."""
        told = {"path": self.tree.path, "frequency": self.frequency, "tolerance": self.tolerance}
        for child in list(self._children.values()):
            self.control(child, "path", told)

    # --- hearts, cuts and losses -------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        self.listener.expire(now)
        if self.ending:
            return
        beat = min(self.frequency, self.tolerance / 4)
        # Silence counts only while this process listened: a function may have held the interpreter meanwhile.
        deaf = now - self._ticked - 2 * self.loop.interval
        self._ticked = now
        bridged = self.bridges.links()
        for link in [*self.links(), *bridged]:
            if deaf > 0:
                link.last_heard = min(now, link.last_heard + deaf + 2 * self.loop.interval)
            if link.state == "up":
                link.beat(now, beat)
            if link.is_paused and link.state == "up":
                link.last_heard = now  # what it says is not read; that ends when whom it waits for reads, or is lost
            silent = now - max(link.last_heard, self._vouched.get(link.session, 0.0))
            # A cut right after a resumption is met while that one's thread still ends; then it is begun here.
            if link is self.up and (link.state == "down" or (link.state == "up" and silent > 2.5 * beat)):
                self._resume()
            elif link.state == "down" and link not in bridged:
                self._probe(link)
            if silent > self.tolerance:
                if link in bridged:
                    self.bridges.broken(link, f"it was silent for {self.tolerance:g} s")
                elif link.state == "up" and runs_here(link.info):
                    link.last_heard = now  # it holds its interpreter; a stopped or dead one does not run
                elif link is self.up:
                    self._orphan(f"{link.name} was not heard for {self.tolerance:g} s", purpose=False)
                else:
                    self._lose(link, f"it was not heard for {self.tolerance:g} s", purpose=False)

    def _resume(self) -> None:
        """Calls the upgrid again, in a thread, until it answers, refuses or was silent for too long."""
        if not self._resuming and not self.ending:
            self._resuming = True
            threading.Thread(target=self._resume_now, name="softgrid resume", daemon=True).start()

    def _resume_now(self) -> None:
        link = self.up
        assert link is not None
        try:
            while not self.ending and link.state != "lost":
                try:
                    self._call_again(link)
                    return
                except (ConnectionRefusedError, Refused) as exc:
                    if link.state == "up":
                        return
                    self.loop.call_soon(self._orphan, f"{link.name} is gone ({exc})", False)
                    return
                except (OSError, ssl.SSLError):
                    time.sleep(_RECONNECT_PAUSE)
                if link.state == "up" and time.monotonic() - link.last_heard < self.frequency:
                    return
        finally:
            self._resuming = False

    def _call_again(self, link: Link) -> None:
        address, port, pinned = self._up_address
        timeout = max(0.5, min(5.0, self.tolerance / 4))
        with contextlib.ExitStack() as undo:
            sock = socket.create_connection((address, port), timeout=timeout)
            undo.callback(sock.close)
            channel = trust.call(sock, f"session:{link.session}", link.key, pinned)
            # What the old connection still holds must not come after the number that is told here.
            link.detach()
            channel.send_value({"kind": "resume", "received": link.received_number})
            answer = channel.receive_value(trust.WELCOME_LIMIT)
            if "refused" in answer:
                raise Refused(str(answer["refused"]))
            link.attach(channel, int(answer["received"]))
            undo.pop_all()

    def _probe(self, link: Link) -> None:
        """Asks the machine of a child whose connection broke whether the child still runs."""
        if link.session in self._probing:
            return
        self._probing.add(link.session)
        threading.Thread(target=self._probe_now, args=(link,), name="softgrid probe", daemon=True).start()

    def _probe_now(self, link: Link) -> None:
        try:
            while link.state == "down" and not self.ending:
                if is_gone(link.info):
                    self.loop.call_soon(self._lose, link, "its process ended", False)
                    return
                time.sleep(_RECONNECT_PAUSE)
        finally:
            self._probing.discard(link.session)

    def _hear_voucher(self, channel: Channel, link: Link) -> None:
        """The guardian of an executor that cannot answer says that it runs."""
        with contextlib.suppress(Refused, OSError, ssl.SSLError):
            channel.send_value({"welcome": True})
            channel.sock.settimeout(self.tolerance)
            while link.state != "lost" and channel.receive_value(trust.GREETING_LIMIT).get("runs"):
                self._vouched[link.session] = time.monotonic()
        channel.sock.close()

    def lose(self, name: str, reason: str, purpose: bool) -> None:
        """Gives up a child; from any thread."""
        link = self._children.get(name)
        if link is not None:
            self.loop.call_soon(self._lose, link, reason, purpose)

    def _lose(self, link: Link, reason: str, purpose: bool) -> None:
        if self._children.get(link.name) is not link:
            link.lose()
            return
        del self._children[link.name]
        link.lose()
        self._sessions.pop(link.session, None)
        self._vouched.pop(link.session, None)
        gone = self.tree.remove(link.name)
        told = f"{link.name} was lost: {reason}."
        # The news goes before the failed answers, so that whoever gets one no longer finds the name in a list.
        self._announce_gone(gone, reason, purpose, direct=True)
        for (sender, number), receiver in self._passing.pop(link, {}).items():
            self._fail(sender, number, receiver, f"{receiver} cannot answer. {told}")
        for number, pending in list(self._pending.items()):
            if pending.way is link:
                error = f"{pending.receiver} cannot answer. {told}"
                self.settle(number, Answer({"s": pending.receiver}, [], error))

    def _announce_gone(self, gone: list[Member], reason: str, purpose: bool, direct: bool) -> None:
        if not gone:
            return
        if self.up is not None:
            names = [member.name for member in gone]
            for start in range(0, len(names), _TOLD_AT_ONCE):
                part = names[start : start + _TOLD_AT_ONCE]
                self.control(self.up, "gone", {"names": part, "reason": reason, "purpose": purpose})
        lost = {member.name for member in gone}
        for passing in list(self._passing.values()):
            for key in [key for key in passing if key[0] in lost]:
                del passing[key]
        self.handler.on_gone(gone, reason, purpose, direct)

    def _arriving(self) -> dict[str, int]:
        """Bytes that have not come of each answer under way in chunks, by what it answers."""
        links = [*self.links(), *self.bridges.links()]
        return {
            str(header.get("i")): missing
            for link in links
            for header, missing in link.arriving()
            if header.get("k") == "r"
        }

    def _give_up(self, link: Link, numbers: list[str], reason: str, before: dict[str, int]) -> None:
        """Settles what lost executors owe and the branch they hung on did not answer; what still comes may come."""
        arriving = self._arriving()
        coming = []
        for number in numbers:
            pending = self._pending.get(number)
            if pending is None:
                continue
            if link.state == "down" or arriving.get(number) != before.get(number):
                coming.append(number)
            else:
                error = f"{pending.receiver} cannot answer. It was lost: {reason}."
                self.settle(number, Answer({"s": pending.receiver}, [], error))
        if coming:
            self.loop.call_later(self.tolerance, self._give_up, link, coming, reason, arriving)

    def lose_bridged(self, name: str, reason: str) -> None:
        """The tree says that the end of a bridge is lost: so are the answers to what went by it and arrived."""
        for number, pending in list(self._pending.items()):
            way = pending.way
            if way is not None and way.name == name and way is not self.up and way not in self._children.values():
                error = f"{pending.receiver} cannot answer. {reason}"
                self.settle(number, Answer({"s": pending.receiver}, [], error))

    def _orphan(self, reason: str, purpose: bool) -> None:
        if self.ending or self.up is None:
            return
        self.ending = True
        self.up.lose()
        self.fail_all(f"The upgrid was lost: {reason}.")
        self.handler.on_orphaned(reason, purpose)

    def fail_all(self, reason: str) -> None:
        for number, pending in list(self._pending.items()):
            self.settle(number, Answer({"s": pending.receiver}, [], reason))

    # --- ending ------------------------------------------------------------------------------------------

    def say_goodbye(self, why: str) -> None:
        """Hands the kernel the news that this executor ends on purpose; waits for nobody."""
        for link in [*self.links(), *self.bridges.links()]:
            link.bye({"why": why})

    def abandon(self) -> None:
        """In a forked process: closes its copies of the sockets and forgets everybody, without a word to them."""
        self.ending = True
        self.listener.abandon()
        for link in [*self.links(), *self.bridges.links()]:
            link.abandon()
        self.bridges = Bridges(self)
        self._children, self._sessions, self._passing, self._pending = {}, {}, {}, {}
        self.up = None
        self.tree = Tree(self.name)
        self._lock = threading.Lock()  # a thread that is not here may have held it
        self.loop.abandon()

    def end(self, why: str, timeout: float) -> list[Link]:
        """Says goodbye to all neighbours and stops; returns the children. May be called twice."""
        self.ending = True
        links = [*self.links(), *self.bridges.links()]
        until = time.monotonic() + timeout
        self.say_goodbye(why)
        for link in links:
            link.wait_sent(max(0.0, until - time.monotonic()))
        children = list(self._children.values())
        self.listener.close()
        for link in links:
            link.lose()
        self.fail_all(f"The executor ended: {why}.")
        self.loop.stop()
        return children


def _numbers(header: dict[str, Any]) -> list[tuple[str, str]]:
    """The (id, receiver) pairs that answer a request: one, or one for each it bounces to."""
    bounce = header.get("b")
    if bounce:
        return [(f"{header['i']}{BOUNCED}{receiver}", receiver) for receiver in bounce]
    return [(header["i"], header["d"])]


TRANSPORTS: dict[str, type[Node]] = {"multiprocessing": Node}
"""What the rule `transport_implementation` may name; another one is entered here on every machine of its grid."""
