"""Disks that are full: named, nothing half written is left, and it goes on when there is room again."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import pytest

from gridcompute.errors import DiskFull
from gridcompute.grid import archive
from gridcompute.grid.shared_folder import SharedFolder
from tests.support.disks import fill, small_disk


@pytest.fixture
def disk(tmp_path):
    """A disk of 400 kilobytes."""
    with small_disk(tmp_path / "small disk", 400) as folder:
        yield folder


@pytest.fixture
def item(tmp_path) -> Path:
    """200 kilobytes that don't shrink."""
    path = tmp_path / "numbers.bin"
    path.write_bytes(random.Random(1).randbytes(200_000))
    return path


@pytest.fixture
def share(disk) -> SharedFolder:
    for name in ("Settings", "Cases", "Results"):
        (disk / name).mkdir()
    (disk / "Settings/settings.txt").write_text("instance: 0\n")
    return SharedFolder(disk)


def test_a_share_that_is_full_takes_the_archive_when_there_is_room_again(share, disk, item):
    ballast = fill(disk, leave=100_000)

    with pytest.raises(DiskFull, match="no space is left"):
        share.prepare("Results", "bob", "PC-1", "case", [item])
    assert list(share.list_archives()) == []
    share.probe()

    ballast.unlink()
    prepared = share.prepare("Results", "bob", "PC-1", "case", [item])
    share.publish(prepared)
    assert share.exists(prepared.path)
    assert share.free_bytes() < 250_000


def test_a_share_without_room_for_a_folder_is_full(share, disk, item):
    fill(disk)

    with pytest.raises(DiskFull, match="no space is left"):
        share.prepare("Results", "bob", "PC-1", "case", [item])


def test_a_disk_of_this_computer_that_is_full_leaves_no_part_of_a_copy(disk, item, tmp_path):
    sha256 = hashlib.sha256(item.read_bytes()).hexdigest()
    ballast = fill(disk, leave=100_000)

    with pytest.raises(DiskFull, match="no space is left"):
        archive.copy_and_check(item, disk / "copy", 200_000, sha256)
    assert not (disk / "copy").exists()

    ballast.unlink()
    archive.copy_and_check(item, disk / "copy", 200_000, sha256)


def test_a_disk_of_this_computer_that_is_full_is_named_when_unpacking(disk, item, tmp_path):
    archive.pack([item], tmp_path / "a.zip")
    fill(disk, leave=100_000)

    with pytest.raises(DiskFull, match=r"numbers\.bin: no space is left"):
        archive.unpack(tmp_path / "a.zip", disk / "files")
