"""A message and its frames: plain bytes and values, no sockets.

A message is a small header (a dictionary, sent as JSON so that a router may read it without unpickling anything) and
a list of segments (pickles and the buffers that pickle protocol 5 leaves outside of them). A small message is one
frame; a bigger one is a first frame and then chunks, none of which spans two segments, so that neither side joins or
cuts what it holds.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview

HEAD = struct.Struct("<BBHIIQQ")  # kind, flags, unused, stream, length, sequence number, acknowledged

FIRST = 1  # a message begins, or is whole if flagged INLINE
MORE = 2  # the next chunk of a stream
CREDIT = 3  # the receiver has passed on that many bytes of a stream
RESET = 4  # the stream ends before its time: whoever sent it is gone
REFUSE = 5  # the receiver wants no more of a stream
ACK = 6  # tells only the acknowledged number
PING = 7  # "still here"
BYE = 8  # the connection ends on purpose

SEQUENCED = frozenset((FIRST, MORE, CREDIT, RESET, REFUSE, BYE))
INLINE = 1
LAST = 2

INLINE_LIMIT = 32 * 1024
CHUNK = 256 * 1024
STREAM_WINDOW = 4 * 1024 * 1024
"""Bytes of one stream that may be under way to the next executor before it grants more."""

HEADER_LIMIT = 1024 * 1024
MESSAGE_LIMIT = 64 * 1024**3
"""Largest message that is accepted, in bytes; a bigger one is refused before memory is set aside for it."""

FRAME_LIMIT = HEADER_LIMIT + INLINE_LIMIT + 64 * 1024

_OPENING = struct.Struct("<II")
_SIZE = struct.Struct("<Q")


class WireError(Exception):
    """The bytes are no frame of ours."""


class Opening(NamedTuple):
    """What a first frame tells."""

    header: dict[str, Any]
    lengths: list[int]
    offset: int  # where the segments of an inline message begin


def shortened(text: str, limit: int) -> str:
    """A text whose JSON has at most `limit` bytes: of a longer one the beginning and the end."""
    while (size := len(json.dumps(text))) > limit:
        keep = max(1, len(text) * limit // size - 10) // 2
        text = f"{text[:keep]}\n…\n{text[-keep:]}"
    return text


class Pieces:
    """A segment as a pickler wrote it, piece by piece: big bytes objects stand in it themselves and are not copied."""

    __slots__ = ("nbytes", "pieces")

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.nbytes = 0

    def write(self, data: Buffer) -> None:
        # A bytearray or view may change before it is sent.
        piece = data if isinstance(data, bytes) else bytes(data)
        self.pieces.append(piece)
        self.nbytes += len(piece)

    def joined(self) -> bytes:
        return self.pieces[0] if len(self.pieces) == 1 else b"".join(self.pieces)


Segment: TypeAlias = Buffer | Pieces


def joined(segment: Segment) -> Buffer:
    return segment.joined() if isinstance(segment, Pieces) else segment


def _length(segment: Segment) -> int:
    if isinstance(segment, bytes):
        return len(segment)
    return segment.nbytes if isinstance(segment, Pieces) else memoryview(segment).nbytes


def size_of(segments: Sequence[Segment]) -> int:
    return sum(map(_length, segments))


def pack_opening(header: dict[str, Any], segments: Sequence[Segment], inline: bool) -> bytes:
    """The payload of a first frame; with `inline` the segments follow the header in it."""
    text = json.dumps(header, separators=(",", ":")).encode()
    if len(text) > HEADER_LIMIT:
        raise WireError(f"The message's header has {len(text)} bytes, {HEADER_LIMIT} are allowed.")
    lengths = [_length(segment) for segment in segments]
    parts: list[Buffer] = [
        _OPENING.pack(len(text), len(segments)),
        struct.pack(f"<{len(lengths)}Q", *lengths),
        text,
    ]
    if inline:
        parts.extend(map(joined, segments))
    return b"".join(parts)


def unpack_opening(payload: Buffer) -> Opening:
    """Raises WireError on anything that is not a well-formed first frame."""
    view = memoryview(payload)
    try:
        text_length, count = _OPENING.unpack_from(view)
        offset = _OPENING.size + count * _SIZE.size
        if text_length > HEADER_LIMIT or offset + text_length > len(view):
            raise WireError("A first frame is shorter than it says.")
        lengths = list(struct.unpack_from(f"<{count}Q", view, _OPENING.size))
        header = json.loads(bytes(view[offset : offset + text_length]))
    except (struct.error, ValueError, RecursionError) as exc:
        raise WireError(f"A first frame cannot be read: {exc}") from exc
    if not isinstance(header, dict):
        raise WireError("A message's header is no dictionary.")
    return Opening(header, lengths, offset + text_length)


def inline_segments(payload: Buffer, opening: Opening) -> list[Segment]:
    """The segments of a message that is whole in its first frame."""
    view = memoryview(payload)
    if opening.offset + sum(opening.lengths) != len(view):
        raise WireError("The segments of a message do not fill its frame.")
    segments: list[Segment] = []
    start = opening.offset
    for length in opening.lengths:
        segments.append(view[start : start + length])
        start += length
    return segments
