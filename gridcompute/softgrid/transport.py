"""Connections between neighbours: the one module that moves bytes. `docs/softgrid/transport.md` has the reasons.

A `Link` is what stands between two neighbours for as long as both belong to the grid; beneath it one TCP connection
may replace another after a cut. Frames are numbered, kept until the neighbour has them and sent again on the next
connection, so that nothing is lost and nothing arrives twice. One thread, the `Loop`, reads and writes all links of
an executor; another thread that sends a small message writes it itself when the line is free.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import mmap
import selectors
import socket
import ssl
import struct
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from . import wire
from .trust import Channel, Identity, Refused, answer
from .wire import Buffer, Segment

WINDOW = 8 * 1024 * 1024
"""Bytes that are kept for a neighbour who has not acknowledged them; then nothing more is sent."""

QUEUE_LIMIT = 16 * 1024 * 1024
"""Bytes of small messages that wait for a neighbour; then the sender waits, or nothing is read from whom they come."""

LARGE_LIMIT = 256 * 1024 * 1024
"""Bytes of large messages that bounce to a neighbour; then nothing is read from whom they come."""

ACK_AFTER = 256 * 1024
ACK_PAUSE = 0.05
READ_SIZE = 256 * 1024
GREETING_TIMEOUT = 10.0
GREETINGS_AT_ONCE = 32
_CREDIT_STEP = wire.STREAM_WINDOW // 4
_MAP_FROM = 1024 * 1024
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


class Ticket:
    """Tells when a message has reached the neighbour, or that it never will."""

    def __init__(self) -> None:
        self._done = threading.Event()
        self.failed = False

    def settle(self, failed: bool = False) -> None:
        self.failed = self.failed or failed
        self._done.set()

    def wait(self, timeout: float | None = None) -> bool:
        return self._done.wait(timeout) and not self.failed


class _OutStream:
    """A message on its way out in chunks: its own segments, or what arrives for it from another link."""

    __slots__ = ("begun", "credit", "ended", "header", "opening", "pieces", "priority", "relayed", "ticket")

    def __init__(self, header: dict[str, Any], opening: bytes, priority: float, ticket: Ticket | None):
        self.header = header
        self.opening: bytes | None = opening
        self.pieces: deque[memoryview] = deque()
        self.begun = False  # its first frame has left the queue of small ones, no chunk overtakes it any more
        self.ended = False
        self.priority = priority
        self.credit = wire.STREAM_WINDOW
        self.ticket = ticket
        self.relayed: tuple[Link, int] | None = None


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


class _Sent:
    """A frame that the neighbour has not acknowledged."""

    __slots__ = ("flags", "kind", "payload", "seq", "size", "stream", "ticket")

    def __init__(self, seq: int, kind: int, flags: int, stream: int, payload: Buffer, ticket: Ticket | None):
        self.seq, self.kind, self.flags, self.stream, self.payload = seq, kind, flags, stream, payload
        self.size = len(payload) + wire.HEAD.size
        self.ticket = ticket


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
        self._ready: deque[tuple[int, int, int, Buffer, Ticket | None]] = deque()  # small frames, not yet numbered
        self._ready_bytes = 0
        self._resend: deque[_Sent] = deque()
        self._sent: deque[_Sent] = deque()
        self._sent_bytes = 0
        self._streams: dict[int, _OutStream] = {}
        self._turn = 0
        self._bulk_next = False
        self._next_stream = 1
        self._seq = 0
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
        stream = _OutStream(header, opening, priority, ticket)
        for segment in segments:
            for piece in segment.pieces if isinstance(segment, wire.Pieces) else (segment,):
                view = memoryview(piece)
                if view.nbytes:
                    view = view.cast("B") if view.ndim != 1 or view.format != "B" else view
                    stream.pieces.extend(view[at : at + wire.CHUNK] for at in range(0, len(view), wire.CHUNK))
        stream.ended = True
        with self._lock:
            self._check()
            self._add_stream(stream)
            # The opening is sent here, so that what follows in this thread finds it under way.
            self._flush(bulk=False)
        return ticket

    def send_packed(
        self, payload: Buffer, block: bool = True, flush: bool = True, ticket: Ticket | None = None
    ) -> None:
        """Queues a whole first frame as it came or was packed."""
        with self._lock:
            self._check()
            while block and self._ready_bytes > QUEUE_LIMIT and not self.loop.is_current():
                self._flush(bulk=False)
                if self._ready_bytes > QUEUE_LIMIT:
                    self._room.wait(1.0)
                self._check()
            self._put(wire.FIRST, wire.INLINE | wire.LAST, 0, payload, ticket)
            if flush or self._ready_bytes > 64 * 1024:
                self._flush(bulk=False)

    def flush(self) -> None:
        with self._lock:
            self._flush(bulk=False)

    def bye(self, why: dict[str, Any]) -> None:
        """Tells the neighbour that this connection ends on purpose."""
        with contextlib.suppress(LinkLost), self._lock:
            self._check()
            self._put(wire.BYE, 0, 0, wire.pack_opening(why, [], inline=True))
            self._flush(bulk=False)

    def wait_sent(self, timeout: float) -> bool:
        """Whether all that was queued is acknowledged within `timeout` seconds."""
        until = time.monotonic() + timeout
        with self._lock:
            while self._ready or self._sent or self._streams:
                left = until - time.monotonic()
                if self.state != "up" or left <= 0:
                    return False
                self._room.wait(min(left, 0.05))
        return True

    @property
    def queued_bytes(self) -> int:
        """Bytes in memory for this neighbour: waiting, or sent and not acknowledged."""
        return self._ready_bytes + self._sent_bytes + self._large_bytes(relayed=True)

    def _large_bytes(self, relayed: bool) -> int:
        """Bytes of large messages that are to go: such that pass by here, or this executor's own."""
        return sum(
            sum(len(piece) for piece in list(stream.pieces))
            for stream in list(self._streams.values())
            if (stream.relayed is not None) == relayed
        )

    def _check(self) -> None:
        if self.state == "lost":
            raise LinkLost(f"{self.name} does not belong to the grid any more.")

    def _put(self, kind: int, flags: int, stream: int, payload: Buffer, ticket: Ticket | None = None) -> None:
        self._ready.append((kind, flags, stream, payload, ticket))
        self._ready_bytes += len(payload) + wire.HEAD.size

    def _add_stream(self, stream: _OutStream) -> int:
        number = self._next_stream
        self._next_stream = number % 0xFFFFFFFF + 1
        self._streams[number] = stream
        opening, stream.opening = stream.opening, None
        assert opening is not None
        self._put(wire.FIRST, 0, number, opening)
        return number

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
        if self._wants_to_write() != bool(self._events & selectors.EVENT_WRITE):
            self.loop.call_soon(self._watch)
        if self._ready_bytes < QUEUE_LIMIT // 2:
            self._room.notify_all()
            if self._feeders and self._large_bytes(relayed=False) <= LARGE_LIMIT:
                feeders, self._feeders = self._feeders, set()
                for feeder in feeders:
                    self.loop.call_soon(feeder._unpause)

    def _wants_to_write(self) -> bool:
        return bool(
            self._bytes is not None or self._resend or (self._ready and self._sent_bytes < WINDOW) or self._has_chunk()
        )

    def _has_chunk(self) -> bool:
        if self._sent_bytes >= WINDOW:
            return False
        return any(stream.begun and stream.pieces and stream.credit > 0 for stream in self._streams.values())

    def _encrypt(self, channel: Channel, bulk: bool) -> memoryview | None:
        """The next bytes for the socket: a batch of small frames, or one chunk."""
        write = channel.tls.write
        wrote = False
        if self._resend:
            size = 0
            while self._resend and size < READ_SIZE:
                frame = self._resend.popleft()
                head = wire.HEAD.pack(
                    frame.kind, frame.flags, 0, frame.stream, len(frame.payload), frame.seq, self._received
                )
                write(head)
                if len(frame.payload):
                    write(frame.payload)
                size += frame.size
            wrote = True
        elif self._ready and self._sent_bytes < WINDOW and not (bulk and self._bulk_next and self._has_chunk()):
            parts: list[Buffer] = []
            size = 0
            while self._ready and size < 64 * 1024:
                kind, flags, stream, payload, ticket = self._ready.popleft()
                if kind == wire.FIRST and stream in self._streams:
                    self._streams[stream].begun = True
                parts.append(self._number(kind, flags, stream, payload, ticket))
                parts.append(payload)
                size += len(payload) + wire.HEAD.size
            self._ready_bytes -= size
            write(b"".join(parts))
            self._bulk_next = wrote = True
        elif bulk and (picked := self._pick_stream()) is not None:
            number, out = picked
            piece = out.pieces.popleft()
            last = out.ended and not out.pieces
            out.credit -= len(piece)
            head = self._number(wire.MORE, wire.LAST if last else 0, number, piece, out.ticket if last else None)
            # A numbered chunk goes out in any case, again after a cut if writing fails now.
            if last:
                del self._streams[number]
            if out.relayed is not None:
                self.loop.call_soon(out.relayed[0]._passed_on, out.relayed[1], len(piece))
            write(head)
            write(piece)
            self._bulk_next = False
            wrote = True
        elif self._ack_now:
            write(wire.HEAD.pack(wire.ACK, 0, 0, 0, 0, 0, self._received))
            wrote = True
        if not wrote:
            return None
        self._owed = 0
        self._ack_now = False
        return memoryview(channel.outgoing.read())

    def _pick_stream(self) -> tuple[int, _OutStream] | None:
        """The most urgent stream that may send; equals take turns."""
        if self._sent_bytes >= WINDOW:
            return None
        able = [
            (s.priority, n <= self._turn, n) for n, s in self._streams.items() if s.begun and s.pieces and s.credit > 0
        ]
        if not able:
            return None
        self._turn = min(able)[2]
        return self._turn, self._streams[self._turn]

    def _number(self, kind: int, flags: int, stream: int, payload: Buffer, ticket: Ticket | None) -> bytes:
        self._seq += 1
        frame = _Sent(self._seq, kind, flags, stream, payload, ticket)
        self._sent.append(frame)
        self._sent_bytes += frame.size
        return wire.HEAD.pack(kind, flags, 0, stream, len(payload), self._seq, self._received)

    def _acknowledge(self, number: int) -> None:
        sent = self._sent
        if not sent or sent[0].seq > number:
            return
        if number > self._seq:
            raise wire.WireError("The neighbour acknowledges what was never sent.")
        was_full = self._sent_bytes >= WINDOW
        while sent and sent[0].seq <= number:
            frame = sent.popleft()
            self._sent_bytes -= frame.size
            if frame.ticket is not None:
                frame.ticket.settle()
        if was_full or not sent:
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
            if self._ack_now or self._ready or self._streams:
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
            out = self._streams.get(stream)
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
            unwanted = self._streams.pop(stream, None)
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
        if onward._ready_bytes > QUEUE_LIMIT:
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
            self._put(wire.REFUSE, 0, stream, b"")
            reason = f"a message of {incoming.remaining} bytes is refused, {wire.MESSAGE_LIMIT} are allowed"
            self.loop.call_soon(self.owner.refused, self, opening.header, reason)
            return
        onward = self._route(opening.header)
        if onward is None:
            self._put(wire.REFUSE, 0, stream, b"")
            return
        if onward is self:
            try:
                incoming.segments = [memory.take(length) for length in opening.lengths]
            except (MemoryError, OSError, ValueError):
                self._put(wire.REFUSE, 0, stream, b"")
                reason = f"there is no memory for a message of {incoming.remaining} bytes"
                self.loop.call_soon(self.owner.refused, self, opening.header, reason)
                return
        else:
            opening.header.pop("*", None)
            text = wire.pack_opening(opening.header, [b""] * len(opening.lengths), inline=False)
            start = 8 + 8 * len(opening.lengths)
            text = text[:8] + struct.pack(f"<{len(opening.lengths)}Q", *opening.lengths) + text[start:]
            out = _OutStream(opening.header, text, urgency(opening.header.get("p")), None)
            out.relayed = (self, stream)
            # Two links' locks are never held at once but here and for a chunk, always by the loop's own thread.
            with onward._lock:
                if onward.state == "lost":
                    self._put(wire.REFUSE, 0, stream, b"")
                    return
                incoming.onward = (onward, onward._add_stream(out))
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
                self._put(wire.CREDIT, 0, stream, _COUNT.pack(incoming.uncredited))
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
        self._put(wire.REFUSE, 0, stream, b"")
        if incoming.onward is not None:
            link, number = incoming.onward
            arrived.append(lambda: link._abort(number))
        reason = f"a message from {self.name} is not as long as its header said"
        arrived.append(lambda: self.owner.refused(self, incoming.header, reason))

    def _relay(self, number: int, piece: memoryview, last: bool) -> None:
        with self._lock:
            stream = self._streams.get(number)
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
                if incoming.onward is not None and incoming.onward[1] not in incoming.onward[0]._streams:
                    del self._incoming[stream]
            elif incoming.uncredited >= _CREDIT_STEP:
                self._put(wire.CREDIT, 0, stream, _COUNT.pack(incoming.uncredited))
                incoming.uncredited = 0
                self._flush(bulk=False)

    def _abort(self, number: int) -> None:
        with self._lock:
            if self._streams.pop(number, None) is not None:
                self._put(wire.RESET, 0, number, b"")
                self._flush(bulk=False)

    def _refuse(self, stream: int) -> None:
        with self._lock:
            if self._incoming.pop(stream, None) is not None:
                self._put(wire.REFUSE, 0, stream, b"")
                self._flush(bulk=False)

    def heed(self, onward: Link) -> None:
        """Reads no more from here while too much that bounced waits for `onward`; on the loop's thread."""
        if onward.state != "lost" and (
            onward._ready_bytes > QUEUE_LIMIT or onward._large_bytes(relayed=False) > LARGE_LIMIT
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
            self._resend = deque(self._sent)
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
            if self._wants_to_write():
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
            tickets = [frame.ticket for frame in self._sent] + [out.ticket for out in self._streams.values()]
            relayed = [out.relayed for out in self._streams.values() if out.relayed is not None]
            onward = [item.onward for item in self._incoming.values() if item.onward is not None]
            for waiting in (self._ready, self._resend, self._sent, self._streams, self._incoming):
                waiting.clear()
            self._ready_bytes = self._sent_bytes = 0
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


class _Memory:
    """Writable memory for what arrives. Large pieces are mapped, and taken again once nobody holds them.

    The first touch of fresh memory costs as much as decrypting what goes there; a grid that passes arrays to and fro
    pays it once. What nobody took for some seconds goes back to the system.
    """

    KEPT = 512 * 1024 * 1024
    SECONDS = 5.0

    def __init__(self) -> None:
        self._maps: list[tuple[mmap.mmap, float]] = []
        self._lock = threading.Lock()

    def take(self, length: int) -> memoryview:
        if length < _MAP_FROM:
            return memoryview(bytearray(length))
        with self._lock:
            for index, (known, _) in enumerate(self._maps):
                # Every view of a map holds a reference to it; one more than when idle is somebody who still reads.
                if length <= len(known) <= 2 * length and sys.getrefcount(known) <= _IDLE_REFERENCES:
                    self._maps[index] = (known, time.monotonic())
                    return memoryview(known)[:length]
            fresh = mmap.mmap(-1, length)
            if sum(len(known) for known, _ in self._maps) + length <= self.KEPT:
                self._maps.append((fresh, time.monotonic()))
        return memoryview(fresh)[:length]

    def expire(self, now: float) -> None:
        """Forgets what has not been taken for a while; whoever still reads it keeps it alive."""
        if self._maps:
            with self._lock:
                self._maps = [item for item in self._maps if now - item[1] < self.SECONDS]


def _references_when_idle() -> int:
    """What `sys.getrefcount` says in `take` of a map that only its list holds; it differs between Pythons."""
    maps = [(mmap.mmap(-1, mmap.PAGESIZE), 0.0)]
    for _, (known, _) in enumerate(maps):
        return sys.getrefcount(known)
    raise AssertionError


_IDLE_REFERENCES = _references_when_idle()
memory = _Memory()


class Debtor(Protocol):
    """What owes an acknowledgement; called on the loop's thread until it takes itself from `Loop.owing`."""

    def pay(self, now: float) -> None: ...


class Loop:
    """The one thread that waits for all sockets of an executor."""

    def __init__(self, name: str):
        self.owing: set[Debtor] = set()
        self.interval = 0.5
        self._selector = selectors.DefaultSelector()
        self._calls: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._bell_in, self._bell_out = socket.socketpair()
        self._bell_in.setblocking(False)
        self._bell_out.setblocking(False)
        self._selector.register(self._bell_in, selectors.EVENT_READ, None)
        self._later: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._later_lock = threading.Lock()
        self._numbers = itertools.count()
        self._stopping = False
        self._ticks: list[Callable[[float], None]] = []
        self._asleep = False
        self.complain: Callable[[str], Any] = sys.stderr.write
        self._thread = threading.Thread(target=self._run, name=f"softgrid {name}", daemon=True)
        self._thread.start()

    def is_current(self) -> bool:
        return threading.current_thread() is self._thread

    def on_tick(self, tick: Callable[[float], None]) -> None:
        self._ticks.append(tick)

    def call_soon(self, function: Callable[..., None], *args: Any) -> None:
        """Runs a function on the loop's thread, in order."""
        self._calls.append((function, args))
        if self._asleep and not self.is_current():
            with contextlib.suppress(OSError):
                self._bell_out.send(b"!")

    def call_later(self, pause: float, function: Callable[..., None], *args: Any) -> None:
        """Runs a function on the loop's thread after `pause` seconds or soon after."""
        with self._later_lock:
            heapq.heappush(self._later, (time.monotonic() + pause, next(self._numbers), function, args))
        self.call_soon(_nothing)

    def watch(self, sock: socket.socket, events: int, target: Any) -> None:
        """On the loop's thread."""
        with contextlib.suppress(ValueError, OSError):
            known = sock in self._selector.get_map()
            if not events:
                if known:
                    self._selector.unregister(sock)
            elif known:
                self._selector.modify(sock, events, target)
            else:
                self._selector.register(sock, events, target)

    def forget(self, sock: socket.socket) -> None:
        """Closes a socket, on the loop's thread or not."""
        if self.is_current():
            self._close(sock)
        else:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            self.call_soon(self._close, sock)

    def _close(self, sock: socket.socket) -> None:
        with contextlib.suppress(KeyError, ValueError, OSError):
            self._selector.unregister(sock)
        with contextlib.suppress(OSError):
            sock.close()

    def stop(self) -> None:
        """Ends the thread and closes every socket that it watched; may be called twice."""
        self._stopping = True
        with contextlib.suppress(OSError):
            self._bell_out.send(b"!")
        if not self.is_current():
            self._thread.join(5.0)

    def _run(self) -> None:
        next_tick = 0.0
        try:
            while not self._stopping:
                now = time.monotonic()
                if now >= next_tick:
                    next_tick = now + self.interval
                    memory.expire(now)
                    for tick in self._ticks:
                        self.guarded(tick, now)
                self._asleep = True
                due = self._later[0][0] if self._later else next_tick
                wait = 0.0 if self._calls else max(0.0, min(next_tick, due) - now)
                ready = self._selector.select(min(wait, ACK_PAUSE / 2) if self.owing else wait)
                self._asleep = False
                for key, events in ready:
                    if key.data is None:
                        with contextlib.suppress(OSError):
                            self._bell_in.recv(4096)
                        continue
                    if events & selectors.EVENT_READ:
                        self.guarded(key.data.readable)
                    if events & selectors.EVENT_WRITE:
                        self.guarded(key.data.writable)
                for _ in range(len(self._calls)):
                    function, args = self._calls.popleft()
                    self.guarded(function, *args)
                while self._later and self._later[0][0] <= time.monotonic():
                    with self._later_lock:
                        _, _, function, args = heapq.heappop(self._later)
                    self.guarded(function, *args)
                if self.owing:
                    now = time.monotonic()
                    for debtor in list(self.owing):
                        self.guarded(debtor.pay, now)
        finally:
            for key in list(self._selector.get_map().values()):
                self._close(key.fileobj)  # type: ignore[arg-type]
            self._selector.close()
            self._bell_in.close()
            self._bell_out.close()

    def guarded(self, function: Callable[..., None], *args: Any) -> None:
        """A mistake in one message's handling must not end the thread that serves all, nor cost the next message."""
        try:
            function(*args)
        except Exception:  # noqa: BLE001
            with contextlib.suppress(Exception):
                self.complain(traceback.format_exc())


class Listener:
    """Waits for connections and greets them, each in a short-lived thread, so that none holds up another.

    `welcome(channel, key_name, address)` gets a connection whose other side has proved the key; it must not keep the
    thread. `on_refused(address, reason)` hears of the others.
    """

    def __init__(
        self,
        loop: Loop,
        identity: Identity,
        key_of: Callable[[str], bytes | None],
        welcome: Callable[[Channel, str, str], None],
        on_refused: Callable[[str, str], None],
    ):
        self._loop = loop
        self._identity = identity
        self._key_of = key_of
        self._welcome = welcome
        self._on_refused = on_refused
        self._sock: socket.socket | None = None
        self._greeting: deque[tuple[socket.socket, float]] = deque()
        self._lock = threading.Lock()

    def bind(self, address: str, port: int, fetch: bool) -> int:
        """Takes `port`, or with `fetch` the next free one; returns it. Raises OSError when there is none."""
        for candidate in range(port, min(port + 2000, 65536)) if fetch else (port,):
            try:
                sock = _bound(address, candidate)
            except OSError as exc:
                if fetch and exc.errno in _TAKEN:
                    continue
                raise
            sock.setblocking(False)
            self._sock = sock
            self._loop.call_soon(self._loop.watch, sock, selectors.EVENT_READ, self)
            return int(sock.getsockname()[1])
        raise OSError(f"No port from {port} on is free at {address}.")

    def close(self) -> None:
        if self._sock is not None:
            self._loop.forget(self._sock)
            self._sock = None

    def readable(self) -> None:
        sock = self._sock
        if sock is None:
            return
        try:
            connection, address = sock.accept()
        except OSError:
            return
        with self._lock:
            now = time.monotonic()
            # The oldest gives way: a flood of silent connections must not keep a true one out.
            while len(self._greeting) >= GREETINGS_AT_ONCE or (
                self._greeting and now - self._greeting[0][1] > GREETING_TIMEOUT
            ):
                _shut(self._greeting.popleft()[0])
            self._greeting.append((connection, now))
        threading.Thread(
            target=self._greet, args=(connection, address[0]), name="softgrid greeting", daemon=True
        ).start()

    def expire(self, now: float) -> None:
        """Shuts connections that did not greet in time; called by the owner's tick."""
        with self._lock:
            while self._greeting and now - self._greeting[0][1] > GREETING_TIMEOUT:
                _shut(self._greeting.popleft()[0])

    def _greet(self, connection: socket.socket, address: str) -> None:
        try:
            connection.settimeout(GREETING_TIMEOUT)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            channel, key_name = answer(connection, self._identity, self._key_of)
            self._settled(connection)
            self._welcome(channel, key_name, address)
        except (Refused, OSError, ssl.SSLError, ValueError) as exc:
            self._settled(connection)
            connection.close()
            self._on_refused(address, str(exc))
        except Exception:
            self._settled(connection)
            connection.close()
            raise

    def _settled(self, connection: socket.socket) -> None:
        with self._lock:
            for item in self._greeting:
                if item[0] is connection:
                    self._greeting.remove(item)
                    return


_TAKEN = (98, 48, 10048, 13, 10013)  # "address in use" of Linux, macOS and Windows; "not allowed" of POSIX and Windows


def _bound(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if sys.platform != "win32":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((address, port))
        except OSError as exc:
            if exc.errno in _TAKEN:
                raise
            # A name or address that others use for this machine but no interface has.
            sock.bind(("", port))
        sock.listen(128)
    except BaseException:
        sock.close()
        raise
    return sock


def _nothing() -> None:
    """Wakes the loop."""


def _shut(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def urgency(priority: Any) -> float:
    """A transfer's priority as an order of streams; None is before all."""
    return float(priority) if isinstance(priority, (int, float)) else float("-inf")
