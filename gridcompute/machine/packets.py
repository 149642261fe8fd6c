"""Messages between a case's process and its owner, as packets whose first byte says what they are.

A socket carries one packet a datagram, a pipe one a line. A long message goes in parts, so that short ones of a process
that the application forked may come between them and harm nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

socket_limit = 60_000
"""Bytes of a packet on a SOCK_SEQPACKET socket: well below the send buffer of any Linux."""

pipe_limit = 500
"""Bytes of a packet on a pipe: a line stays whole while it is shorter than PIPE_BUF, which POSIX has at 512."""

WHOLE, PART, LAST, SWEEP, BEGUN = b"m", b"+", b".", b"s", b"b"


def packets(message: dict[str, Any], limit: int) -> Iterator[bytes]:
    """`message` as packets of at most `limit` bytes: one, or several parts and a last one. No newline is in them."""
    data = json.dumps(message, separators=(",", ":")).encode("ascii")
    room = limit - 1
    if len(data) <= room:
        yield WHOLE + data
        return
    for start in range(0, len(data), room):
        kind = LAST if start + room >= len(data) else PART
        yield kind + data[start : start + room]


class Assembler:
    """Makes messages of packets again."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def feed(self, packet: bytes) -> dict[str, Any] | None:
        """The message that `packet` completes; None if it completes none or is none of ours."""
        kind, data = packet[:1], packet[1:]
        if kind == PART:
            self._parts.append(data)
            return None
        if kind == LAST:
            data, self._parts = b"".join((*self._parts, data)), []
        elif kind != WHOLE:
            return None
        try:
            message = json.loads(data)
        except ValueError:
            return None
        return message if isinstance(message, dict) else None
