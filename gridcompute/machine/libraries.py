"""Libraries that come with Python or with the executable, and their licences.

The texts lie in ``licence_texts``. The build of the executable stops at a library that this table does not know, so
that nothing is shipped without its licence.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

_texts = Path(__file__).with_name("licence_texts")


class Library(NamedTuple):
    """One library; `files` are the beginnings of its files' names, in lower case, where it has files of its own."""

    name: str
    licence: str
    """An SPDX expression where there is one."""
    text_file: str
    files: tuple[str, ...] = ()
    with_python: bool = True
    """Whether every Python has it, on each system."""

    @property
    def text(self) -> str:
        return (_texts / f"{self.text_file}.txt").read_text("utf-8").strip()


libraries = (
    Library("Tcl/Tk", "TCL", "tcl-tk", ("libtcl", "libtk", "tcl8", "tcl9", "tk8", "zlib1")),
    Library("OpenSSL", "Apache-2.0", "openssl", ("libssl", "libcrypto")),
    Library("SQLite", "blessing (public domain)", "sqlite", ("libsqlite3", "sqlite3")),
    Library("libffi", "MIT", "libffi", ("libffi",)),
    Library("bzip2", "bzip2-1.0.6", "bzip2", ("libbz2",)),
    Library("liblzma", "public domain", "xz", ("liblzma",)),
    Library("Expat", "MIT", "expat", ("libexpat",)),
    Library("zlib", "Zlib", "zlib", ("libz.", "libz-")),
    Library("mpdecimal", "BSD-2-Clause", "mpdecimal", ("libmpdec",)),
    Library("Mozilla's CA certificates", "MPL-2.0", "ca-certificates", ("certs.pem",), False),
    Library("tz database", "public domain", "tzdata", ("zoneinfo",), False),
    Library(
        "ncurses", "X11-distribute-modifications-variant", "ncurses", ("libncurses", "libtinfo", "libpanel"), False
    ),
    Library("GNU Readline", "GPL-3.0-or-later", "readline", ("libreadline",), False),
    Library("GDBM", "GPL-3.0-or-later", "gdbm", ("libgdbm",), False),
    Library("libuuid", "BSD-3-Clause", "libuuid", ("libuuid",), False),
    Library("libxcrypt", "LGPL-2.1-or-later", "libxcrypt", ("libcrypt-", "libcrypt."), False),
    Library("libpng", "libpng-2.0", "libpng", ("libpng",), False),
    Library("FreeType", "FTL", "freetype", ("libfreetype",), False),
    Library("Fontconfig", "HPND-sell-variant", "fontconfig", ("libfontconfig",), False),
    Library("libXft", "HPND-sell-variant", "libXft", ("libxft",), False),
)


def with_python() -> list[Library]:
    """Those that come with every Python."""
    return [one for one in libraries if one.with_python]


def of_files(names: Iterable[str]) -> tuple[list[Library], list[str]]:
    """The libraries that files of these names are, and the names that no library of the table has."""
    found, unknown = set(), []
    for name in names:
        one = next((one for one in libraries if name.lower().startswith(one.files)), None) if name else None
        if one is None:
            unknown.append(name)
        else:
            found.add(one)
    return [one for one in libraries if one in found], sorted(unknown)
