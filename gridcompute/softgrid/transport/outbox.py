"""What is to go to a neighbour, in which order, and what has gone and may have to go again."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .. import wire
from ..wire import Buffer

if TYPE_CHECKING:
    from .link import Link

WINDOW = 8 * 1024 * 1024
"""Bytes that are kept for a neighbour who has not acknowledged them; then nothing more is sent."""

_BATCH = 64 * 1024
_BATCH_AGAIN = 256 * 1024


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


class OutStream:
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


class _Sent:
    """A frame that the neighbour has not acknowledged."""

    __slots__ = ("flags", "kind", "payload", "seq", "size", "stream", "ticket")

    def __init__(self, seq: int, kind: int, flags: int, stream: int, payload: Buffer, ticket: Ticket | None):
        self.seq, self.kind, self.flags, self.stream, self.payload = seq, kind, flags, stream, payload
        self.size = len(payload) + wire.HEAD.size
        self.ticket = ticket


class Outbox:
    """The frames for one neighbour; its link holds a lock around every call that changes something.

    After a cut what was not acknowledged goes first. Small messages then take turns with chunks of the most urgent
    stream. Nothing new goes while `WINDOW` bytes are not acknowledged. `passed_on(relayed, count)` is called when a
    chunk of `count` bytes goes out that came by another link.
    """

    def __init__(self, passed_on: Callable[[tuple[Link, int], int], None]):
        self.streams: dict[int, OutStream] = {}
        self.ready_bytes = 0  # small frames that wait
        self.sent_bytes = 0  # frames that are not acknowledged
        self.number = 0  # of the frame last sent
        self._passed_on = passed_on
        self._ready: deque[tuple[int, int, int, Buffer, Ticket | None]] = deque()  # small frames, not yet numbered
        self._resend: deque[_Sent] = deque()
        self._sent: deque[_Sent] = deque()
        self._turn = 0
        self._bulk_next = False
        self._next_stream = 1

    def put(self, kind: int, flags: int, stream: int, payload: Buffer, ticket: Ticket | None = None) -> None:
        """Queues a small frame."""
        self._ready.append((kind, flags, stream, payload, ticket))
        self.ready_bytes += len(payload) + wire.HEAD.size

    def add(self, stream: OutStream) -> int:
        """Queues the opening of a message whose chunks follow; returns the stream's number."""
        number = self._next_stream
        self._next_stream = number % 0xFFFFFFFF + 1
        self.streams[number] = stream
        opening, stream.opening = stream.opening, None
        assert opening is not None
        self.put(wire.FIRST, 0, number, opening)
        return number

    @property
    def is_waiting(self) -> bool:
        """Whether there is anything that the neighbour has not acknowledged."""
        return bool(self._ready or self._sent or self.streams)

    @property
    def has_new(self) -> bool:
        """Whether there is anything that has not gone yet, may it go now or later."""
        return bool(self._ready or self.streams)

    @property
    def has_next(self) -> bool:
        """Whether there is anything that may go now."""
        return bool(self._resend or (self._ready and self.sent_bytes < WINDOW) or self._has_chunk())

    def _has_chunk(self) -> bool:
        if self.sent_bytes >= WINDOW:
            return False
        return any(stream.begun and stream.pieces and stream.credit > 0 for stream in self.streams.values())

    def large_bytes(self, relayed: bool) -> int:
        """Bytes of large messages that are to go: such that pass by here, or this executor's own. From any thread."""
        return sum(
            sum(len(piece) for piece in list(stream.pieces))
            for stream in list(self.streams.values())
            if (stream.relayed is not None) == relayed
        )

    def write_next(self, write: Callable[[Buffer], Any], received: int, bulk: bool) -> bool:
        """Writes a batch of small frames, or with `bulk` perhaps one chunk; whether there was anything that may go.

        Each frame acknowledges the neighbour's up to the number `received`.
        """
        if self._resend:
            size = 0
            while self._resend and size < _BATCH_AGAIN:
                frame = self._resend.popleft()
                write(wire.HEAD.pack(frame.kind, frame.flags, 0, frame.stream, len(frame.payload), frame.seq, received))
                if len(frame.payload):
                    write(frame.payload)
                size += frame.size
            return True
        if self._ready and self.sent_bytes < WINDOW and not (bulk and self._bulk_next and self._has_chunk()):
            parts: list[Buffer] = []
            size = 0
            while self._ready and size < _BATCH:
                kind, flags, stream, payload, ticket = self._ready.popleft()
                if kind == wire.FIRST and stream in self.streams:
                    self.streams[stream].begun = True
                parts.append(self._number(kind, flags, stream, payload, received, ticket))
                parts.append(payload)
                size += len(payload) + wire.HEAD.size
            self.ready_bytes -= size
            write(b"".join(parts))
            self._bulk_next = True
            return True
        if bulk and (picked := self._pick_stream()) is not None:
            number, out = picked
            piece = out.pieces.popleft()
            last = out.ended and not out.pieces
            out.credit -= len(piece)
            flags = wire.LAST if last else 0
            head = self._number(wire.MORE, flags, number, piece, received, out.ticket if last else None)
            # A numbered chunk goes out in any case, again after a cut if writing fails now.
            if last:
                del self.streams[number]
            if out.relayed is not None:
                self._passed_on(out.relayed, len(piece))
            write(head)
            write(piece)
            self._bulk_next = False
            return True
        return False

    def _pick_stream(self) -> tuple[int, OutStream] | None:
        """The most urgent stream that may send; equals take turns."""
        if self.sent_bytes >= WINDOW:
            return None
        able = [
            (s.priority, n <= self._turn, n) for n, s in self.streams.items() if s.begun and s.pieces and s.credit > 0
        ]
        if not able:
            return None
        self._turn = min(able)[2]
        return self._turn, self.streams[self._turn]

    def _number(
        self, kind: int, flags: int, stream: int, payload: Buffer, received: int, ticket: Ticket | None
    ) -> bytes:
        """Keeps a frame until it is acknowledged; returns its head."""
        self.number += 1
        frame = _Sent(self.number, kind, flags, stream, payload, ticket)
        self._sent.append(frame)
        self.sent_bytes += frame.size
        return wire.HEAD.pack(kind, flags, 0, stream, len(payload), self.number, received)

    def acknowledge(self, number: int) -> bool:
        """Forgets the frames up to `number`, which the neighbour has; whether somebody may have waited for that.

        Raises WireError if no such frame was sent.
        """
        sent = self._sent
        if not sent or sent[0].seq > number:
            return False
        if number > self.number:
            raise wire.WireError("The neighbour acknowledges what was never sent.")
        was_full = self.sent_bytes >= WINDOW
        while sent and sent[0].seq <= number:
            frame = sent.popleft()
            self.sent_bytes -= frame.size
            if frame.ticket is not None:
                frame.ticket.settle()
        return was_full or not sent

    def send_again(self) -> None:
        """After a cut: what is not acknowledged goes first."""
        self._resend = deque(self._sent)

    def clear(self) -> tuple[list[Ticket | None], list[tuple[Link, int]]]:
        """Forgets everything; returns the tickets of what was to go, and where streams from other links come from."""
        tickets = [frame.ticket for frame in self._sent] + [out.ticket for out in self.streams.values()]
        relayed = [out.relayed for out in self.streams.values() if out.relayed is not None]
        for waiting in (self._ready, self._resend, self._sent, self.streams):
            waiting.clear()
        self.ready_bytes = self.sent_bytes = 0
        return tickets, relayed


def urgency(priority: Any) -> float:
    """A transfer's priority as an order of streams; None is before all."""
    return float(priority) if isinstance(priority, (int, float)) else float("-inf")
