"""A shared folder that is a real SMB share, as in an office: names, and a server that goes away and comes back."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from gridcompute.errors import ArchiveMissing, ShareAway
from gridcompute.grid import archive
from gridcompute.grid.shared_folder import Prepared, SharedFolder
from tests.support.samba import SambaShare, samba_share
from tests.support.waiting import wait_for

names = ["with space.inp", "Ümläut ß.inp", "梁の解析.inp", "it's (a) [b] & c.inp", 'say "hi".inp', "a:b?.inp", "empty"]


@pytest.fixture
def samba(tmp_path):
    with samba_share(tmp_path / "samba") as share:
        for name in ("Settings/Applications", "Cases", "Results"):
            (share.exported / name).mkdir(parents=True)
        (share.exported / "Settings/settings.txt").write_text(
            "mongodb server: a:1\nuser group: g\npassword: p\ninstance: 0\n", encoding="utf-8"
        )
        yield share


@pytest.fixture
def share(samba: SambaShare) -> SharedFolder:
    return SharedFolder(samba.mounted)


@pytest.fixture
def items(tmp_path) -> list[Path]:
    """Files of every name, one of 3 MB, and a folder with an empty one in it; two of them have one name."""
    folder = tmp_path / "inputs"
    (folder / "study ü" / "empty folder").mkdir(parents=True)
    for name in names:
        (folder / name).write_bytes(b"" if name == "empty" else name.encode())
    (folder / "big.bin").write_bytes(random.Random(1).randbytes(3_000_000))
    return [*(folder / name for name in names), folder / "big.bin", folder / "study ü", folder / names[0]]


def put(share: SharedFolder, items: list[Path]) -> Prepared:
    prepared = share.prepare("Cases", 'DOMAIN\\Jörg "J" 井上', "PC: 7.", "case-1", items)
    share.publish(prepared)
    return prepared


def get(share: SharedFolder, prepared: Prepared, folder: Path) -> list[Path]:
    folder.mkdir(exist_ok=True)
    copy = folder / "copy.zip"
    share.fetch(prepared.path, prepared.size, prepared.sha256, copy, patience=0.5)
    return archive.unpack(copy, folder / "files", verified=True)


def test_files_of_every_name_cross_the_share(share, samba, items, tmp_path):
    share.check()
    prepared = put(share, items)

    out = get(share, prepared, tmp_path / "work")

    assert [path.name for path in out] == [item.name for item in items]
    assert [path.read_bytes() for path in out if path.is_file()] == [
        item.read_bytes() for item in items if item.is_file()
    ]
    assert (out[-2] / "empty folder").is_dir()
    assert list(share.list_archives()) == [prepared.path]
    assert (samba.exported / prepared.path).stat().st_size == prepared.size


def test_a_share_that_goes_away_is_waited_for(share, samba, items, tmp_path):
    first = put(share, items)
    second = share.prepare("Cases", "bob", "PC-1", "case-2", items)

    samba.take_away()

    for ask in (
        share.probe,
        share.read_settings,
        lambda: get(share, first, tmp_path / "away"),
        lambda: share.prepare("Cases", "bob", "PC-1", "case-3", items),
        lambda: share.publish(second),
        lambda: share.remove(first.path),
    ):
        with pytest.raises(ShareAway):
            ask()

    samba.bring_back()
    wait_for(lambda: reads_well(share), message="the share")

    assert share.read_settings().instance == "0"
    share.publish(second)
    assert len(get(share, first, tmp_path / "first")) == len(get(share, second, tmp_path / "second")) == len(items)
    share.remove(first.path)
    share.discard_part("Cases", "bob", "PC-1", "case-3")
    assert list(share.list_archives()) == [second.path]


def test_an_archive_that_is_not_there_is_missing_only_while_the_share_is_there(share, samba, items, tmp_path):
    prepared = put(share, items)
    share.remove(prepared.path)

    with pytest.raises(ArchiveMissing):
        get(share, prepared, tmp_path / "missing")

    samba.take_away()
    with pytest.raises(ShareAway):
        get(share, prepared, tmp_path / "away")


def test_an_archive_published_on_another_machine_is_found_though_it_was_missed_before(share, samba, items, tmp_path):
    prepared = put(share, items)
    final, aside = samba.exported / prepared.path, samba.exported / "aside"
    final.rename(aside)
    with pytest.raises(ArchiveMissing):
        get(share, prepared, tmp_path / "before")

    aside.rename(final)

    assert len(get(share, prepared, tmp_path / "after")) == len(items)


def reads_well(share: SharedFolder) -> bool:
    try:
        share.probe()
    except ShareAway:
        return False
    return True
