"""The executable's folder as one file for Linux: a few lines of shell, then the folder, packed.

Started, it unpacks itself once for each user and version below the user's cache folder, and runs from there. A
``server.txt`` beside the file is found as one beside the executable is (`gridcompute.machine.program.folder`).
"""

from __future__ import annotations

import hashlib
import platform
import tarfile
import tempfile
from pathlib import Path
from typing import IO, Any

from gridcompute import config
from gridcompute.machine.program import archive_variable

head = """#!/bin/sh
# GridCompute {version} in one file: unpacks itself once for each user, then runs; arguments go to the program.
set -e
file=$(readlink -f "$0")
cache=${{XDG_CACHE_HOME:-${{HOME:-$(getent passwd "$(id -u)" | cut -d: -f6)}}/.cache}}
place=$cache/GridCompute/{name}
if [ ! -x "$place/GridCompute" ]; then
    mkdir -p "$cache/GridCompute"
    aside=$(mktemp -d "$place.XXXXXX")
    tail -n +{lines} "$file" | tar -xz -C "$aside"
    mv -T "$aside" "$place" 2>/dev/null || rm -rf "$aside" # another start was first
fi
export {variable}="$file"
exec "$place/GridCompute" "$@"
"""


def make(folder: Path) -> Path:
    """Pack `folder` into one file beside it, which replaces an earlier one; its path."""
    target = folder.parent / f"GridCompute-{config.version}-{platform.machine()}.run"
    with tempfile.TemporaryFile() as packed:
        with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=6) as archive:
            for path in sorted(folder.iterdir()):
                archive.add(path, path.name)
        packed.seek(0)
        digest = hashlib.file_digest(packed, "sha256") if hasattr(hashlib, "file_digest") else _digest(packed)
        name = f"{config.version}-{digest.hexdigest()[:12]}"
        packed.seek(0)
        with target.open("wb") as file:
            file.write(head_of(name).encode())
            while block := packed.read(1 << 20):
                file.write(block)
    target.chmod(0o755)
    return target


def head_of(name: str) -> str:
    """The lines of shell for a folder of this `name`; what is packed follows them."""
    lines = head.count("\n") + 1
    return head.format(lines=lines, version=config.version, name=name, variable=archive_variable)


def _digest(file: IO[bytes]) -> Any:  # Python 3.10
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest
