"""A neighbour: what goes to it and comes from it, whatever connection there is.

A `Link` is what stands between two neighbours for as long as both belong to the grid; beneath it one TCP connection
may replace another after a cut. Frames are numbered, kept until the neighbour has them and sent again on the next
connection, so that nothing is lost and nothing arrives twice.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from .. import wire
from ..trust import Channel
from ..wire import Buffer, Segment
from .loop import ACK_PAUSE, Loop
from .memory import memory
from .outbox import Outbox, OutStream, Ticket, urgency

QUEUE_LIMIT = 16 * 1024 * 1024
"""Bytes of small messages that wait for a neighbour; then the sender waits, or nothing is read from whom they come."""

LARGE_LIMIT = 256 * 1024 * 1024
"""Bytes of large messages that bounce to a neighbour; then nothing is read from whom they come."""

ACK_AFTER = 256 * 1024
READ_SIZE = 256 * 1024
_CREDIT_STEP = wire.STREAM_WINDOW // 4
_COUNT = struct.Struct("<Q")


class LinkLost(ConnectionError):
    """The neighbour does not belong to the grid any more."""


class Owner(Protocol):
    """What a link asks of the executor; all of it is called on the loop's thread and must not block."""

    def route(self, link: Link, header: dict[str, Any]) -> Link | None:
        """The link that a message goes on by; None if it is for this executor. Raises LinkLost if it has no way."""

    def received(self, link: Link, header: dict[str, Any], segments: list[Segment]) -> None: ...
    def undeliverable(self, link: Link, header: dict[str, Any], reason: str) -> None: ...
    def refused(self, link: Link, header: dict[str, Any], reason: str) -> None: ...
    def truncated(self, link: Link, header: dict[str, Any]) -> None: ...
    def broken(self, link: Link, reason: str) -> None: ...
    def left(self, link: Link, why: dict[str, Any]) -> None: ...
    def tick(self, now: float) -> None: ...


class _InStream:
    """A message on its way in: the memory it fills, or the stream it goes on by."""

    __slots__ = ("header", "index", "lengths", "offset", "onward", "remaining", "segments", "spoiled", "uncredited")

    def __init__(self, header: dict[str, Any], lengths: list[int]):
        self.header = header
        self.lengths = lengths
        self.remaining = sum(lengths)
        self.segments: list[memoryview] = []
        self.onward: tuple[Link, int] | None = None
        self.index = 0
        self.offset = 0
        self.uncredited = 0
        self.spoiled = False  # a chunk came that has no place in it


class Link:
    """A neighbour. Every method may be called from any thread unless it says otherwise."""

    def __init__(self, loop: Loop, owner: Owner, name: str, session: str, key: bytes):
        self.loop = loop
        self.owner = owner
        self.name = name
        self.session = session
        self.key = key
        self.info: dict[str, Any] = {}
        self.state = "down"  # up, down (a cut; may be resumed), lost
        self.last_heard = self.last_sent = self.down_since = time.monotonic()
        self.connections = 0
        self._lock = threading.RLock()
        self._room = threading.Condition(self._lock)
        self._channel: Channel | None = None
        self._bytes: memoryview | None = None  # encrypted, waiting for the socket
        self._events = 0
        self._outbox = Outbox(self._tell_passed_on)
        self._received = 0
        self._owed = 0
        self._owed_at = 0.0
        self._ack_now = False
        self._incoming: dict[int, _InStream] = {}
        self._head = memoryview(bytearray(wire.HEAD.size))
        self._target: memoryview = self._head
        self._filled = 0
        self._frame: tuple[int, int, int, int, int] | None = None
        self._paused = False
        self._feeders: set[Link] = set()

    # --- sending -----------------------------------------------------------------------------------------

    def send(
        self,
        header: dict[str, Any],
        segments: list[Segment],
        priority: float = 1.0,
        block: bool = True,
        flush: bool = True,
        ticket: Ticket | None = None,
    ) -> Ticket | None:
        """Queues a message; returns a ticket for one that goes in chunks. Waits for room only with `block`.

        Raises LinkLost. The buffers of a big message must not change before its ticket is settled. A `ticket` that is
        given is settled for a small message too.
        """
        size = wire.size_of(segments)
        if size <= wire.INLINE_LIMIT:
            self.send_packed(wire.pack_opening(header, segments, inline=True), block, flush, ticket)
            return None
        opening = wire.pack_opening(header, segments, inline=False)
        ticket = Ticket() if ticket is None else ticket
        stream = OutStream(header, opening, priority, ticket)
        for segment in segments:
            for piece in segment.pieces if isinstance(segment, wire.Pieces) else (segment,):
                view = memoryview(piece)
                if view.nbytes:
                    view = view.cast("B") if view.ndim != 1 or view.format != "B" else view
                    stream.pieces.extend(view[at : at + wire.CHUNK] for at in range(0, len(view), wire.CHUNK))
        stream.ended = True
        with self._lock:
            self._check()
            self._outbox.add(stream)
            # The opening is sent here, so that what follows in this thread finds it under way.
            self._flush(bulk=False)
        return ticket

    def send_packed(
        self, payload: Buffer, block: bool = True, flush: bool = True, ticket: Ticket | None = None
    ) -> None:
        """Queues a whole first frame as it came or was packed."""
        with self._lock:
            self._check()
            while block and self._outbox.ready_bytes > QUEUE_LIMIT and not self.loop.is_current():
                self._flush(bulk=False)
                if self._outbox.ready_bytes > QUEUE_LIMIT:
                    self._room.wait(1.0)
                self._check()
            self._outbox.put(wire.FIRST, wire.INLINE | wire.LAST, 0, payload, ticket)
            if flush or self._outbox.ready_bytes > 64 * 1024:
                self._flush(bulk=False)

    def flush(self) -> None:
        with self._lock:
            self._flush(bulk=False)

    def bye(self, why: dict[str, Any]) -> None:
        """Tells the neighbour that this connection ends on purpose."""
        with contextlib.suppress(LinkLost), self._lock:
            self._check()
            self._outbox.put(wire.BYE, 0, 0, wire.pack_opening(why, [], inline=True))
            self._flush(bulk=False)

    def wait_sent(self, timeout: float) -> bool:
        """Whether all that was queued is acknowledged within `timeout` seconds."""
        until = time.monotonic() + timeout
        with self._lock:
            while self._outbox.is_waiting:
                left = until - time.monotonic()
                if self.state != "up" or left <= 0:
                    return False
                self._room.wait(min(left, 0.05))
        return True

    @property
    def queued_bytes(self) -> int:
        """Bytes in memory for this neighbour: waiting, or sent and not acknowledged."""
        return self._outbox.ready_bytes + self._outbox.sent_bytes + self._outbox.large_bytes(relayed=True)

    def _check(self) -> None:
        if self.state == "lost":
            raise LinkLost(f"{self.name} does not belong to the grid any more.")

    def _flush(self, bulk: bool) -> None:
        """Writes what the socket takes; chunks only with `bulk`, which only the loop says."""
        channel = self._channel
        if channel is None:
            return
        try:
            while True:
                if self._bytes is None:
                    self._bytes = self._encrypt(channel, bulk)
                    if self._bytes is None:
                        break
                try:
                    count = channel.sock.send(self._bytes)
                except BlockingIOError:
                    break
                self.last_sent = time.monotonic()
                self._bytes = self._bytes[count:] if count < len(self._bytes) else None
                if bulk and self._bytes is None:
                    break  # back to the loop, which reads between two chunks
        except (OSError, ssl.SSLError) as exc:
            self.loop.call_soon(self.drop, channel, f"writing failed: {exc}")
            return
        if self._wants_to_write != bool(self._events & selectors.EVENT_WRITE):
            self.loop.call_soon(self._watch)
        if self._outbox.ready_bytes < QUEUE_LIMIT // 2:
            self._room.notify_all()
            if self._feeders and self._outbox.large_bytes(relayed=False) <= LARGE_LIMIT:
                feeders, self._feeders = self._feeders, set()
                for feeder in feeders:
                    self.loop.call_soon(feeder._unpause)

    @property
    def _wants_to_write(self) -> bool:
        return self._bytes is not None or self._outbox.has_next

    def _encrypt(self, channel: Channel, bulk: bool) -> memoryview | None:
        """The next bytes for the socket."""
        write = channel.tls.write
        if not self._outbox.write_next(write, self._received, bulk):
            if not self._ack_now:
                return None
            write(wire.HEAD.pack(wire.ACK, 0, 0, 0, 0, 0, self._received))
        self._owed = 0
        self._ack_now = False
        return memoryview(channel.outgoing.read())

    def _tell_passed_on(self, relayed: tuple[Link, int], count: int) -> None:
        link, stream = relayed
        self.loop.call_soon(link._passed_on, stream, count)

    def _acknowledge(self, number: int) -> None:
        if self._outbox.acknowledge(number):
            self._room.notify_all()

    # --- receiving, on the loop's thread -----------------------------------------------------------------

    def readable(self) -> None:
        channel = self._channel
        if channel is None:
            return
        try:
            data = channel.sock.recv(READ_SIZE)
        except BlockingIOError:
            return
        except OSError as exc:
            self.drop(channel, f"reading failed: {exc}")
            return
        if not data:
            self.drop(channel, "the other side closed the connection")
            return
        self.last_heard = time.monotonic()
        arrived: list[Callable[[], None]] = []
        try:
            with self._lock:
                channel.incoming.write(data)
                self._read_frames(channel, arrived)
        except (wire.WireError, ssl.SSLError, struct.error) as exc:
            self.drop(channel, f"what came is no message: {exc}")
        for act in arrived:
            self.loop.guarded(act)
        with self._lock:
            if self._owed >= ACK_AFTER:
                self._ack_now = True
            if self._ack_now or self._outbox.has_new:
                self._flush(bulk=False)
            if self._owed:
                self.loop.owing.add(self)

    def _read_frames(self, channel: Channel, arrived: list[Callable[[], None]]) -> None:
        read = channel.tls.read
        while self._channel is channel:
            missing = len(self._target) - self._filled
            if missing:
                try:
                    count = read(missing, self._target[self._filled :])
                except ssl.SSLWantReadError:
                    return
                if not count:
                    return
                self._filled += count  # type: ignore[operator]
                if count != missing:
                    continue
            if self._frame is None:
                kind, flags, _, stream, length, seq, ack = wire.HEAD.unpack(self._head)
                self._frame = (kind, flags, stream, length, seq)
                self._acknowledge(ack)
                self._target = self._place(kind, stream, length, seq)
                self._filled = 0
                if length:
                    continue
            frame, payload = self._frame, self._target
            self._frame = None
            self._target = self._head
            self._filled = 0
            self._take(frame, payload, arrived)

    def _place(self, kind: int, stream: int, length: int, seq: int) -> memoryview:
        """The memory that a frame's payload goes to."""
        if kind == wire.MORE and length <= wire.CHUNK and seq > self._received:
            incoming = self._incoming.get(stream)
            if incoming is not None and incoming.onward is None:
                while incoming.index < len(incoming.segments):
                    segment = incoming.segments[incoming.index]
                    if incoming.offset < len(segment):
                        if incoming.offset + length <= len(segment):
                            return segment[incoming.offset : incoming.offset + length]
                        break
                    incoming.index, incoming.offset = incoming.index + 1, 0
                incoming.spoiled = True
        if length > wire.FRAME_LIMIT:
            raise wire.WireError(f"A frame of {length} bytes is too long.")
        return memoryview(bytearray(length))

    def _take(self, frame: tuple[int, int, int, int, int], payload: memoryview, arrived: list) -> None:
        kind, flags, stream, length, seq = frame
        if kind not in wire.SEQUENCED:
            return
        if seq <= self._received:
            return  # sent again after a cut, and it had arrived
        if seq != self._received + 1:
            raise wire.WireError("A frame is missing.")
        self._received = seq
        if not self._owed:
            self._owed_at = time.monotonic()
        self._owed += length + wire.HEAD.size
        if kind == wire.FIRST:
            opening = wire.unpack_opening(payload)
            if flags & wire.INLINE:
                arrived.append(lambda: self._whole(opening, payload))
            else:
                self._begin(stream, opening)
        elif kind == wire.MORE:
            self._chunk(stream, length, payload, bool(flags & wire.LAST), arrived)
        elif kind == wire.CREDIT:
            out = self._outbox.streams.get(stream)
            if out is not None:
                out.credit += _COUNT.unpack(payload)[0]
        elif kind == wire.RESET:
            gone = self._incoming.pop(stream, None)
            if gone is not None and gone.onward is not None:
                link, number = gone.onward
                arrived.append(lambda: link._abort(number))
            elif gone is not None:
                header = gone.header
                arrived.append(lambda: self.owner.truncated(self, header))
        elif kind == wire.REFUSE:
            unwanted = self._outbox.streams.pop(stream, None)
            if unwanted is not None:
                if unwanted.ticket is not None:
                    unwanted.ticket.settle()  # the answer says why
                if unwanted.relayed is not None:
                    feeder, number = unwanted.relayed
                    arrived.append(lambda: feeder._refuse(number))
        elif kind == wire.BYE:
            why = wire.unpack_opening(payload).header
            arrived.append(lambda: self.owner.left(self, why))

    def _whole(self, opening: wire.Opening, payload: memoryview) -> None:
        onward = self._route(opening.header)
        if onward is None:
            return
        if onward is self:
            self.owner.received(self, opening.header, wire.inline_segments(payload, opening))
            return
        try:
            if "*" in opening.header:  # the way in the header was shortened here
                del opening.header["*"]
                segments = wire.inline_segments(payload, opening)
                payload = memoryview(wire.pack_opening(opening.header, segments, inline=True))
            onward.send_packed(payload, block=False)
        except LinkLost as exc:
            self.owner.undeliverable(self, opening.header, str(exc))
            return
        if onward._outbox.ready_bytes > QUEUE_LIMIT:
            self._pause_for(onward)

    def _route(self, header: dict[str, Any]) -> Link | None:
        """The link onward, this link itself for a message to this executor, None if it could go nowhere."""
        try:
            return self.owner.route(self, header) or self
        except LinkLost as exc:
            self.owner.undeliverable(self, header, str(exc))
            return None

    def _begin(self, stream: int, opening: wire.Opening) -> None:
        """A message in chunks begins. Its header goes on before the rest has come."""
        incoming = _InStream(opening.header, opening.lengths)
        if incoming.remaining > wire.MESSAGE_LIMIT:
            self._outbox.put(wire.REFUSE, 0, stream, b"")
            reason = f"a message of {incoming.remaining} bytes is refused, {wire.MESSAGE_LIMIT} are allowed"
            self.loop.call_soon(self.owner.refused, self, opening.header, reason)
            return
        onward = self._route(opening.header)
        if onward is None:
            self._outbox.put(wire.REFUSE, 0, stream, b"")
            return
        if onward is self:
            try:
                incoming.segments = [memory.take(length) for length in opening.lengths]
            except (MemoryError, OSError, ValueError):
                self._outbox.put(wire.REFUSE, 0, stream, b"")
                reason = f"there is no memory for a message of {incoming.remaining} bytes"
                self.loop.call_soon(self.owner.refused, self, opening.header, reason)
                return
        else:
            opening.header.pop("*", None)
            text = wire.pack_opening(opening.header, [b""] * len(opening.lengths), inline=False)
            start = 8 + 8 * len(opening.lengths)
            text = text[:8] + struct.pack(f"<{len(opening.lengths)}Q", *opening.lengths) + text[start:]
            out = OutStream(opening.header, text, urgency(opening.header.get("p")), None)
            out.relayed = (self, stream)
            # Two links' locks are never held at once but here and for a chunk, always by the loop's own thread.
            with onward._lock:
                if onward.state == "lost":
                    self._outbox.put(wire.REFUSE, 0, stream, b"")
                    return
                incoming.onward = (onward, onward._outbox.add(out))
            self.loop.call_soon(onward.flush)
        self._incoming[stream] = incoming

    def _chunk(self, stream: int, length: int, payload: memoryview, last: bool, arrived: list) -> None:
        incoming = self._incoming.get(stream)
        if incoming is None:
            return  # refused before; what was under way is thrown away
        incoming.remaining -= length
        if incoming.spoiled or incoming.remaining < 0 or (incoming.remaining == 0) != last:
            self._spoil(stream, incoming, arrived)
            return
        if incoming.onward is not None:
            link, number = incoming.onward
            arrived.append(lambda: link._relay(number, payload, last))
        else:
            incoming.offset += length
            incoming.uncredited += length
            if incoming.uncredited >= _CREDIT_STEP and not last:
                self._outbox.put(wire.CREDIT, 0, stream, _COUNT.pack(incoming.uncredited))
                incoming.uncredited = 0
        if last:
            if incoming.onward is None:
                del self._incoming[stream]
                header, segments = incoming.header, list(incoming.segments)
                arrived.append(lambda: self.owner.received(self, header, segments))  # type: ignore[arg-type]
            self._ack_now = True

    def _spoil(self, stream: int, incoming: _InStream, arrived: list) -> None:
        """A message that is not as its header said fails alone and by name; what came of it is not kept waiting."""
        del self._incoming[stream]
        self._outbox.put(wire.REFUSE, 0, stream, b"")
        if incoming.onward is not None:
            link, number = incoming.onward
            arrived.append(lambda: link._abort(number))
        reason = f"a message from {self.name} is not as long as its header said"
        arrived.append(lambda: self.owner.refused(self, incoming.header, reason))

    def _relay(self, number: int, piece: memoryview, last: bool) -> None:
        with self._lock:
            stream = self._outbox.streams.get(number)
            if stream is None:
                return
            stream.pieces.append(piece)
            stream.ended = stream.ended or last
            if not self._events & selectors.EVENT_WRITE:
                self._watch()

    def _passed_on(self, stream: int, count: int) -> None:
        """A chunk of ours has left this executor by another link: its sender may send as much again."""
        with self._lock:
            incoming = self._incoming.get(stream)
            if incoming is None:
                return
            incoming.uncredited += count
            if incoming.remaining == 0:
                if incoming.onward is not None and incoming.onward[1] not in incoming.onward[0]._outbox.streams:
                    del self._incoming[stream]
            elif incoming.uncredited >= _CREDIT_STEP:
                self._outbox.put(wire.CREDIT, 0, stream, _COUNT.pack(incoming.uncredited))
                incoming.uncredited = 0
                self._flush(bulk=False)

    def _abort(self, number: int) -> None:
        with self._lock:
            if self._outbox.streams.pop(number, None) is not None:
                self._outbox.put(wire.RESET, 0, number, b"")
                self._flush(bulk=False)

    def _refuse(self, stream: int) -> None:
        with self._lock:
            if self._incoming.pop(stream, None) is not None:
                self._outbox.put(wire.REFUSE, 0, stream, b"")
                self._flush(bulk=False)

    def heed(self, onward: Link) -> None:
        """Reads no more from here while too much that bounced waits for `onward`; on the loop's thread."""
        if onward.state != "lost" and (
            onward._outbox.ready_bytes > QUEUE_LIMIT or onward._outbox.large_bytes(relayed=False) > LARGE_LIMIT
        ):
            self._pause_for(onward)

    def arriving(self) -> list[tuple[dict[str, Any], int]]:
        """(header, bytes that have not come) of every message to this executor that comes in chunks."""
        with self._lock:
            return [(item.header, item.remaining) for item in self._incoming.values() if item.onward is None]

    def _pause_for(self, onward: Link) -> None:
        """Reads no more from here until `onward` has taken what waits for it."""
        with onward._lock:
            onward._feeders.add(self)
        self._paused = True
        self._watch()

    def _unpause(self) -> None:
        self._paused = False
        self.last_heard = time.monotonic()
        self._watch()

    # --- connections -------------------------------------------------------------------------------------

    @property
    def received_number(self) -> int:
        return self._received

    @property
    def is_paused(self) -> bool:
        """Whether nothing is read from the neighbour because another one takes nothing."""
        return self._paused

    def attach(self, channel: Channel, they_received: int) -> None:
        """Takes a new connection, greeted and proved; what the neighbour has not received goes again."""
        with self._lock:
            self._check()
            if self._channel is not None:
                self._release(self._channel)
            self._acknowledge(they_received)
            self._outbox.send_again()
            sock = channel.sock
            sock.settimeout(0)
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with contextlib.suppress(OSError, AttributeError):
                # What waits in the kernel cannot be overtaken by a smaller message; keep it short.
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, wire.CHUNK)
            self._channel = channel
            self._bytes = None
            self._target, self._filled, self._frame = self._head, 0, None
            self._paused = False
            self.connections += 1
            self.state = "up"
            self.last_heard = self.last_sent = time.monotonic()
            self._ack_now = True
        self.loop.call_soon(self._begin_reading)

    def _begin_reading(self) -> None:
        self._watch()
        # Bytes of the first frames may have come along with the greeting's last one.
        arrived: list[Callable[[], None]] = []
        with self._lock:
            channel = self._channel
            if channel is None:
                return
            try:
                self._read_frames(channel, arrived)
            except (wire.WireError, ssl.SSLError, struct.error) as exc:
                self.drop(channel, f"what came is no message: {exc}")
        for act in arrived:
            self.loop.guarded(act)
        self.flush()

    def _watch(self) -> None:
        """Tells the selector what this link waits for; on the loop's thread."""
        with self._lock:
            channel = self._channel
            if channel is None:
                return
            events = 0 if self._paused else selectors.EVENT_READ
            if self._wants_to_write:
                events |= selectors.EVENT_WRITE
            if events != self._events:
                self._events = events
                self.loop.watch(channel.sock, events, self)

    def writable(self) -> None:
        with self._lock:
            self._flush(bulk=True)
        self._watch()

    def drop(self, channel: Channel, reason: str) -> None:
        """Gives up a connection, not the link; on the loop's thread."""
        with self._lock:
            if self._channel is not channel:
                return
            self._release(channel)
            if self.state != "up":
                return
            self.state = "down"
            self.down_since = time.monotonic()
            self._room.notify_all()
        self.owner.broken(self, reason)

    def detach(self) -> None:
        """Gives up the connection so that another may follow."""
        with self._lock:
            if self._channel is not None:
                self._release(self._channel)
                self.state, self.down_since = "down", time.monotonic()

    def cut(self, reason: str) -> None:
        """Drops whatever connection there is, as if the network had."""
        channel = self._channel
        if channel is not None:
            self.loop.call_soon(self.drop, channel, reason)

    def lose(self) -> None:
        """The neighbour is gone: frees everything, fails every ticket, wakes every waiting sender."""
        with self._lock:
            if self.state == "lost":
                return
            self.state = "lost"
            if self._channel is not None:
                self._release(self._channel)
            tickets, relayed = self._outbox.clear()
            onward = [item.onward for item in self._incoming.values() if item.onward is not None]
            self._incoming.clear()
            feeders, self._feeders = self._feeders, set()
            self._room.notify_all()
        for ticket in tickets:
            if ticket is not None:
                ticket.settle(failed=True)
        for feeder in feeders:
            self.loop.call_soon(feeder._unpause)
        for link, stream in relayed:
            self.loop.call_soon(link._refuse, stream)
        for link, stream in onward:
            self.loop.call_soon(link._abort, stream)

    def abandon(self) -> None:
        """In a forked process: closes its copy of the connection, which goes on between the two that hold it."""
        channel, self._channel, self.state = self._channel, None, "lost"
        if channel is not None:
            channel.sock.close()

    def _release(self, channel: Channel) -> None:
        self._channel = None
        self._bytes = None
        self._events = 0
        self.loop.forget(channel.sock)

    def beat(self, now: float, frequency: float) -> None:
        """Sends what a silent line owes: an acknowledgement, or a sign of life every `frequency` seconds."""
        with self._lock:
            channel = self._channel
            if channel is None or self._bytes is not None:
                return
            if self._owed and now - self._owed_at >= ACK_PAUSE:
                self._ack_now = True
                self._flush(bulk=False)
            elif now - self.last_sent >= frequency:
                channel.tls.write(wire.HEAD.pack(wire.PING, 0, 0, 0, 0, 0, self._received))
                self._bytes = memoryview(channel.outgoing.read())
                self._flush(bulk=False)

    def pay(self, now: float) -> None:
        """Acknowledges what has waited for it; on the loop's thread."""
        if not self._owed or self.state != "up":
            self.loop.owing.discard(self)
        elif now - self._owed_at >= ACK_PAUSE:
            self.loop.owing.discard(self)
            self.beat(now, 1e9)
