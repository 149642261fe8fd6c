"""A message and its frames: plain bytes and values, no sockets.

A message is a small header (a dictionary, sent as JSON so that a router may read it without unpickling anything) and
a list of segments (pickles and the buffers that pickle protocol 5 leaves outside of them). A small message is one
frame; a bigger one is a first frame and then chunks, none of which spans two segments, so that neither side joins or
cuts what it holds.
"""

from __future__ import annotations

import json
import struct
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
_LENGTH = struct.Struct("<Q")


class WireError(Exception):
    """The bytes are no frame of ours."""


class Opening(NamedTuple):
    """What a first frame tells."""

    header: dict[str, Any]
    lengths: list[int]
    offset: int  # where the segments of an inline message begin


def size_of(segments: list[Buffer]) -> int:
    return sum(len(segment) if isinstance(segment, bytes) else memoryview(segment).nbytes for segment in segments)


def pack_opening(header: dict[str, Any], segments: list[Buffer], inline: bool) -> bytes:
    """The payload of a first frame; with `inline` the segments follow the header in it."""
    text = json.dumps(header, separators=(",", ":")).encode()
    if len(text) > HEADER_LIMIT:
        raise WireError(f"The message's header has {len(text)} bytes, {HEADER_LIMIT} are allowed.")
    lengths = [len(segment) if isinstance(segment, bytes) else memoryview(segment).nbytes for segment in segments]
    parts: list[Buffer] = [
        _OPENING.pack(len(text), len(segments)),
        struct.pack(f"<{len(lengths)}Q", *lengths),
        text,
    ]
    if inline:
        parts.extend(segments)
    return b"".join(parts)


def unpack_opening(payload: Buffer) -> Opening:
    """Raises WireError on anything that is not a well-formed first frame."""
    view = memoryview(payload)
    try:
        text_length, count = _OPENING.unpack_from(view)
        offset = _OPENING.size + count * _LENGTH.size
        if text_length > HEADER_LIMIT or offset + text_length > len(view):
            raise WireError("A first frame is shorter than it says.")
        lengths = list(struct.unpack_from(f"<{count}Q", view, _OPENING.size))
        header = json.loads(bytes(view[offset : offset + text_length]))
    except (struct.error, ValueError, RecursionError) as exc:
        raise WireError(f"A first frame cannot be read: {exc}") from exc
    if not isinstance(header, dict):
        raise WireError("A message's header is no dictionary.")
    return Opening(header, lengths, offset + text_length)


def inline_segments(payload: Buffer, opening: Opening) -> list[Buffer]:
    """The segments of a message that is whole in its first frame."""
    view = memoryview(payload)
    if opening.offset + sum(opening.lengths) != len(view):
        raise WireError("The segments of a message do not fill its frame.")
    segments: list[Buffer] = []
    start = opening.offset
    for length in opening.lengths:
        segments.append(view[start : start + length])
        start += length
    return segments
