"""Names of users, machines and files on file systems that refuse some."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridcompute.grid.names import escape_name, local_name, long_path, same_name_key, unescape_name

any_text = st.text(st.characters(), max_size=40) | st.text('CONaux.1 %=25:\\/"\udc80', max_size=8)


@pytest.mark.parametrize("name", ["bob", "Jörg Müller", "PC-7", "井上", "O'Neill", "a=b", "a.b", ".hidden", "console"])
def test_a_name_that_is_good_everywhere_stays(name):
    assert escape_name(name) == name


@pytest.mark.parametrize(
    ("name", "escaped"),
    [
        ("DOMAIN\\bob", "DOMAIN=5Cbob"),
        ("CON", "=43ON"),
        ("aux.txt", "=61ux.txt"),
        ("COM1 .x", "=43OM1 .x"),
        ("bob.", "bob=2E"),
        ("bob ", "bob=20"),
        (".", "=2E"),
        ("..", ".=2E"),
        ("", "="),
        ("=", "=3D"),
        ("a/b:c", "a=2Fb=3Ac"),
        ('say "hi"', "say =22hi=22"),
        ("50=25", "50=3D25"),
        ("100%", "100=25"),
        ("\udce4", "=ED=B3=A4"),
    ],
)
def test_a_name_that_some_system_refuses_is_escaped(name, escaped):
    assert escape_name(name) == escaped
    assert unescape_name(escaped) == name


@given(any_text)
def test_every_name_comes_back_and_is_one_good_file_name(name):
    escaped = escape_name(name)

    assert unescape_name(escaped) == name
    assert escaped not in ("", ".", "..")
    assert not set(escaped) & set('<>:"/\\|?*\0')
    assert escaped[-1] not in ". "
    assert local_name(escaped, windows=True) == escaped or len(escaped) > 255


@given(any_text, any_text)
def test_two_names_never_become_one(one, other):
    assert (escape_name(one) == escape_name(other)) == (one == other)


@pytest.mark.parametrize("name", ["a:b", "CON", "nul.txt", "dot.", "space ", 'q"q', "back\\slash", "what?", "tab\t"])
def test_a_file_that_windows_refuses_is_escaped_there_alone(name):
    assert local_name(name, windows=False) == name
    assert local_name(name, windows=True) == escape_name(name)


@pytest.mark.parametrize("name", ["100%.txt", "a=3Ab", "ordinary.txt", "日本"])
def test_a_file_that_windows_takes_stays_as_it_is(name):
    assert local_name(name, windows=True) == name


def test_a_name_too_long_for_the_system_is_cut_in_its_middle():
    for name, windows in (("日" * 100 + ".results", False), ("a:" * 120 + ".results", True), ("x" * 300, False)):
        short = local_name(name, windows=windows)

        assert len(short.encode()) <= 255
        assert short[:10] == local_name(name[:10], windows=windows)[:10]
        assert short.endswith(".results") == name.endswith(".results")
        assert short != local_name(name[:-9] + "y.results", windows=windows)
    assert local_name("日" * 100, windows=True) == "日" * 100


def test_names_of_one_letter_case_or_unicode_form_are_the_same():
    assert same_name_key("STRASSE.TXT") == same_name_key("straße.txt")
    assert same_name_key("u\u0308ber") == same_name_key("Über")
    assert same_name_key("a") != same_name_key("b")


def test_a_long_path_is_written_in_the_form_windows_takes():
    long = "C:\\" + "folder\\" * 40 + "file"
    share = "\\\\srv\\grid\\" + "folder/" * 40 + "file"

    assert long_path(long, windows=True) == "\\\\?\\" + long
    assert long_path(share, windows=True) == "\\\\?\\UNC\\srv\\grid\\" + "folder\\" * 40 + "file"
    assert long_path(long_path(long, windows=True), windows=True) == long_path(long, windows=True)
    assert long_path("C:\\file", windows=True) == "C:\\file"
    assert long_path("/" * 300, windows=False) == "/" * 300
