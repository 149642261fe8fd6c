"""Case archives: what goes in comes out, what must not come out does not."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import random
import stat
import struct
import tempfile
import unicodedata
import warnings
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gridcompute.errors import ArchiveError, DiskFull, InputError
from gridcompute.grid import archive, new_file, zip_writer
from gridcompute.grid.archive import Limits, SourceError, TargetError, copy_and_check, pack, unpack

posix = pytest.mark.skipif(os.name != "posix", reason="Windows has no such files")
mebibyte = 1 << 20


def numbers_of(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def snapshot(path: Path) -> object:
    """A file's content, or a folder's names with theirs."""
    if path.is_dir():
        return {child.name: snapshot(child) for child in path.iterdir()}
    return path.read_bytes()


def round_trip(tmp_path: Path, *items: Path) -> list[Path]:
    packed = pack(items, tmp_path / "a.zip")
    content = (tmp_path / "a.zip").read_bytes()
    assert packed.size == len(content)
    assert packed.sha256 == hashlib.sha256(content).hexdigest()
    with zipfile.ZipFile(tmp_path / "a.zip") as others_view:
        assert others_view.testzip() is None
        assert len(others_view.infolist()) == packed.files
    return unpack(tmp_path / "a.zip", tmp_path / "out")


@pytest.fixture
def write(tmp_path):
    """Writes input files: ``write("folder/name", b"content")``."""

    def make(name: str, content: bytes = b"content") -> Path:
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    return make


# --- what goes in comes out ------------------------------------------------------------------------------------------


def test_items_come_back_side_by_side_in_their_order(tmp_path, write):
    items = [write("z.inp", b"z"), write("a.inp", b"a"), write("m.inp", b"")]

    out = round_trip(tmp_path, *items)

    assert out == [tmp_path / "out" / name for name in ("z.inp", "a.inp", "m.inp")]
    assert [path.read_bytes() for path in out] == [b"z", b"a", b""]


def test_a_folder_comes_back_with_its_empty_folders_and_files(tmp_path, write):
    write("study/empty.txt", b"")
    write("study/deep/er/x.txt")
    (tmp_path / "in/study/nothing/in/here").mkdir(parents=True)

    (out,) = round_trip(tmp_path, tmp_path / "in/study")

    assert snapshot(out) == snapshot(tmp_path / "in/study")


def test_no_items_make_an_archive_of_nothing(tmp_path):
    assert round_trip(tmp_path) == []


def test_items_of_one_name_get_sub_folders_from_the_second_on(tmp_path, write):
    items = [write(f"{folder}/Beam.inp", folder.encode()) for folder in ("a", "b")]
    items.append(write("c/bEAM.inp", b"c"))
    items.append(write("d/00002", b"takes the name of the sub-folder"))
    items.append(write(f"e/{unicodedata.normalize('NFD', 'Träger')}", b"nfd"))
    items.append(write(f"f/{unicodedata.normalize('NFC', 'Träger')}", b"nfc"))

    out = round_trip(tmp_path, *items)

    shown = [path.relative_to(tmp_path / "out").as_posix() for path in out]
    assert shown[:4] == ["Beam.inp", "00002_/Beam.inp", "00003/bEAM.inp", "00002"]
    assert [path.name for path in out] == [item.name for item in items]
    assert [path.read_bytes() for path in out] == [item.read_bytes() for item in items]


@pytest.mark.parametrize(
    "name",
    [
        "with space",
        "Ümläut ß",
        "日本語",
        "'quotes' (x) [y] {z} & ; $HOME",
        "100%",
        "%5C %25 %255C",
        ".hidden",
        "x" * 250,
    ],
)
def test_any_name_survives(tmp_path, write, name):
    item = write(name)

    assert round_trip(tmp_path, item, item.parent) == [tmp_path / "out" / name, tmp_path / "out" / "in"]
    assert (tmp_path / "out/in" / name).exists()


@posix
@pytest.mark.parametrize(
    "name", ["back\\slash", "..\\..\\x", "C:\\x", "CON", "a:b", "dot.", "space ", "new\nline", 'q"q']
)
def test_a_name_that_windows_refuses_survives_elsewhere(tmp_path, write, name):
    assert round_trip(tmp_path, write(name)) == [tmp_path / "out" / name]


@posix
def test_a_name_that_windows_refuses_is_escaped_there(tmp_path, write, monkeypatch):
    for name in ("a:b", "CON", "dot.", "back\\slash"):
        write(f"folder/{name}", name.encode())
    pack([tmp_path / "in/folder", write("nul.txt")], tmp_path / "a.zip")
    monkeypatch.setattr(archive, "_windows", True)

    unpack(tmp_path / "a.zip", tmp_path / "out")

    assert snapshot(tmp_path / "out") == {
        "folder": {"a=3Ab": b"a:b", "=43ON": b"CON", "dot=2E": b"dot.", "back=5Cslash": b"back\\slash"},
        "=6Eul.txt": b"content",
    }


def test_names_that_differ_in_letter_case_alone_survive_where_that_does_not_count(tmp_path, write, monkeypatch):
    if Path(write("case/a.txt", b"a")).with_name("A.TXT").exists():
        pytest.skip("this file system can't hold both")
    write("case/A.TXT", b"A")
    write("case/Sub/x")
    write("case/sub/x")
    pack([tmp_path / "in/case"], tmp_path / "a.zip")
    monkeypatch.setattr(archive, "_letter_case_counts", False)

    unpack(tmp_path / "a.zip", tmp_path / "out")

    assert snapshot(tmp_path / "out/case") == {
        "A.TXT": b"A",
        "a.txt~2": b"a",
        "Sub": {"x": b"content"},
        "sub~2": {"x": b"content"},
    }


@posix
def test_an_executable_file_stays_one_and_no_other_right_is_kept(tmp_path, write):
    solver, secret = write("solver"), write("secret")
    solver.chmod(0o4755)
    secret.chmod(0o400)

    out = round_trip(tmp_path, solver, secret)

    umask = os.umask(0)
    os.umask(umask)
    assert [stat.S_IMODE(path.stat().st_mode) for path in out] == [0o777 & ~umask, 0o666 & ~umask]


@pytest.mark.parametrize("moment", [-1e9, 0, 2e9, 9e9])
def test_the_moment_of_a_file_does_not_matter(tmp_path, write, moment):
    item = write("old")
    try:
        os.utime(item, (moment, moment))
    except OSError:
        pytest.skip("this file system doesn't know that year")

    round_trip(tmp_path, item)


@pytest.mark.parametrize("size", [0, 1, 64, 65, mebibyte - 1, mebibyte, mebibyte + 1, 5 * mebibyte + 17])
@pytest.mark.parametrize("kind", ["numbers", "text"])
def test_files_of_all_sizes_come_back(tmp_path, write, size, kind):
    content = numbers_of(size) if kind == "numbers" else (b"%d, 1.5e-3\n" * (size // 12 + 1))[:size]

    (out,) = round_trip(tmp_path, write("file", content))

    assert out.read_bytes() == content


def test_only_what_shrinks_is_deflated(tmp_path, write):
    noise, text = numbers_of(2 * mebibyte), b"1.0, 2.0, 3.0\n" * 150_000
    headed = text[:100_000] + numbers_of(3 * mebibyte)
    items = [write("noise", noise), write("text", text), write("headed", headed), write("little", b"abc")]
    pack(items, tmp_path / "a.zip")

    with zipfile.ZipFile(tmp_path / "a.zip") as found:
        methods = [info.compress_type for info in found.infolist()]

    assert methods == [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED, zipfile.ZIP_STORED]


def test_64_bit_fields_are_written_where_they_are_needed(tmp_path, write, monkeypatch):
    monkeypatch.setattr(zip_writer, "ZIP64_FROM", 3 * mebibyte)
    big = [write("a", numbers_of(4 * mebibyte)), write("b", b"text" * mebibyte), write("c", b"small")]

    out = round_trip(tmp_path, *big)

    assert [path.read_bytes() for path in out] == [path.read_bytes() for path in big]


def test_more_files_than_16_bits_count_come_back(tmp_path):
    out = new_file.NewFile(tmp_path / "a.zip", flush=False)
    with out:
        writer = zip_writer.ZipWriter(out)
        for number in range(1, 65_538):
            writer.add_folder(f"{number:05}/x", 0o755, 0)
        writer.finish()

    with zipfile.ZipFile(tmp_path / "a.zip") as found:
        assert len(found.infolist()) == 65_537


def test_progress_tells_the_bytes_read(tmp_path, write):
    told: list[int] = []

    pack([write("a", numbers_of(3 * mebibyte)), write("b", b"12345")], tmp_path / "a.zip", progress=told.append)

    assert told == sorted(told)
    assert told[-1] == 3 * mebibyte + 5
    assert len(told) >= 4


def test_an_item_may_be_named_from_the_current_folder(tmp_path, write, monkeypatch):
    write("study/x.inp")
    monkeypatch.chdir(tmp_path / "in/study")
    pack([".", "x.inp", Path("../study/x.inp")], tmp_path / "a.zip")

    names = [path.name for path in unpack(tmp_path / "a.zip", tmp_path / "out")]

    assert names == ["study", "x.inp", "x.inp"]


entry_names = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=30
).filter(lambda name: name not in (".", "..") and len(name.encode()) <= 255)
trees = st.recursive(
    st.binary(max_size=2000), lambda children: st.dictionaries(entry_names, children, max_size=4), max_leaves=12
)


def plant(path: Path, tree: object) -> None:
    if isinstance(tree, dict):
        path.mkdir()
        for name, child in tree.items():
            plant(path / name, child)
    else:
        assert isinstance(tree, bytes)
        path.write_bytes(tree)


@posix
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(st.tuples(entry_names, trees), max_size=5))
def test_every_tree_of_files_comes_back(items):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        paths = []
        for number, (name, tree) in enumerate(items):
            (root / str(number)).mkdir()
            paths.append(root / str(number) / name)
            plant(paths[-1], tree)

        out = round_trip(root, *paths)

        assert [path.name for path in out] == [name for name, _ in items]
        assert [snapshot(path) for path in out] == [tree for _, tree in items]


# --- inputs that can't be packed -------------------------------------------------------------------------------------


def refused(tmp_path: Path, *items: Path, words: str, **options) -> None:
    with pytest.raises(InputError, match=words):
        pack(items, tmp_path / "a.zip", **options)
    assert not (tmp_path / "a.zip").exists()


def test_a_missing_input_is_named(tmp_path, write):
    refused(tmp_path, write("there"), tmp_path / "gone.inp", words=r"gone\.inp: it is not there")


@posix
def test_an_unreadable_input_is_named(tmp_path, write, monkeypatch):
    item = write("secret.inp")

    def no_right(path: str) -> object:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    monkeypatch.setattr(archive, "open", lambda path, *args, **options: no_right(path), raising=False)
    with pytest.raises(InputError, match=r"secret\.inp: Permission denied"):
        archive._input(str(item))


@pytest.mark.parametrize("change", ["grows", "shrinks", "same size", "replaced", "vanishes"])
def test_an_input_that_changes_while_it_is_read_is_named(tmp_path, write, change):
    content = numbers_of(3 * mebibyte)
    item = write("busy.res", content)
    os.utime(item, (1e9, 1e9))

    def disturb(_bytes_read: int) -> None:
        if change == "grows":
            item.write_bytes(content + b"more")
        elif change == "shrinks":
            os.truncate(item, 10)
        elif change == "same size":
            item.write_bytes(content[::-1])
        elif change == "replaced":
            other = item.with_name("other")
            other.write_bytes(content)
            os.utime(other, (1e9, 1e9))
            other.replace(item)
        else:
            item.unlink(missing_ok=True)

    words = r"busy\.res: it is not there" if change == "vanishes" else r"busy\.res: it changed while it was read"
    refused(tmp_path, item, words=words, progress=disturb)


@posix
def test_what_is_no_file_is_named(tmp_path, write):
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path, tmp_path / "pipe", words="pipe: it is no file and no folder")


@posix
def test_a_name_that_is_no_unicode_is_named(tmp_path, write):
    path = os.fsencode(tmp_path) + b"/caf\xe9.inp"
    Path(os.fsdecode(path)).write_bytes(b"x")
    refused(tmp_path, Path(os.fsdecode(path)), words=r"caf\\xe9\.inp: its name is not valid Unicode")


def test_a_whole_disk_is_refused(tmp_path):
    refused(tmp_path, Path(tmp_path.anchor), words="it is a whole disk")


def test_more_than_the_limits_is_refused(tmp_path, write):
    items = [write(name, b"1234") for name in "abc"]
    refused(tmp_path, *items, words="more than 2 files", limits=Limits(files=2))
    refused(tmp_path, *items, words="more than 11 bytes", limits=Limits(bytes=11))


@posix
def test_an_item_that_is_a_link_stands_for_what_it_leads_to(tmp_path, write):
    link = tmp_path / "latest.inp"
    link.symlink_to(write("run7.inp", b"7"))

    (out,) = round_trip(tmp_path, link)

    assert (out.name, out.read_bytes(), out.is_symlink()) == ("latest.inp", b"7", False)


@posix
def test_a_link_inside_its_folder_is_followed(tmp_path, write):
    write("study/run7/x.res", b"7")
    (tmp_path / "in/study/latest").symlink_to("run7")
    (tmp_path / "in/study/x.res").symlink_to("latest/x.res")

    (out,) = round_trip(tmp_path, tmp_path / "in/study")

    assert snapshot(out) == {"run7": {"x.res": b"7"}, "latest": {"x.res": b"7"}, "x.res": b"7"}


@posix
@pytest.mark.parametrize(
    ("leads_to", "words"),
    [
        ("../secret", "leads out of the folder"),
        ("/etc", "leads out of the folder"),
        ("nowhere", "is not there"),
        (".", "leads in a circle"),
        ("..", "leads in a circle"),
        ("loop", "Too many levels"),
    ],
)
def test_a_link_that_leads_elsewhere_is_named(tmp_path, write, leads_to, words):
    write("secret")
    write("study/x")
    (tmp_path / "in/study/loop").symlink_to(leads_to)
    refused(tmp_path, tmp_path / "in/study", words=rf"study/loop.*{words}")


@posix
def test_links_that_lead_to_each_other_are_named(tmp_path, write):
    write("study/a/x")
    write("study/b/x")
    (tmp_path / "in/study/a/b").symlink_to("../b")
    (tmp_path / "in/study/b/a").symlink_to("../a")
    refused(tmp_path, tmp_path / "in/study", words="leads in a circle")


# --- disks that refuse -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["open", "write", "flush", "close"])
@pytest.mark.parametrize(("number", "error"), [(errno.ENOSPC, DiskFull), (errno.EACCES, TargetError)])
def test_errors_of_every_step_of_writing_count(tmp_path, write, monkeypatch, step, number, error):
    class Refusing(io.FileIO):
        def write(self, data) -> int:
            if step == "write":
                raise OSError(number, "write refused")
            return super().write(data)

        def close(self) -> None:
            closed = self.closed
            super().close()
            if step == "close" and not closed:
                raise OSError(number, "close refused")

    def open_refusing(path, mode, buffering) -> io.FileIO:
        if step == "open":
            raise OSError(number, "open refused")
        return Refusing(path, mode)

    def no_flush(descriptor: int) -> None:
        raise OSError(number, "flush refused")

    monkeypatch.setattr(new_file, "open", open_refusing, raising=False)
    if step == "flush":
        monkeypatch.setattr(new_file.os, "fsync", no_flush)

    with pytest.raises(error, match=f"{step} refused") as caught:
        pack([write("x", numbers_of(6 * mebibyte))], tmp_path / "a.zip")
    assert isinstance(caught.value.__cause__, OSError)
    assert not (tmp_path / "a.zip").exists()


def test_a_file_system_that_cannot_flush_is_trusted(tmp_path, write, monkeypatch):
    def not_supported(descriptor: int) -> None:
        raise OSError(errno.EINVAL, "not supported")

    monkeypatch.setattr(new_file.os, "fsync", not_supported)

    pack([write("x")], tmp_path / "a.zip")


# --- copies ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 5, 3 * mebibyte, 9 * mebibyte + 1])
def test_a_copy_is_checked_on_its_way(tmp_path, size):
    content = numbers_of(size)
    (tmp_path / "a").write_bytes(content)
    told: list[int] = []

    copy_and_check(tmp_path / "a", tmp_path / "b", size, hashlib.sha256(content).hexdigest(), progress=told.append)

    assert (tmp_path / "b").read_bytes() == content
    assert told == sorted(told) and (told[-1] if size else size) == size


@pytest.mark.parametrize("damage", ["shorter", "longer", "other"])
def test_a_damaged_archive_is_not_copied(tmp_path, damage):
    content = numbers_of(2 * mebibyte)
    sha256 = hashlib.sha256(content).hexdigest()
    damaged = {"shorter": content[:-1], "longer": content + b"x", "other": content[:-1] + b"\xff\0"[:1]}[damage]
    (tmp_path / "a").write_bytes(damaged)

    with pytest.raises(ArchiveError, match="is damaged"):
        copy_and_check(tmp_path / "a", tmp_path / "b", len(content), sha256)
    assert not (tmp_path / "b").exists()


def test_a_missing_archive_is_a_fault_of_the_source_and_a_missing_folder_of_the_target(tmp_path):
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(SourceError, match="Cannot read the archive"):
        copy_and_check(tmp_path / "gone", tmp_path / "b", 0, "")
    with pytest.raises(TargetError, match="Cannot write"):
        copy_and_check(tmp_path / "a", tmp_path / "gone" / "b", 0, "")


@posix
def test_a_link_in_place_of_an_archive_is_not_followed(tmp_path):
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "a").symlink_to("secret")
    with pytest.raises(SourceError):
        copy_and_check(tmp_path / "a", tmp_path / "b", 6, hashlib.sha256(b"secret").hexdigest())


# --- archives that are not to be trusted -----------------------------------------------------------------------------


@pytest.fixture
def forged(tmp_path):
    """Writes an archive as another program would: ``forged(("00001/x", b"content"), ...)``."""

    def make(*entries: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_STORED) -> Path:
        path = tmp_path / "forged.zip"
        with warnings.catch_warnings(), zipfile.ZipFile(path, "w", method) as out:
            warnings.simplefilter("ignore")  # zipfile warns of doubled names
            for name, content in entries:
                out.writestr(name, content)
        return path

    return make


def refuses(path: Path, words: str, **options) -> None:
    with pytest.raises(ArchiveError, match=words):
        unpack(path, path.parent / "out", **options)
    left = {file.name for file in path.parent.rglob("*")} - {path.name, "out"}
    assert not left, "something was written"


@pytest.mark.parametrize(
    "name",
    [
        *("/etc/passwd", "../x", "x", "00001", "00001/", "00001/../x", "00001/a/../../x", "00001/./x", "00001//x"),
        *(
            "C:/x",
            "C:x",
            "//srv/share/x",
            "00001/a\\b",
            "00001\\x",
            "..\\x",
            "1/x",
            "00001/a//b",
            "00001/..",
            "-0001/x",
        ),
    ],
)
def test_a_path_that_would_leave_its_folder_is_refused(forged, name):
    refuses(forged((name, b"x")), "Refused to unpack")


def test_a_name_with_a_nul_is_refused(forged):
    path = forged(("00001/aXb", b"x"))
    path.write_bytes(path.read_bytes().replace(b"aXb", b"a\0b"))
    refuses(path, "Refused to unpack")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFDIR])
def test_links_and_devices_are_refused(forged, kind):
    info = zipfile.ZipInfo("00001/x")
    info.create_system, info.external_attr = 3, (kind | 0o777) << 16
    refuses(forged((info, b"/etc/passwd")), "it is a link or a device")


def test_a_name_that_stands_there_twice_is_refused(forged):
    refuses(forged(("00001/x", b"1"), ("00001/x", b"2")), "a name stands in it twice")
    refuses(forged(("00001/x", b"1"), ("00001/x/", b"")), "a name stands in it twice")


def test_an_item_with_two_names_is_refused(forged):
    refuses(forged(("00001/x", b"1"), ("00001/y", b"2")), "item 1 has two names")


def test_a_file_that_is_a_folder_too_is_refused(forged):
    refuses(forged(("00001/x/y", b"1"), ("00001/x/y/z", b"2")), "it is a file and a folder at once")


def test_encrypted_entries_are_refused(forged):
    path = forged(("00001/x", b"1"))
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(content)
    refuses(path, "it is encrypted")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_are_refused(forged, method):
    refuses(forged(("00001/x", b"1" * 100), method=method), "compressed in a way")


@pytest.mark.parametrize("content", [b"", b"no zip at all", b"PK\3\4" + bytes(100), b"PK\5\6" + b"\xff" * 18])
def test_what_is_no_zip_is_refused(tmp_path, content):
    (tmp_path / "a.zip").write_bytes(content)
    refuses(tmp_path / "a.zip", "damaged or no zip")


def test_more_than_the_limits_declare_is_refused(forged):
    path = forged(("00001/x", b"1234"), ("00002/y", b"1234"))
    refuses(path, "it holds 2 files, 1 are allowed", limits=Limits(files=1))
    refuses(path, "it holds 8 bytes, 7 are allowed", limits=Limits(bytes=7))


@pytest.mark.parametrize("verified", [False, True])
def test_a_file_that_grows_beyond_what_it_declares_is_stopped(tmp_path, forged, verified):
    path = forged(("00001/bomb", bytes(50 * mebibyte)), method=zipfile.ZIP_DEFLATED)
    content = bytearray(path.read_bytes())
    struct.pack_into("<L", content, content.index(b"PK\1\2") + 24, 1000)
    path.write_bytes(content)

    with pytest.raises(ArchiveError, match="is damaged at '00001/bomb'"):
        unpack(path, tmp_path / "out", verified=verified)
    assert (tmp_path / "out/bomb").stat().st_size <= 1001


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_damaged_content_is_noticed(tmp_path, forged, method):
    path = forged(("00001/x", b"the content of a file" * 100), method=method)
    content = bytearray(path.read_bytes())
    content[60] ^= 0x10
    path.write_bytes(content)

    with pytest.raises(ArchiveError, match="is damaged"):
        unpack(path, tmp_path / "out")


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 10_000), st.binary(min_size=1, max_size=8)), min_size=1, max_size=6), st.data()
)
def test_a_damaged_archive_is_refused_or_harmless(changes, data):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "in/deep").mkdir(parents=True)
        (root / "in/deep/text").write_bytes(b"1.0, 2.0\n" * 500)
        (root / "in/noise").write_bytes(numbers_of(700))
        pack([root / "in"], root / "a.zip")
        content = bytearray((root / "a.zip").read_bytes())
        for place, new in changes:
            content[place % len(content) : place % len(content) + len(new)] = new
        del content[data.draw(st.integers(len(content) // 2, len(content))) :]
        (root / "a.zip").write_bytes(content)
        (root / "out/folder").mkdir(parents=True)

        try:
            unpack(root / "a.zip", root / "out/folder/deeper", limits=Limits(bytes=100_000, files=50))
        except ArchiveError:
            pass
        assert {path.name for path in root.iterdir()} <= {"in", "a.zip", "out"}


def test_an_item_without_entries_for_its_folders_comes_back(tmp_path, forged):
    path = forged(("00002/b/c/d.txt", b"d"), ("00001/a.txt", b"a"))

    assert unpack(path, tmp_path / "out") == [tmp_path / "out/a.txt", tmp_path / "out/b"]
    assert (tmp_path / "out/b/c/d.txt").read_bytes() == b"d"


def test_nothing_that_is_there_already_is_overwritten(tmp_path, forged):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/x").write_bytes(b"mine")

    with pytest.raises(TargetError):
        unpack(forged(("00001/x", b"1")), tmp_path / "out")
    assert (tmp_path / "out/x").read_bytes() == b"mine"


@pytest.mark.parametrize("refusal", [None, errno.EXDEV, errno.ENOSYS, "short"])
def test_a_large_verified_file_comes_back_whether_or_not_the_system_copies_it(tmp_path, monkeypatch, refusal):
    """Some file systems refuse `copy_file_range`, or stop in the middle: then the bytes go through this process."""
    content = os.urandom(5 << 20)
    source = tmp_path / "big.bin"
    source.write_bytes(content)
    archive.pack([source], tmp_path / "a.zip")
    if refusal is not None:

        def refuse(reader, writer, count, offset):
            if refusal == "short":
                return os.write(writer, b"wrong") if os.fstat(writer).st_size == 0 else 0
            raise OSError(refusal, os.strerror(refusal))

        monkeypatch.setattr(os, "copy_file_range", refuse, raising=False)
    (found,) = archive.unpack(tmp_path / "a.zip", tmp_path / "out", verified=True)
    assert found.read_bytes() == content
