"""Writes zip archives in one pass, without ever seeking back.

The standard library's `zipfile` reads what is written here, and the tests hold that. It does not write it because it
can only compress with zlib, at a fifth of the speed of isal, and because it goes back to each header to enter sizes, so
that the hash of the archive would need a second reading of it.
"""

from __future__ import annotations

import stat
import struct
import time
import zlib
from collections.abc import Iterable
from typing import NamedTuple

from gridcompute.grid.new_file import NewFile

try:
    from isal import isal_zlib as fast_zlib
except ImportError:  # no wheel for this machine
    import zlib as fast_zlib  # type: ignore[no-redef]

crc32 = fast_zlib.crc32
DEFLATE_ERRORS: tuple[type[Exception], ...] = (zlib.error, fast_zlib.error)  # type: ignore[assignment]

_FASTEST = 1

STORED, DEFLATED = 0, 8

ZIP64_FROM = 0xF000_0000
"""Bytes of a file, or of the archive before it, from which on the 64-bit fields are written."""

_MAXIMUM_32, _MAXIMUM_16 = 0xFFFF_FFFF, 0xFFFF
_UTF8_NAME, _SIZES_FOLLOW = 0x800, 0x8
_VERSION, _VERSION_64 = 20, 45
_MADE_ON_UNIX = 3 << 8 | _VERSION_64
_FOLDER_ON_DOS = 0x10


class _Member(NamedTuple):
    name: bytes
    flags: int
    method: int
    moment: int  # in the form of DOS
    attributes: int
    offset: int
    crc: int
    compressed: int
    size: int


class ZipWriter:
    """Appends files and folders to `out`; `finish` appends the table of contents."""

    def __init__(self, out: NewFile):
        self.out = out
        self._contents = bytearray()
        self._count = 0

    def add_folder(self, name: str, state_mode: int, modified: float) -> None:
        """Append a folder; `name` has ``/`` between its parts and none at its end."""
        attributes = (stat.S_IFDIR | stat.S_IMODE(state_mode)) << 16 | _FOLDER_ON_DOS
        member = self._member(name + "/", attributes, modified, STORED, 0)
        self.out.write(_local_header(member, large=False))
        self._enter(member)

    def add_small(
        self, name: str, state_mode: int, modified: float, data: bytes | memoryview, *, deflate: bool
    ) -> None:
        """Append a file whose content is `data`; deflated only if that makes it smaller."""
        compressed = _deflated(data) if deflate else data
        method = DEFLATED if len(compressed) < len(data) else STORED
        content = compressed if method == DEFLATED else data
        member = self._member(name, _file_attributes(state_mode), modified, method, 0)
        member = member._replace(crc=crc32(data), compressed=len(content), size=len(data))
        self.out.write(_local_header(member, large=False))
        self.out.write(content)
        self._enter(member)

    def add_large(
        self, name: str, state_mode: int, modified: float, size: int, pieces: Iterable[memoryview], *, deflate: bool
    ) -> None:
        """Append a file of about `size` bytes, which come in `pieces`."""
        large = size >= ZIP64_FROM
        method = DEFLATED if deflate else STORED
        member = self._member(name, _file_attributes(state_mode), modified, method, _SIZES_FOLLOW)
        self.out.write(_local_header(member, large))
        before = self.out.size
        crc, written = self._pour_deflated(pieces) if deflate else self._pour(pieces)
        member = member._replace(crc=crc, compressed=self.out.size - before, size=written)
        self.out.write(struct.pack("<4sLQQ" if large else "<4sLLL", b"PK\7\x08", crc, member.compressed, member.size))
        self._enter(member)

    def finish(self) -> None:
        """Append the table of contents; nothing may be added afterwards."""
        start, size = self.out.size, len(self._contents)
        self.out.write(memoryview(self._contents))
        if self._count >= _MAXIMUM_16 or start >= ZIP64_FROM or size >= ZIP64_FROM:
            end = self.out.size
            counts = (self._count, self._count, size, start)
            self.out.write(
                struct.pack("<4sQHHLLQQQQ", b"PK\6\6", 44, _MADE_ON_UNIX, _VERSION_64, 0, 0, *counts)
                + struct.pack("<4sLQL", b"PK\6\7", 0, end, 1)
            )
        count = min(self._count, _MAXIMUM_16)
        size, start = min(size, _MAXIMUM_32), min(start, _MAXIMUM_32)
        self.out.write(struct.pack("<4sHHHHLLH", b"PK\5\6", 0, 0, count, count, size, start, 0))

    def _member(self, name: str, attributes: int, modified: float, method: int, flags: int) -> _Member:
        moment = _dos_moment(modified)
        return _Member(name.encode(), flags | _UTF8_NAME, method, moment, attributes, self.out.size, 0, 0, 0)

    def _enter(self, member: _Member) -> None:
        self._contents += _central_header(member)
        self._count += 1

    def _pour(self, pieces: Iterable[memoryview]) -> tuple[int, int]:
        crc = size = 0
        for piece in pieces:
            crc = crc32(piece, crc)
            size += len(piece)
            self.out.write(piece)
        return crc, size

    def _pour_deflated(self, pieces: Iterable[memoryview]) -> tuple[int, int]:
        crc = size = 0
        compressor = fast_zlib.compressobj(_FASTEST, wbits=-15)
        for piece in pieces:
            crc = crc32(piece, crc)
            size += len(piece)
            self.out.write(compressor.compress(piece))
        self.out.write(compressor.flush())
        return crc, size


def shrinks(sample: bytes | memoryview) -> bool:
    """Whether DEFLATE makes `sample` smaller by a tenth at least."""
    return len(_deflated(sample)) < 0.9 * len(sample)


def _deflated(data: bytes | memoryview) -> bytes:
    compressor = fast_zlib.compressobj(_FASTEST, wbits=-15)
    return compressor.compress(data) + compressor.flush()


def _file_attributes(state_mode: int) -> int:
    return (stat.S_IFREG | stat.S_IMODE(state_mode)) << 16


def _dos_moment(modified: float) -> int:
    """Date and time of a file as zip has it: local, two seconds fine, from 1980 to 2107."""
    try:
        at = time.localtime(modified)
    except (OverflowError, ValueError, OSError):
        at = time.localtime(0)
    if not 1980 <= at.tm_year <= 2107:
        return (1 << 5 | 1) << 16 if at.tm_year < 1980 else (127 << 9 | 12 << 5 | 31) << 16
    date = (at.tm_year - 1980) << 9 | at.tm_mon << 5 | at.tm_mday
    return date << 16 | at.tm_hour << 11 | at.tm_min << 5 | min(at.tm_sec, 59) // 2


def _local_header(member: _Member, large: bool) -> bytes:
    extra = struct.pack("<HHQQ", 1, 16, 0, 0) if large else b""
    sizes = (_MAXIMUM_32, _MAXIMUM_32) if large else (member.compressed, member.size)
    version = _VERSION_64 if large else _VERSION
    kind = struct.pack("<4sHHHLL", b"PK\3\4", version, member.flags, member.method, member.moment, member.crc)
    return kind + struct.pack("<LLHH", *sizes, len(member.name), len(extra)) + member.name + extra


def _central_header(member: _Member) -> bytes:
    large = [number for number in (member.size, member.compressed, member.offset) if number >= ZIP64_FROM]
    extra = struct.pack(f"<HH{len(large)}Q", 1, 8 * len(large), *large) if large else b""
    compressed, size, offset = (
        _MAXIMUM_32 if number >= ZIP64_FROM else number for number in (member.compressed, member.size, member.offset)
    )
    version = _VERSION_64 if large else _VERSION
    kind = struct.pack("<4sHHHHL", b"PK\1\2", _MADE_ON_UNIX, version, member.flags, member.method, member.moment)
    sizes = struct.pack("<LLLHHHHH", member.crc, compressed, size, len(member.name), len(extra), 0, 0, 0)
    return kind + sizes + struct.pack("<LL", member.attributes, offset) + member.name + extra
