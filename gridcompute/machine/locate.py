"""Finds the grid: which shared folder is meant, from an option, a variable, server.txt or the preferences."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from gridcompute.config import environment_server, server_file
from gridcompute.errors import FolderMissing, NoGridError

__all__ = ["NamedFolder", "find_shared_folder", "name_shared_folder", "placeholder"]

placeholder = "PATH OF YOUR SHARED FOLDER"
"""What the server.txt of the repository holds: not set."""


class NamedFolder(NamedTuple):
    """A shared folder that was named, there or not."""

    folder: Path
    source: str
    """Who named it, in words that begin a sentence."""


def find_shared_folder(
    option: str | None = None,
    *,
    program_folder: Path,
    current_folder: Path,
    environ: Mapping[str, str],
    preference: str | None = None,
) -> Path:
    """The shared folder that the first of these names: `--server`, GRIDCOMPUTE_SERVER, server.txt beside the program,
    server.txt in the current folder, the grid chosen in the window.

    Raises `NoGridError` when none names one, `FolderMissing` when the one named is not there: no other is tried then,
    since cases would go to a grid that nobody meant.
    """
    named = name_shared_folder(
        option,
        program_folder=program_folder,
        current_folder=current_folder,
        environ=environ,
        preference=preference,
    )
    if not _is_folder(named.folder):
        raise FolderMissing(
            f"{named.source} names the shared folder {named.folder}, but there is no such folder, or it can't be "
            "reached from here. Check the name and whether the network drive is connected."
        )
    return named.folder


def name_shared_folder(
    option: str | None = None,
    *,
    program_folder: Path,
    current_folder: Path,
    environ: Mapping[str, str],
    preference: str | None = None,
) -> NamedFolder:
    """As `find_shared_folder`, without a look at the folder, which may be away for the moment."""
    for text, base, source in _places(option, program_folder, current_folder, environ, preference):
        name = _clean(text)
        if name:
            return NamedFolder(base / Path(name).expanduser(), source)
    raise NoGridError(
        f"No grid is named: there is no option --server, the variable {environment_server} is not set, and "
        f"{server_file} is missing, empty or holds the placeholder, in {program_folder} and in {current_folder}. "
        f"Write the path of the shared folder into {server_file}, or use --server FOLDER. "
        "To make a new grid: gridcompute init FOLDER; to try one: gridcompute demo."
    )


def _places(
    option: str | None,
    program_folder: Path,
    current_folder: Path,
    environ: Mapping[str, str],
    preference: str | None,
) -> Iterator[tuple[str, Path, str]]:
    """Each place that may name the folder: its text, the folder a relative path starts from, the place in words."""
    yield option or "", current_folder, "The option --server"
    yield environ.get(environment_server, ""), current_folder, f"The variable {environment_server}"
    for folder in dict.fromkeys((program_folder, current_folder)):
        yield _read(folder / server_file), folder, str(folder / server_file)
    yield preference or "", current_folder, "The grid chosen in the window"


def _clean(text: str) -> str:
    """The first line that says something, without quotes; empty for none and for the placeholder."""
    for line in text.splitlines():
        name = line.strip().strip("\"'").strip()
        if name and not name.startswith("#"):
            return "" if name.casefold() == placeholder.casefold() else name
    return ""


def _read(path: Path) -> str:
    """The text of a server.txt, empty where there is none; whatever encoding the administrator's editor chose."""
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as exc:
        raise NoGridError(
            f"Cannot read {path}: {exc.strerror or exc}. Make it readable or use --server FOLDER."
        ) from exc
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False
