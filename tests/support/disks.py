"""Small disks that fill up: a tmpfs of a few kilobytes, mounted for a test."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.services import missing, need_root


@contextmanager
def small_disk(folder: Path, kibibytes: int) -> Iterator[Path]:
    """A disk of that size mounted at `folder`, which is made; `missing` where it can't be mounted."""
    need_root()
    if sys.platform != "linux":
        missing("this test mounts a tmpfs, which Linux has")
    folder.mkdir()
    size = f"size={kibibytes}k"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", folder], capture_output=True, text=True)
    if mounted.returncode:
        missing(f"this system mounts no tmpfs: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def fill(folder: Path, *, leave: int = 0) -> Path:
    """Fill the disk of `folder` with a file, which is returned, up to `leave` bytes."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
        file.truncate(max(0, file.tell() - leave) // 4096 * 4096)  # in whole pages
    assert shutil.disk_usage(folder).free >= leave
    return ballast
