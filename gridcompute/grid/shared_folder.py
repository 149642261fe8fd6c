"""Settings/, Cases/ and Results/ of the shared folder: publishes whole archives, checks them, removes them.

A network folder is slow, remembers "not found", and goes away. So an archive is written aside in its final folder, and
renamed once it is whole and flushed, to a name that was never used before. A reader opens the name that the database
gave him, checks size and hash, and tries again for a while. "Missing" and "damaged" count only while the share reads
well (`SharedFolder.probe`); everything else is `ShareAway`, and worth waiting for.
"""

# Paths go to the system as strings: Windows' form of long paths comes through unchanged.
# ruff: noqa: PTH100, PTH102, PTH105, PTH108, PTH116, PTH208

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn, TypeVar

from gridcompute import clock
from gridcompute.errors import (
    ArchiveError,
    ArchiveMissing,
    DiskFull,
    FolderMissing,
    GridComputeError,
    NoGridError,
    SettingsError,
    ShareAway,
    ShareError,
)
from gridcompute.grid import archive
from gridcompute.grid.names import escape_name, long_path, unescape_name
from gridcompute.grid.new_file import flush_file
from gridcompute.grid.trouble import is_away, is_full, is_in_use, is_missing, retried_while_in_use, words

if TYPE_CHECKING:
    from gridcompute.grid.settings import ApplicationSettings, Settings, SoftwareTable

__all__ = ["Prepared", "SharedFolder", "escape_name", "unescape_name"]

AREAS = ("Cases", "Results")

FREE_UNKNOWN = 1 << 62
"""What `SharedFolder.free_bytes` says of a share that doesn't tell: more than there can be."""

_REFUSED_IN_PATHS = re.compile(r"[\\:\0]")
_HASH_SHOWN = 12  # hexadecimal digits of the SHA-256 in the name of an archive
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.5  # seconds between two tries to fetch
_STOP_IS_HEARD = 0.1  # seconds

_Read = TypeVar("_Read")

_windows = os.name == "nt"
_sleep = time.sleep


class Prepared(NamedTuple):
    """An archive that lies aside in its final folder, whole and flushed. JSON can hold it: see `_asdict`."""

    part: str  # its present path, relative to the shared folder, with /
    path: str  # its path when published, likewise
    size: int  # bytes
    sha256: str  # hexadecimal


class SharedFolder:
    """The shared folder at `root`. Every method may be called by several threads."""

    def __init__(self, root: str | Path):
        self.root = Path(root)

    def __repr__(self) -> str:
        return f"SharedFolder({str(self.root)!r})"

    @property
    def settings_path(self) -> Path:
        return self.root / "Settings" / "settings.txt"

    @property
    def software_path(self) -> Path:
        return self.root / "Settings" / "Software_Per_Machine.csv"

    @property
    def applications_path(self) -> Path:
        return self.root / "Settings" / "Applications"

    # --- is it there, and what does it say ---------------------------------------------------------------------------

    def check(self) -> None:
        """Look whether this is a shared folder at all.

        Raises NoGridError if there is no such folder, FolderMissing if it is empty, ShareError if *Settings*, *Cases*
        or *Results* is missing in it, ShareAway if it can't be reached.
        """
        if not self._is_folder(self.root):
            raise NoGridError(
                f"The shared folder {self.root} is not there. Check the path, and that the network drive is connected."
            )
        missing = [name for name in ("Settings", *AREAS) if not self._is_folder(self.root / name)]
        if len(missing) == 3 and not os.listdir(self._os(self.root)):  # the place where a network drive will appear
            raise FolderMissing(
                f"The shared folder {self.root} is empty. Connect the network drive that belongs there, name another "
                "folder, or make a new grid with 'gridcompute init FOLDER'."
            )
        if missing:
            raise ShareError(
                f"{self.root} is no shared folder of GridCompute: {', '.join(missing)} missing. Name another folder, "
                f"connect the network drive, or make a new grid with 'gridcompute init FOLDER'."
            )

    def probe(self) -> None:
        """Look whether the share reads well, by reading settings.txt anew. Raises ShareAway if not."""
        try:
            there = bool(self._read(self.settings_path)) and all(self._is_folder(self.root / area) for area in AREAS)
        except OSError as exc:
            raise self._away(exc) from exc
        except ShareError as exc:
            raise ShareAway(str(exc)) from exc
        if not there:
            raise ShareAway(
                f"The shared folder {self.root} does not read well: settings.txt is empty, or Cases or Results is "
                "missing. It is waited for."
            )

    def read_settings(self) -> Settings:
        """The grid's settings. Raises SettingsError, or ShareAway."""
        from gridcompute.grid import settings

        text, where = self._text(self.settings_path)
        return settings.parse_settings(text, where)

    def read_software(self) -> SoftwareTable:
        """Which machine may process what: ask `settings.software_of`. Raises SettingsError, or ShareAway."""
        from gridcompute.grid import settings

        text, where = self._text(self.software_path)
        return settings.parse_software(text, where)

    def read_application_settings(self, name: str) -> ApplicationSettings:
        """The further settings of the application `name`; defaults without an application.txt.

        Raises SettingsError, or ShareAway.
        """
        from gridcompute.grid import settings

        try:
            text, where = self._text(self.applications_path / name / "application.txt", optional=True)
        except FileNotFoundError:
            return settings.ApplicationSettings()
        return settings.parse_application_settings(text, where)

    # --- publishing --------------------------------------------------------------------------------------------------

    def prepare(
        self,
        area: str,
        user: str,
        machine: str,
        stem: str,
        items: Sequence[str | Path],
        progress: Callable[[int], None] | None = None,
    ) -> Prepared:
        """Pack `items` (`archive.pack`) aside in the folder of `user` and `machine` in `area`, flushed and measured.

        Only these two folders are made where they are missing. `stem`, which nobody else uses at this time, begins the
        name of the archive; its hash ends it. Raises InputError, DiskFull, ShareAway, or ShareError if this user may
        not write there. Nothing is left then.
        """
        folder = self._own_folder(area, user, machine)
        part = f"{folder}/{_part_name(stem)}"
        try:
            packed = archive.pack(items, self.resolve(part), progress=progress)
        except archive.TargetError as exc:
            self._raise_share_error(f"Cannot write to the folder {self.root / folder}", exc)
        self._open_to_whom_the_parent_is(self.resolve(part), 0o666)
        if not self._has_size(part, packed.size):
            with contextlib.suppress(ShareError):
                self.remove(part)
            raise ShareAway(f"The share does not show {self.root / part} as it was written. It is tried again.")
        name = f"{escape_name(stem)}-{packed.sha256[:_HASH_SHOWN]}.zip"
        return Prepared(part, f"{folder}/{name}", packed.size, packed.sha256)

    def publish(self, prepared: Prepared) -> None:
        """Give the archive its final name. May be called again when the outcome is unknown, or was ShareAway.

        Raises ShareAway, DiskFull, or ArchiveMissing if there is neither the prepared nor the published archive while
        the share reads well.
        """
        part, final = self.resolve(prepared.part), self.resolve(prepared.path)
        try:
            retried_while_in_use(lambda: os.replace(self._os(part), self._os(final)), pause=_sleep)
        except OSError as exc:
            if not (is_missing(exc) or is_in_use(exc)):
                self._raise_share_error(f"Cannot publish {final}", exc)
            if not self._has_size(prepared.path, prepared.size):
                self._say_not_published(prepared, exc)
            if is_in_use(exc):  # by a reader of the same archive, published before
                self.discard(prepared)
        else:
            if not self._has_size(prepared.path, prepared.size):
                raise ShareAway(f"The share does not show {final} as it was published. It is looked at again.")
            self._flush_folder(final.parent)

    def discard(self, prepared: Prepared) -> None:
        """Remove what `prepare` wrote, if it was not published; for what was published there is `remove`.

        May be called again. Raises ShareAway.
        """
        self.remove(prepared.part)

    def discard_part(self, area: str, user: str, machine: str, stem: str) -> None:
        """Remove what an unfinished `prepare` with these arguments may have left. Raises ShareAway."""
        self.remove(f"{_folder_of(area, user, machine)}/{_part_name(stem)}")

    # --- reading and removing ----------------------------------------------------------------------------------------

    def fetch(
        self,
        path: str,
        size: int,
        sha256: str,
        target: Path,
        *,
        patience: float = 10.0,
        stop: Callable[[], bool] = lambda: False,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        """Copy the archive `path`, relative to the shared folder, to the new file `target`, and check it.

        What is not found, can't be read or is another archive is tried again, with growing pauses, for `patience`
        seconds, and twice at least, since network folders remember what was. Raises then ArchiveMissing or ArchiveError
        if the share reads well, else ShareAway; ShareAway if `stop` becomes true meanwhile; at once DiskFull or
        TargetError if `target` can't be written. No `target` is left then.
        """
        self._read_well(
            path,
            lambda source: archive.copy_and_check(source, target, size, sha256, progress=progress),
            patience,
            stop,
        )

    def read_archive(self, path: str, size: int, sha256: str) -> bytes:
        """The content of a small archive (`archive.SMALL_BYTES`), checked; tries again and raises as `fetch` does."""
        return self._read_well(path, lambda source: archive.read_and_check(source, size, sha256))

    def _read_well(
        self,
        path: str,
        read: Callable[[Path], _Read],
        patience: float = 10.0,
        stop: Callable[[], bool] = lambda: False,
    ) -> _Read:
        source = self.resolve(path)
        pauses = clock.Backoff(_FIRST_PAUSE, _LONGEST_PAUSE, factor=2.0)
        deadline = clock.monotonic() + patience
        tries = 0
        while True:
            tries += 1
            try:
                return read(source)
            except archive.TargetError:
                raise
            except ArchiveError as exc:
                trouble = exc
            if tries > 1 and clock.monotonic() >= deadline:
                self._raise_unfetched(source, trouble)
            if not _pause(pauses.next(), stop):
                raise ShareAway(f"Stopped waiting for {source}: {trouble}") from trouble

    def remove(self, path: str) -> None:
        """Remove an archive; that it is gone already is as good. Raises ShareAway if it can't be done or known now."""
        file = self.resolve(path)
        try:
            retried_while_in_use(lambda: os.unlink(self._os(file)), pause=_sleep)
        except OSError as exc:
            if not is_missing(exc):
                raise ShareAway(f"Cannot remove {file}: {words(exc)}. It is tried again later.") from exc
            self.probe()

    def exists(self, path: str) -> bool:
        """Whether there is an archive `path`. Raises ShareAway if that can't be known now."""
        file = self.resolve(path)
        try:
            os.stat(self._os(file))
        except OSError as exc:
            if not is_missing(exc):
                raise self._away(exc) from exc
            self.probe()
            return False
        return True

    def free_bytes(self) -> int:
        """Bytes that are free on the share; FREE_UNKNOWN if it doesn't say. Raises ShareAway."""
        try:
            usage = shutil.disk_usage(self.root)
        except OSError as exc:
            raise self._away(exc) from exc
        return usage.free if usage.total else FREE_UNKNOWN  # some network mounts say 0 of 0

    def resolve(self, path: str) -> Path:
        """The place of `path`, relative to the shared folder. Raises ArchiveError if it would leave that folder."""
        parts = path.split("/")
        if _REFUSED_IN_PATHS.search(path) or any(part in ("", ".", "..") for part in parts):
            raise ArchiveError(f"Refused the path {path!r}: it leads out of the shared folder {self.root}.")
        return self.root.joinpath(*parts)

    def own_folder(self, area: str, user: str, machine: str) -> Path:
        """Where the archives of `user` on `machine` lie in `area`; nothing is made."""
        return self.resolve(_folder_of(area, user, machine))

    def list_archives(self) -> Iterator[str]:
        """Every file below *Cases* and *Results*, relative to the shared folder. For audits: no daemon lists it."""
        for area in AREAS:
            for folder, _, files in os.walk(self.root / area):
                for name in files:
                    yield (Path(folder) / name).relative_to(self.root).as_posix()

    # --- steps -------------------------------------------------------------------------------------------------------

    def _own_folder(self, area: str, user: str, machine: str) -> str:
        """Make the folder of user and machine, never what is above: an empty mount point is not to be written to."""
        path = _folder_of(area, user, machine)
        folder = self.resolve(path)
        for made in (folder.parent, folder):
            try:
                os.mkdir(self._os(made))
            except FileExistsError:
                continue
            except OSError as exc:
                if is_missing(exc):
                    raise ShareAway(f"The folder {self.root / area} is not there. It is waited for.") from exc
                self._raise_share_error(f"Cannot make the folder {made}", exc)
            self._open_to_whom_the_parent_is(made, 0o2777)
        return path

    def _open_to_whom_the_parent_is(self, path: Path, mask: int) -> None:
        """Give `path` the mode of its folder as far as `mask` goes, whatever the umask of this user.

        The results of somebody's case are written by others' machines, and removed by him: who may write to *Results*
        may write to each folder in it. Systems and shares that go by other rights than these have set them already.
        """
        if _windows:
            return
        with contextlib.suppress(OSError):
            wanted = os.stat(path.parent).st_mode & mask
            if os.stat(path).st_mode & 0o7777 != wanted:
                path.chmod(wanted)

    def _has_size(self, path: str, size: int) -> bool:
        """Whether the share shows the file `path`, of `size` bytes."""
        try:
            return os.stat(self._os(self.resolve(path))).st_size == size
        except OSError as exc:
            if is_missing(exc):
                return False
            raise self._away(exc) from exc

    def _say_not_published(self, prepared: Prepared, exc: OSError) -> NoReturn:
        if is_in_use(exc):
            raise ShareAway(f"Cannot publish {self.root / prepared.path}: {words(exc)}. It is tried again.") from exc
        self.probe()
        raise ArchiveMissing(f"Cannot publish {self.root / prepared.path}: {prepared.part} was removed.") from exc

    def _flush_folder(self, folder: Path) -> None:
        """Have the new name on the disk too, where the system can. The rename itself is done."""
        if _windows:
            return
        try:
            descriptor = os.open(folder, os.O_RDONLY)
        except PermissionError:
            return
        except OSError as exc:
            raise self._away(exc) from exc
        try:
            flush_file(descriptor)
        except OSError as exc:
            if is_away(exc) or is_full(exc):
                self._raise_share_error(f"Cannot flush {folder}", exc)
        finally:
            os.close(descriptor)

    def _raise_unfetched(self, source: Path, trouble: ArchiveError) -> NoReturn:
        cause = trouble.__cause__
        if isinstance(cause, OSError) and not is_missing(cause):
            self._raise_share_error(f"Cannot read the archive {source}", cause)
        self.probe()
        if isinstance(cause, OSError):
            raise ArchiveMissing(f"The archive {source} is not there, while the shared folder reads well.") from trouble
        raise trouble

    def _text(self, path: Path, *, optional: bool = False) -> tuple[str, str]:
        """The text of a settings file and its name for messages; FileNotFoundError if it may be missing, and is."""
        from gridcompute.grid.settings import decode

        where = f"{path.name} in {path.parent}"
        try:
            return decode(self._read(path), where), where
        except OSError as exc:
            if is_missing(exc):
                if not self._is_folder(self.root / "Settings"):
                    raise ShareAway(f"The folder {self.root / 'Settings'} is not there. It is waited for.") from exc
                if optional:
                    raise FileNotFoundError(path) from exc
                raise SettingsError(
                    f"Cannot read {where}: there is no such file. Copy it from template/Shared_Folder and edit it."
                ) from exc
            if is_away(exc):
                raise self._away(exc) from exc
            raise SettingsError(
                f"Cannot read {where}: {words(exc)}. Close it in other programs, and let everybody read it."
            ) from exc

    def _read(self, path: Path) -> bytes:
        return retried_while_in_use(lambda: Path(self._os(path)).read_bytes(), pause=_sleep)

    def _is_folder(self, path: Path) -> bool:
        try:
            state = os.stat(self._os(path))
            if path == self.root:
                os.listdir(path)  # some mounts show their root though the server behind it is gone
        except OSError as exc:
            if is_missing(exc):
                return False
            if isinstance(exc, PermissionError):
                raise ShareError(f"Cannot look into {path}: {words(exc)}. Ask an administrator for the right.") from exc
            raise self._away(exc) from exc
        return stat.S_ISDIR(state.st_mode)

    def _raise_share_error(self, tried: str, exc: OSError | archive.TargetError) -> NoReturn:
        cause = exc if isinstance(exc, OSError) else exc.__cause__
        assert isinstance(cause, OSError)
        raise self._share_error(tried, cause) from cause

    def _share_error(self, tried: str, exc: OSError) -> GridComputeError:
        if is_full(exc):
            return DiskFull(f"{tried}: no space is left on the share ({words(exc)}). Remove what is not needed there.")
        if is_away(exc) or is_missing(exc) or is_in_use(exc):
            return ShareAway(f"{tried}: {words(exc)}. It is waited for.")
        return ShareError(f"{tried}: {words(exc)}. Ask an administrator for the right to read and write there.")

    def _away(self, exc: OSError) -> ShareAway:
        return ShareAway(f"The shared folder {self.root} can't be reached: {words(exc)}. It is waited for.")

    @staticmethod
    def _os(path: Path) -> str:
        return long_path(os.path.abspath(path), windows=True) if _windows else str(path)


def _folder_of(area: str, user: str, machine: str) -> str:
    if area not in AREAS:
        raise ValueError(f"{area!r} is none of {AREAS}")
    return f"{area}/{escape_name(user)}/{escape_name(machine)}"


def _part_name(stem: str) -> str:
    return f"{escape_name(stem)}.part"


def _pause(seconds: float, stop: Callable[[], bool]) -> bool:
    """Wait; False as soon as `stop` says so."""
    end = clock.monotonic() + seconds
    while not stop():
        left = end - clock.monotonic()
        if left <= 0:
            return True
        _sleep(min(left, _STOP_IS_HEARD))
    return False
