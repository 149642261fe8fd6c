"""The shared folder: archives are published whole or not at all, and a share that is away is no missing archive."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from gridcompute.errors import (
    ArchiveError,
    ArchiveMissing,
    DiskFull,
    InputError,
    NoGridError,
    SettingsError,
    ShareAway,
    ShareError,
)
from gridcompute.grid import archive, new_file, shared_folder, trouble
from gridcompute.grid.settings import ApplicationSettings, software_of
from gridcompute.grid.shared_folder import FREE_UNKNOWN, Prepared, SharedFolder

from .test_trouble import windows_error

settings_text = "mongodb server: a:1\nuser group: g\npassword: p\ninstance: 0\n"


@pytest.fixture
def share(tmp_path) -> SharedFolder:
    """A shared folder as the template has it."""
    root = tmp_path / "Shared Folder"
    for name in ("Settings/Applications", "Cases", "Results"):
        (root / name).mkdir(parents=True)
    (root / "Settings/settings.txt").write_text(settings_text)
    (root / "Settings/Software_Per_Machine.csv").write_text("Machine name,A\nPC-1,1\n")
    return SharedFolder(root)


@pytest.fixture
def item(tmp_path) -> Path:
    path = tmp_path / "beam.inp"
    path.write_bytes(b"*NODE\n" * 100)
    return path


@pytest.fixture
def prepare(share, item):
    """Prepares an archive of one small file: ``prepare(stem="case-1")``."""

    def make(stem: str = "case", user: str = "bob", machine: str = "PC-1") -> Prepared:
        return share.prepare("Cases", user, machine, stem, [item])

    return make


@pytest.fixture
def published(share, prepare) -> Prepared:
    prepared = prepare()
    share.publish(prepared)
    return prepared


@pytest.fixture(autouse=True)
def pauses(monkeypatch) -> list[float]:
    """The pauses that were made; they take no time, but the clock goes on."""
    made: list[float] = []
    now = [1000.0]

    def pause(seconds: float) -> None:
        made.append(seconds)
        now[0] += seconds

    monkeypatch.setattr(shared_folder, "_sleep", pause)
    monkeypatch.setattr(shared_folder.clock, "monotonic", lambda: now[0])
    return made


def unmount(share: SharedFolder) -> Path:
    """Take the share away as an unmount does: an empty folder is left. The full one is returned."""
    aside = share.root.with_name("aside")
    share.root.rename(aside)
    share.root.mkdir()
    return aside


def mount(share: SharedFolder, aside: Path) -> None:
    share.root.rmdir()
    aside.rename(share.root)


def failing(monkeypatch, name: str, error: OSError, times: int = 1000, *, only: str = "") -> list[str]:
    """Have the function `name` of os fail with `error`, `times` times, on paths that end with `only`."""
    real = getattr(os, name)
    asked: list[str] = []

    def fail(path, *args, **options):
        if str(path).endswith(only):
            asked.append(str(path))
            if len(asked) <= times:
                raise error
        return real(path, *args, **options)

    monkeypatch.setattr(os, name, fail)
    return asked


# --- what the share says ---------------------------------------------------------------------------------------------


def test_a_whole_shared_folder_passes_the_check(share):
    share.check()
    share.probe()


def test_a_root_that_is_not_there_is_no_grid(tmp_path):
    with pytest.raises(NoGridError, match=r"gone is not there. Check the path"):
        SharedFolder(tmp_path / "gone").check()


def test_missing_folders_are_named(share):
    shutil.rmtree(share.root / "Cases")
    with pytest.raises(ShareError, match=r"no shared folder of GridCompute: Cases missing"):
        share.check()


def test_settings_are_read(share):
    (share.applications_path / "A").mkdir()
    (share.applications_path / "A/application.txt").write_text("attempts: 1\n")

    assert share.read_settings().mongodb_server == "a:1"
    assert software_of(share.read_software(), "pc-1") == {"A"}
    assert share.read_application_settings("A") == ApplicationSettings(attempts=1)
    assert share.read_application_settings("B") == ApplicationSettings()


def test_a_missing_settings_file_is_an_error_of_the_settings(share):
    share.settings_path.unlink()
    share.software_path.unlink()

    with pytest.raises(SettingsError, match=r"settings\.txt in .*Settings: there is no such file"):
        share.read_settings()
    with pytest.raises(SettingsError, match=r"Software_Per_Machine\.csv in .*: there is no such file"):
        share.read_software()


def test_an_empty_mount_point_is_a_share_that_is_away(share, prepare):
    prepared = prepare()
    aside = unmount(share)

    for ask in (
        share.probe,
        share.read_settings,
        share.read_software,
        lambda: share.read_application_settings("A"),
        lambda: share.publish(prepared),
        lambda: share.discard(prepared),
        lambda: share.remove(prepared.path),
        lambda: share.exists(prepared.path),
        lambda: share.fetch(prepared.path, prepared.size, prepared.sha256, aside / "copy"),
        prepare,
    ):
        with pytest.raises(ShareAway):
            ask()
    assert list(share.root.iterdir()) == []

    mount(share, aside)
    share.publish(prepared)
    assert share.exists(prepared.path)


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO, errno.ENOTCONN, errno.EHOSTDOWN, errno.ETIMEDOUT])
def test_a_share_that_answers_with_an_error_is_away(share, published, monkeypatch, number):
    error = OSError(number, os.strerror(number))
    for name in ("stat", "unlink", "mkdir", "listdir"):
        failing(monkeypatch, name, error, only="")

    for ask in (share.check, share.probe, lambda: share.exists(published.path), lambda: share.remove(published.path)):
        with pytest.raises(ShareAway):
            ask()


def test_a_share_that_windows_does_not_reach_is_away(share, monkeypatch):
    failing(monkeypatch, "stat", windows_error(53, errno.ENOENT))

    with pytest.raises(ShareAway):
        share.check()


# --- publishing ------------------------------------------------------------------------------------------------------


def test_an_archive_lies_aside_until_it_is_published(share, prepare):
    prepared = prepare("case-1")

    assert list(share.list_archives()) == [prepared.part] == ["Cases/bob/PC-1/case-1.part"]
    assert prepared.path == f"Cases/bob/PC-1/case-1-{prepared.sha256[:12]}.zip"
    assert not share.exists(prepared.path)

    share.publish(prepared)

    assert list(share.list_archives()) == [prepared.path]
    content = (share.root / prepared.path).read_bytes()
    assert (prepared.size, prepared.sha256) == (len(content), hashlib.sha256(content).hexdigest())


def test_what_is_prepared_survives_json(prepare):
    prepared = prepare()

    assert Prepared(**json.loads(json.dumps(prepared._asdict()))) == prepared


def test_users_and_machines_of_any_name_get_a_folder(share, prepare):
    prepared = prepare(user="DOMAIN\\jörg", machine="..")

    share.publish(prepared)

    assert prepared.path.startswith("Cases/DOMAIN=5Cjörg/.=2E/case-")
    assert share.exists(prepared.path)


def test_publishing_again_changes_nothing(share, prepare):
    prepared = prepare()

    for _ in range(3):
        share.publish(prepared)

    assert list(share.list_archives()) == [prepared.path]


def test_a_rename_whose_answer_was_lost_counts_as_done(share, prepare, monkeypatch):
    prepared = prepare()
    real = os.replace

    def lose_answer(source, target):
        real(source, target)
        raise OSError(errno.ETIMEDOUT, "no answer")

    monkeypatch.setattr(os, "replace", lose_answer)
    with pytest.raises(ShareAway):
        share.publish(prepared)
    monkeypatch.undo()

    share.publish(prepared)
    assert share.exists(prepared.path)


def test_an_archive_that_the_share_does_not_show_whole_is_not_published(share, prepare, monkeypatch):
    prepared = prepare()
    real = os.replace

    def cut(source, target):
        real(source, target)
        os.truncate(target, 3)

    monkeypatch.setattr(os, "replace", cut)
    with pytest.raises(ShareAway, match="does not show"):
        share.publish(prepared)


def test_what_was_removed_meanwhile_can_not_be_published(share, prepare):
    prepared = prepare()
    share.discard(prepared)

    with pytest.raises(ArchiveMissing, match=r"case\.part was removed"):
        share.publish(prepared)


def test_a_virus_scanner_that_looks_at_the_new_file_is_waited_for(share, prepare, monkeypatch, pauses):
    prepared = prepare()
    failing(monkeypatch, "replace", windows_error(32, errno.EACCES), times=3)

    share.publish(prepared)

    assert pauses == list(trouble.IN_USE_PAUSES[:3])
    assert share.exists(prepared.path)


def test_a_reader_of_the_same_archive_does_not_stop_publishing(share, prepare, monkeypatch):
    share.publish(prepare())
    again = prepare()
    failing(monkeypatch, "replace", windows_error(5, errno.EACCES))

    share.publish(again)

    assert list(share.list_archives()) == [again.path]


def test_discarding_leaves_nothing_and_may_be_repeated(share, prepare):
    prepared = prepare()
    for _ in range(2):
        share.discard(prepared)
    prepare("other")
    for _ in range(2):
        share.discard_part("Cases", "bob", "PC-1", "other")

    assert list(share.list_archives()) == []


@pytest.mark.skipif(os.name == "nt", reason="rights are others there")
@pytest.mark.parametrize(
    ("area", "folder", "file"), [(0o1777, 0o777, 0o666), (0o2775, 0o2775, 0o664), (0o755, 0o755, 0o644)]
)
def test_whoever_may_write_to_the_area_may_write_what_others_made_there(share, prepare, area, folder, file):
    """Machines of other users write to *Results*, and whoever submitted removes what they wrote."""
    (share.root / "Cases").chmod(area)
    before = os.umask(0o077)
    try:
        prepared = prepare()
    finally:
        os.umask(before)
    archive = share.resolve(prepared.part)
    modes = [path.stat().st_mode & 0o7777 for path in (archive.parent.parent, archive.parent, archive)]
    assert modes == [folder, folder, file]


def test_no_folder_above_user_and_machine_is_made(share, prepare):
    shutil.rmtree(share.root / "Cases")

    with pytest.raises(ShareAway, match="Cases is not there"):
        prepare()
    assert not (share.root / "Cases").exists()


def test_a_fault_of_the_input_leaves_nothing_on_the_share(share, tmp_path):
    with pytest.raises(InputError, match=r"gone\.inp"):
        share.prepare("Cases", "bob", "PC-1", "case", [tmp_path / "gone.inp"])
    assert list(share.list_archives()) == []


@pytest.mark.parametrize(
    ("number", "error"),
    [
        *((number, DiskFull) for number in (errno.ENOSPC, errno.EDQUOT)),
        *((number, ShareAway) for number in (errno.EIO, errno.ESTALE, errno.ETIMEDOUT)),
        *((number, ShareError) for number in (errno.EACCES, errno.EROFS)),
    ],
)
@pytest.mark.parametrize("step", ["mkdir", "fsync", "replace"])
def test_errors_of_the_share_have_their_names(share, item, monkeypatch, number, error, step):
    failing(monkeypatch, step, OSError(number, os.strerror(number)))

    with pytest.raises(error) as caught:
        share.publish(share.prepare("Cases", "bob", "PC-1", "case", [item]))
    assert type(caught.value) is error
    assert os.strerror(number) in str(caught.value)


def test_a_folder_that_can_not_be_flushed_stops_nobody(share, prepare, monkeypatch):
    prepared = prepare()
    failing(monkeypatch, "fsync", OSError(errno.EINVAL, "no folders"))

    share.publish(prepared)


def test_an_area_that_is_none_is_a_mistake(share, item):
    with pytest.raises(ValueError, match="Settings"):
        share.prepare("Settings", "bob", "PC-1", "case", [item])


# --- fetching --------------------------------------------------------------------------------------------------------


def test_a_published_archive_is_fetched(share, published, tmp_path):
    share.fetch(published.path, published.size, published.sha256, tmp_path / "copy.zip")

    (out,) = archive.unpack(tmp_path / "copy.zip", tmp_path / "out", verified=True)
    assert out.read_bytes() == b"*NODE\n" * 100


def test_an_archive_that_comes_late_is_waited_for_with_growing_pauses(share, published, tmp_path, pauses):
    final, aside = share.root / published.path, tmp_path / "aside"
    final.rename(aside)

    def stop() -> bool:
        if sum(pauses) > 3 and aside.exists():
            aside.rename(final)
        return False

    share.fetch(published.path, published.size, published.sha256, tmp_path / "copy", stop=stop)

    assert 3 < sum(pauses) < 6


def test_a_missing_archive_counts_when_the_share_reads_well(share, published, tmp_path, pauses):
    share.remove(published.path)

    with pytest.raises(ArchiveMissing, match="is not there, while the shared folder reads well"):
        share.fetch(published.path, published.size, published.sha256, tmp_path / "copy", patience=5)
    assert 5 <= sum(pauses) < 8


@pytest.mark.parametrize("damage", [b"", b"other content"])
def test_a_damaged_archive_counts_when_the_share_reads_well(share, published, tmp_path, damage):
    (share.root / published.path).write_bytes(damage)

    with pytest.raises(ArchiveError, match="is damaged"):
        share.fetch(published.path, published.size, published.sha256, tmp_path / "copy", patience=0)
    assert not (tmp_path / "copy").exists()


def test_damaged_and_missing_do_not_count_while_the_share_reads_badly(share, published, tmp_path):
    (share.root / published.path).write_bytes(b"damaged")
    share.settings_path.write_bytes(b"")

    with pytest.raises(ShareAway, match="does not read well"):
        share.fetch(published.path, published.size, published.sha256, tmp_path / "copy")


def test_an_archive_is_looked_at_twice_even_without_patience(share, published, tmp_path, monkeypatch):
    asked = failing(monkeypatch, "open", OSError(errno.ESTALE, "stale"), times=1, only=".zip")

    share.fetch(published.path, published.size, published.sha256, tmp_path / "copy", patience=0)

    assert len(asked) == 2


@pytest.mark.parametrize(
    ("error", "becomes"),
    [
        (OSError(errno.EIO, "away"), ShareAway),
        (windows_error(64), ShareAway),
        (windows_error(32, errno.EACCES), ShareAway),
        (PermissionError(errno.EACCES, "no right"), ShareError),
    ],
)
def test_an_archive_that_can_not_be_read_is_a_fault_of_the_share(
    share, published, tmp_path, monkeypatch, error, becomes
):
    failing(monkeypatch, "open", error, only=".zip")

    with pytest.raises(becomes) as caught:
        share.fetch(published.path, published.size, published.sha256, tmp_path / "copy")
    assert type(caught.value) is becomes


def test_a_stop_ends_the_waiting_at_once(share, published, tmp_path, pauses):
    share.remove(published.path)

    with pytest.raises(ShareAway, match="Stopped waiting"):
        share.fetch(published.path, published.size, published.sha256, tmp_path / "copy", stop=lambda: len(pauses) > 2)
    assert len(pauses) == 3


def test_a_full_disk_here_is_told_at_once(share, published, tmp_path, monkeypatch, pauses):
    def full(*args, **options):
        raise OSError(errno.ENOSPC, "No space left")

    monkeypatch.setattr(new_file, "open", full, raising=False)

    with pytest.raises(DiskFull):
        share.fetch(published.path, published.size, published.sha256, tmp_path / "copy")
    assert pauses == []


# --- the rest --------------------------------------------------------------------------------------------------------


def test_removing_may_be_repeated(share, published):
    for _ in range(2):
        share.remove(published.path)

    assert not share.exists(published.path)


def test_an_archive_that_another_program_holds_is_removed_later(share, published, monkeypatch, pauses):
    failing(monkeypatch, "unlink", windows_error(32, errno.EACCES))

    with pytest.raises(ShareAway, match="It is tried again later"):
        share.remove(published.path)
    assert pauses == list(trouble.IN_USE_PAUSES)


@pytest.mark.parametrize(
    "path",
    ["", "/etc/passwd", "../x", "Cases/../../x", "Cases//x", "Cases/.", "C:/x", "C:x", "a\\b", "\\\\s\\x", "a\0b"],
)
def test_no_path_leaves_the_shared_folder(share, tmp_path, path):
    for ask in (share.resolve, share.remove, share.exists, lambda path: share.fetch(path, 0, "", tmp_path / "copy")):
        with pytest.raises(ArchiveError, match="it leads out of the shared folder"):
            ask(path)


def test_free_space_is_told_where_the_share_tells_it(share, monkeypatch):
    assert 0 < share.free_bytes() < FREE_UNKNOWN
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, 0))
    assert share.free_bytes() == FREE_UNKNOWN
