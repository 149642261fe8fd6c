"""Files and folders -> numbered zip archive, and back in order.

Item 3 of a case stands in the archive as ``00003/NAME``, a folder with all that is in it below that. So two items may
share a name, and their order is kept. What the names in an archive can't hold, a backslash, is written ``%5C``.

Nothing in an archive is trusted: no path leaves its folder, no link is made, sizes are bounded as declared and as they
come.
"""

# Paths are strings here: names that are no Unicode, and Windows' form of long paths, come through unchanged.
# ruff: noqa: PTH100, PTH102, PTH116, PTH118, PTH119, PTH120, PTH123

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import stat
import struct
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from gridcompute import config
from gridcompute.errors import ArchiveError, DiskFull, GridComputeError, InputError
from gridcompute.grid.names import local_name, long_path, same_name_key
from gridcompute.grid.new_file import BACKGROUND_BYTES, CHUNK_BYTES, NewFile, chunks
from gridcompute.grid.trouble import is_full, words
from gridcompute.grid.zip_writer import DEFLATE_ERRORS, DEFLATED, STORED, ZipWriter, crc32, fast_zlib, shrinks

Progress = Callable[[int], None]

_windows = os.name == "nt"
_letter_case_counts = sys.platform not in ("win32", "darwin")


class Limits(NamedTuple):
    """What an archive may hold at most."""

    bytes: int = config.archive_limit_bytes  # of all files, unpacked
    files: int = config.archive_limit_files  # and folders


LIMITS = Limits()


class Packed(NamedTuple):
    """What `pack` made: what the database is told of it."""

    size: int  # bytes of the archive
    sha256: str  # of the archive, hexadecimal
    files: int  # files and folders in it


class SourceError(ArchiveError):
    """The archive can't be opened or read; the cause is the OSError."""


class TargetError(ArchiveError):
    """What is made can't be written; the cause is the OSError."""


# --- packing ---------------------------------------------------------------------------------------------------------


def pack(
    items: Sequence[str | Path], target: Path, *, progress: Progress | None = None, limits: Limits = LIMITS
) -> Packed:
    """Put `items`, files and folders, into the new archive `target`, flushed to the disk; their order is kept.

    Folders come with everything in them, empty ones too. An item that is a link stands for what it leads to. So does a
    link inside a folder if that lies in the same folder; one that leads elsewhere, nowhere or in a circle is an
    InputError, since its content would be missing on the other machine, or more than the user chose would leave this
    one. Executable files stay executable; other rights and owners are not kept.

    `progress` is called with the bytes read so far.

    Raises InputError if an item is missing, can't be read, changes while it is read, is no file or folder, has a name
    that is no Unicode, or is beyond `limits`; DiskFull; TargetError if `target` can't be written otherwise. After an
    error there is no `target`.
    """
    packer = _Packer(progress or _no_progress, limits)
    new = NewFile(long_path(str(target), windows=_windows), flush=True)
    with _writing(target), new:
        writer = ZipWriter(new)
        for number, item in enumerate(items, start=1):
            for name, path, state in _walk(number, os.path.abspath(item)):
                packer.add(writer, name, path, state)
        writer.finish()
    return Packed(new.size, new.sha256, packer.count)


class _Packer:
    """Adds one file or folder at a time, and keeps the limits."""

    def __init__(self, progress: Progress, limits: Limits):
        self.count = 0
        self._read = 0
        self._progress = progress
        self._limits = limits

    def add(self, writer: ZipWriter, name: str, path: str, state: os.stat_result) -> None:
        self.count += 1
        if self.count > self._limits.files:
            raise InputError(f"Cannot pack {path}: with it there are more than {self._limits.files} files in one case.")
        if stat.S_ISDIR(state.st_mode):
            writer.add_folder(name, state.st_mode, state.st_mtime)
            return
        if self._read + state.st_size > self._limits.bytes:
            raise InputError(f"Cannot pack {path}: with it the case has more than {self._limits.bytes} bytes.")
        with _input(path) as file:
            before = self._read
            self._add_file(writer, name, path, state, file)
            _check_unchanged(path, state, self._read - before)

    def _add_file(self, writer: ZipWriter, name: str, path: str, state: os.stat_result, file: BinaryIO) -> None:
        pieces = self._counted(path, chunks(file, state.st_size))
        if state.st_size < CHUNK_BYTES:
            data = b"".join(pieces)
            deflate = _seems_to_shrink(len(data), lambda at, size: data[at : at + size])
            writer.add_small(name, state.st_mode, state.st_mtime, data, deflate=deflate)
        else:
            deflate = self._file_shrinks(path, file, state.st_size)
            writer.out.expect(state.st_size)
            writer.add_large(name, state.st_mode, state.st_mtime, state.st_size, pieces, deflate=deflate)

    def _counted(self, path: str, pieces: Iterator[memoryview]) -> Iterator[memoryview]:
        while True:
            with _reading_input(path):
                piece = next(pieces, None)
            if piece is None:
                return
            self._read += len(piece)
            yield piece
            self._progress(self._read)

    @staticmethod
    def _file_shrinks(path: str, file: BinaryIO, size: int) -> bool:
        def read(at: int, size: int) -> bytes:
            file.seek(at)
            return file.read(size)

        with _reading_input(path):
            answer = _seems_to_shrink(size, read)
            file.seek(0)
        return answer


_TINY_BYTES = 64  # nothing to gain below
_SAMPLES = 5
_SAMPLE_BYTES = 16_384


def _seems_to_shrink(size: int, read: Callable[[int, int], bytes]) -> bool:
    """Whether DEFLATE is worth its time for a file of `size` bytes, of which `read(at, size)` gives some.

    Most of the samples have to shrink: the head of a file of results is seldom like the rest.
    """
    if size <= _TINY_BYTES:
        return False
    if size <= _SAMPLES * _SAMPLE_BYTES:
        return shrinks(read(0, size))
    step = (size - _SAMPLE_BYTES) // (_SAMPLES - 1)
    return sum(shrinks(read(place * step, _SAMPLE_BYTES)) for place in range(_SAMPLES)) > _SAMPLES // 2


def _walk(number: int, item: str) -> Iterator[tuple[str, str, os.stat_result]]:
    """Name in the archive, path and state of `item` and of all that is in it, each folder before its content."""
    name = os.path.basename(item)
    if not name:
        raise InputError(f"Cannot pack {item}: it is a whole disk. Choose the files or folders in it.")
    waiting: list[tuple[str, str, frozenset[str]]] = [(f"{number:05}/{_entry_name(name, item)}", item, frozenset())]
    while waiting:
        name, path, linked = waiting.pop()
        with _reading_input(path):
            state = os.stat(long_path(path, windows=_windows))
        if stat.S_ISDIR(state.st_mode):
            yield name, path, state
            waiting.extend(reversed(list(_content(item, name, path, linked))))
        elif stat.S_ISREG(state.st_mode):
            yield name, path, state
        else:
            raise InputError(f"Cannot pack {path}: it is no file and no folder. Leave it out.")


def _content(item: str, name: str, path: str, linked: frozenset[str]) -> Iterator[tuple[str, str, frozenset[str]]]:
    with _reading_input(path), os.scandir(long_path(path, windows=_windows)) as found:
        children = sorted(found, key=lambda child: child.name)
    for child in children:
        child_path = os.path.join(path, child.name)
        seen = linked
        if child.is_symlink() or _is_junction(child):
            seen = linked | {_where_link_leads(item, child_path, linked)}
        yield f"{name}/{_entry_name(child.name, child_path)}", child_path, seen


def _is_junction(child: os.DirEntry[str]) -> bool:
    return sys.version_info >= (3, 12) and child.is_junction()


def _where_link_leads(item: str, link: str, linked: frozenset[str]) -> str:
    with _reading_input(link):
        there = os.path.realpath(link, strict=True)
        inside = os.path.realpath(item, strict=True)
    if there in linked or _is_inside(os.path.realpath(os.path.dirname(link)), there):
        raise InputError(f"Cannot pack {link}: this link leads in a circle, to {there}. Remove the link.")
    if not _is_inside(there, inside):
        raise InputError(
            f"Cannot pack {link}: this link leads out of the folder {item}, to {there}. Put a copy in its place."
        )
    return there


def _is_inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


_ESCAPED_IN_ARCHIVE = re.compile(r"\\|%(?=5C|25)")
_UNESCAPED_IN_ARCHIVE = re.compile(r"%(5C|25)")


def _entry_name(name: str, path: str) -> str:
    """The name of a file or folder in the archive, reversibly without the backslash that some read as ``/``."""
    try:
        name.encode()
    except UnicodeEncodeError as exc:
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        raise InputError(f"Cannot pack {shown}: its name is not valid Unicode (UTF-8). Rename it.") from exc
    return _ESCAPED_IN_ARCHIVE.sub(lambda found: "%5C" if found.group() == "\\" else "%25", name)


def _original_name(entry_name: str) -> str:
    return _UNESCAPED_IN_ARCHIVE.sub(lambda found: "\\" if found.group(1) == "5C" else "%", entry_name)


@contextlib.contextmanager
def _reading_input(path: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as exc:
        raise InputError(f"Cannot read the input {path}: it is not there, or it vanished.") from exc
    except OSError as exc:
        raise InputError(f"Cannot read the input {path}: {words(exc)}.") from exc


def _input(path: str) -> BinaryIO:
    with _reading_input(path):
        return open(long_path(path, windows=_windows), "rb", buffering=0)


def _check_unchanged(path: str, before: os.stat_result, read: int) -> None:
    with _reading_input(path):
        after = os.stat(long_path(path, windows=_windows))
    if read != before.st_size or _identity(after) != _identity(before):
        raise InputError(f"Cannot pack {path}: it changed while it was read. Try again when it is finished.")


def _identity(state: os.stat_result) -> tuple[int, int, int, int]:
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns


# --- copying ---------------------------------------------------------------------------------------------------------


def copy_and_check(source: Path, target: Path, size: int, sha256: str, *, progress: Progress | None = None) -> None:
    """Copy the archive `source` to the new file `target`, and check its size in bytes and its SHA-256, in one pass.

    `progress` is called with the bytes copied so far. Raises SourceError if `source` can't be read, ArchiveError if it
    is another than that named, DiskFull, or TargetError. After an error there is no `target`.
    """
    new = NewFile(long_path(str(target), windows=_windows), flush=False)
    with _opened(source) as file, _writing(target):
        with new:
            _check_size(source, os.fstat(file.fileno()).st_size, size)
            new.expect(size)
            for piece in _read_from(source, chunks(file, size)):
                new.write(piece)
                if progress:
                    progress(new.size)
            _check_size(source, new.size, size)
        try:
            _check_hash(source, new.sha256, sha256)
        except ArchiveError:
            with contextlib.suppress(OSError):
                target.unlink()
            raise


SMALL_BYTES = CHUNK_BYTES
"""Archives up to this size are unpacked from memory, which spares making, reading and removing a local copy."""


def read_and_check(source: Path, size: int, sha256: str) -> bytes:
    """The archive `source`, of at most `SMALL_BYTES`, as it should be; raises as `copy_and_check` does."""
    with _opened(source) as file:
        _check_size(source, os.fstat(file.fileno()).st_size, size)
        content = b"".join(_read_from(source, chunks(file, size)))
    _check_size(source, len(content), size)
    _check_hash(source, hashlib.sha256(content).hexdigest(), sha256)
    return content


def _check_hash(source: Path, found: str, expected: str) -> None:
    if found != expected:
        raise ArchiveError(f"The archive {source} is damaged: its SHA-256 is not the one that the database names.")


def _check_size(source: Path, found: int, expected: int) -> None:
    if found != expected:
        raise ArchiveError(f"The archive {source} is damaged: it has {found} bytes instead of {expected}.")


def _read_from(source: Path, pieces: Iterator[memoryview]) -> Iterator[memoryview]:
    while True:
        with _reading_archive(source):
            piece = next(pieces, None)
        if piece is None:
            return
        yield piece


def _opened(source: Path) -> BinaryIO:
    with _reading_archive(source):
        return open(long_path(str(source), windows=_windows), "rb", buffering=0, opener=_open_no_link)


def _open_no_link(path: str, flags: int) -> int:
    """Open as usual, but no link: whoever may write to the share could make it lead to a file that he may not read."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0))


@contextlib.contextmanager
def _reading_archive(source: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise SourceError(f"Cannot read the archive {source}: {words(exc)}.") from exc


@contextlib.contextmanager
def _writing(target: Path) -> Iterator[None]:
    try:
        yield
    except GridComputeError:
        raise
    except OSError as exc:
        if is_full(exc):
            raise DiskFull(f"Cannot write {target}: no space is left there ({words(exc)}).") from exc
        raise TargetError(f"Cannot write {target}: {words(exc)}.") from exc


# --- unpacking -------------------------------------------------------------------------------------------------------


def unpack(
    archive: Path, folder: Path, *, limits: Limits = LIMITS, verified: bool = False, content: bytes | None = None
) -> list[Path]:
    """Unpack `archive` into `folder`, which is new or empty, and return its items in the order of `pack`.

    The items lie side by side under their own names; only a second one of the same name, letter case and Unicode form
    left out, gets a sub-folder. What Windows refuses as a name is escaped there (`names.local_name`). The moment of a
    file is that of the unpacking.

    `verified` says that the SHA-256 of the archive was right, so that the check sums inside it need no second look.
    `content` is what was read of the archive, which then only gives its name to messages.

    Raises ArchiveError if the archive is damaged, is no zip, has links, encrypted or doubled entries, paths that
    would leave the folder, or more than `limits`; DiskFull; TargetError. After an error `folder` may hold a part.
    """
    with _opened(archive) if content is None else io.BytesIO(content) as file:
        entries = _entries(archive, file, limits)
        plan = _Plan(archive, entries)
        with _writing(folder), contextlib.suppress(FileExistsError):
            folder.mkdir()
        for place in plan.folders:
            with _writing(folder / place):
                os.mkdir(_path_in(folder, place))
        for entry, place in plan.files:
            _extract(archive, file, entry, folder / place, _path_in(folder, place), verified)
    return [folder / place for place in plan.items]


class _Entry(NamedTuple):
    """A file or folder in an archive, after the checks that need no other entry."""

    number: int
    parts: tuple[str, ...]  # as in the archive, without the number
    is_folder: bool
    info: zipfile.ZipInfo


class _Plan:
    """Where each entry goes: `folders` in the order of their making, `files`, and the `items`; paths with ``/``."""

    def __init__(self, archive: Path, entries: Sequence[_Entry]):
        self._archive = archive
        self._places: dict[tuple[int, tuple[str, ...]], str] = {}
        self._taken: set[str] = set()
        self.folders: list[str] = []
        self.files: list[tuple[_Entry, str]] = []
        self.items = self._place_items(entries)
        file_keys = {(entry.number, entry.parts) for entry in entries if not entry.is_folder}
        made: set[str] = set(self.folders)
        for entry in entries:
            above = entry.parts if entry.is_folder else entry.parts[:-1]
            for depth in range(1, len(above) + 1):
                key = entry.number, above[:depth]
                if key in file_keys:
                    raise _refused(archive, entry.info, "it is a file and a folder at once")
                place = self._place(*key)
                if place not in made:
                    made.add(place)
                    self.folders.append(place)
            if not entry.is_folder:
                self.files.append((entry, self._place(entry.number, entry.parts)))

    def _place_items(self, entries: Sequence[_Entry]) -> list[str]:
        names: dict[int, str] = {}
        for entry in entries:
            if names.setdefault(entry.number, entry.parts[0]) != entry.parts[0]:
                raise _refused(self._archive, entry.info, f"item {entry.number} has two names")
        shown = {number: local_name(_original_name(name), windows=_windows) for number, name in sorted(names.items())}
        reserved = {same_name_key(name) for name in shown.values()}
        for number, name in shown.items():
            place = name
            if same_name_key(name) in self._taken:
                place = _free(f"{number:05}", reserved)
                self.folders.append(place)
                place = f"{place}/{name}"
            self._taken.add(same_name_key(place))
            self._places[number, (names[number],)] = place
        return [self._places[number, (names[number],)] for number in shown]

    def _place(self, number: int, parts: tuple[str, ...]) -> str:
        place = self._places.get((number, parts))
        if place is None:
            above = self._place(number, parts[:-1])
            name = local_name(_original_name(parts[-1]), windows=_windows)
            place = f"{above}/{name}"
            turn = 1
            while self._key(place) in self._taken:  # differs in letter case only, which doesn't count here
                turn += 1
                place = f"{above}/{name}~{turn}"
            self._taken.add(self._key(place))
            self._places[number, parts] = place
        return place

    @staticmethod
    def _key(place: str) -> str:
        return place if _letter_case_counts else same_name_key(place)


def _free(name: str, reserved: set[str]) -> str:
    while same_name_key(name) in reserved:
        name += "_"
    reserved.add(same_name_key(name))
    return name


_NOT_A_ZIP = (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError, EOFError, IndexError, struct.error)
_ENTRY = re.compile(r"(\d{5,9})/([^\\\0]+?)(/?)", re.DOTALL)


def _entries(archive: Path, file: BinaryIO, limits: Limits) -> list[_Entry]:
    try:
        with zipfile.ZipFile(file) as found:
            infos = found.infolist()
    except _NOT_A_ZIP as exc:
        raise ArchiveError(f"The archive {archive} is damaged or no zip: {exc}.") from exc
    except OSError as exc:
        raise SourceError(f"Cannot read the archive {archive}: {words(exc)}.") from exc
    if len(infos) > limits.files:
        raise ArchiveError(f"Refused to unpack {archive}: it holds {len(infos)} files, {limits.files} are allowed.")
    declared = sum(info.file_size for info in infos)
    if declared > limits.bytes:
        raise ArchiveError(f"Refused to unpack {archive}: it holds {declared} bytes, {limits.bytes} are allowed.")
    entries = [_entry(archive, info) for info in infos]
    if len({(entry.number, entry.parts) for entry in entries}) != len(entries):
        raise ArchiveError(f"Refused to unpack {archive}: a name stands in it twice.")
    return entries


def _entry(archive: Path, info: zipfile.ZipInfo) -> _Entry:
    match = _ENTRY.fullmatch(info.orig_filename)  # `filename` ends at a NUL, and lost its backslashes on Windows
    if match is None:
        raise _refused(archive, info, "its path is not one that GridCompute writes")
    parts = tuple(match[2].split("/"))
    if any(part in ("", ".", "..") for part in parts):
        raise _refused(archive, info, "its path would leave the folder")
    kind = stat.S_IFMT(info.external_attr >> 16) if info.create_system == 3 else 0
    if kind not in (0, stat.S_IFDIR if match[3] else stat.S_IFREG):
        raise _refused(archive, info, "it is a link or a device")
    if info.flag_bits & 0x41:
        raise _refused(archive, info, "it is encrypted")
    if info.compress_type not in (STORED, DEFLATED):
        raise _refused(archive, info, "it is compressed in a way that GridCompute does not use")
    return _Entry(int(match[1]), parts, bool(match[3]), info)


def _refused(archive: Path, info: zipfile.ZipInfo, reason: str) -> ArchiveError:
    return ArchiveError(f"Refused to unpack {info.orig_filename!r} in {archive}: {reason}.")


def _path_in(folder: Path, place: str) -> str:
    path = f"{folder}{os.sep}{place.replace('/', os.sep)}"
    return long_path(os.path.abspath(path), windows=True) if _windows else path


def _extract(archive: Path, file: BinaryIO, entry: _Entry, shown: Path, path: str, verified: bool) -> None:
    mode = 0o777 if entry.info.external_attr >> 16 & 0o100 else 0o666  # the user's umask takes its part

    def create(path: str, flags: int) -> int:
        return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), mode)

    with _writing(shown), open(path, "xb", buffering=0, opener=create) as target:
        if verified and _copied_by_the_system(archive, file, entry.info, target):
            return
        crc = size = 0
        for piece in _content_of(archive, file, entry.info):
            crc = 0 if verified else crc32(piece, crc)
            size += len(piece)
            while piece:
                piece = piece[target.write(piece) :]
    if size != entry.info.file_size or not (verified or crc == entry.info.CRC):
        raise _damaged(archive, entry.info, "its content is not the one that was packed")


def _copied_by_the_system(archive: Path, file: BinaryIO, info: zipfile.ZipInfo, target: BinaryIO) -> bool:
    """Copy a large stored file inside the system, which spares two passes through this process.

    False where it can't; nothing is written then. The archive's own hash was right, so its length is all that counts.
    """
    size = info.file_size
    if info.compress_type != STORED or size < BACKGROUND_BYTES or not hasattr(os, "copy_file_range"):
        return False
    offset, done = _begin_of_content(archive, file, info), 0
    try:
        while done < size:
            count = os.copy_file_range(file.fileno(), target.fileno(), min(size - done, 1 << 30), offset + done)
            if not count:
                break
            done += count
    except OSError as exc:
        if is_full(exc):
            raise
    if done != size:
        target.seek(0)
        target.truncate()
    return done == size


def _begin_of_content(archive: Path, file: BinaryIO, info: zipfile.ZipInfo) -> int:
    """Where the packed content of a file begins in the archive; `file` is left there."""
    with _reading_archive(archive):
        file.seek(info.header_offset)
        header = file.read(30)
        if len(header) < 30 or header[:4] != b"PK\3\4":
            raise _damaged(archive, info, "its header is missing")
        lengths = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
        return file.seek(lengths, os.SEEK_CUR)


def _content_of(archive: Path, file: BinaryIO, info: zipfile.ZipInfo) -> Iterator[memoryview]:
    """The content of a file in the archive; one byte more than declared at most."""
    _begin_of_content(archive, file, info)
    packed = _read_from(archive, _limited(chunks(file, info.compress_size), info.compress_size))
    if info.compress_type == STORED:
        yield from packed
    else:
        yield from _inflated(archive, info, packed)


def _limited(pieces: Iterable[memoryview], size: int) -> Iterator[memoryview]:
    for piece in pieces:
        yield piece[:size]
        size -= len(piece)


def _inflated(archive: Path, info: zipfile.ZipInfo, packed: Iterator[memoryview]) -> Iterator[memoryview]:
    inflater = fast_zlib.decompressobj(wbits=-15)
    left = info.file_size + 1
    piece: bytes | memoryview = b""
    ended = False
    while left and not inflater.eof:
        if not piece and not ended:
            piece = next(packed, b"")
            ended = not piece
        try:
            data = inflater.decompress(piece, min(left, CHUNK_BYTES))
        except DEFLATE_ERRORS as exc:
            raise _damaged(archive, info, str(exc)) from exc
        piece = inflater.unconsumed_tail
        if not data and not piece and ended:
            return
        left -= len(data)
        yield memoryview(data)


def _damaged(archive: Path, info: zipfile.ZipInfo, reason: str) -> ArchiveError:
    return ArchiveError(f"The archive {archive} is damaged at {info.orig_filename!r}: {reason}.")


def _no_progress(_bytes_read: int) -> None:
    pass
