from __future__ import annotations

from pathlib import Path

import pytest

from gridcompute.config import environment_server
from gridcompute.errors import NoGridError
from gridcompute.machine.locate import find_shared_folder, name_shared_folder, placeholder


@pytest.fixture
def place(tmp_path: Path):
    """Folders `program`, `current` and one for each way to name a grid; returns the search with these folders set."""
    for name in ("program", "current", "option", "variable", "beside", "here", "chosen"):
        (tmp_path / name).mkdir()

    def find(option=None, environ=None, preference=None, search=find_shared_folder):
        return search(
            option,
            program_folder=tmp_path / "program",
            current_folder=tmp_path / "current",
            environ=environ or {},
            preference=preference,
        )

    return find


def test_the_first_place_that_is_set_wins(place, tmp_path):
    (tmp_path / "program/server.txt").write_text(str(tmp_path / "beside"))
    (tmp_path / "current/server.txt").write_text(str(tmp_path / "here"))
    environ = {environment_server: str(tmp_path / "variable")}
    chosen = str(tmp_path / "chosen")

    assert place(str(tmp_path / "option"), environ, chosen).name == "option"
    assert place(None, environ, chosen).name == "variable"
    assert place(None, {}, chosen).name == "beside"
    (tmp_path / "program/server.txt").write_text("\r\n \r\n")
    assert place(None, {environment_server: " "}, chosen).name == "here"
    (tmp_path / "current/server.txt").unlink()
    assert place("", {}, chosen).name == "chosen"


def test_the_server_txt_of_the_repository_is_not_set(place, tmp_path):
    shipped = (Path(__file__).parents[3] / "server.txt").read_bytes()
    assert placeholder.encode() in shipped
    (tmp_path / "program/server.txt").write_bytes(shipped)
    with pytest.raises(NoGridError, match="No grid is named"):
        place()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("form", ["{}", "\r\n  {}  \r\n\r\n", '"{}"\n', "# our grid\n{}\n"])
def test_server_txt_is_read_as_people_save_it(place, tmp_path, encoding, form):
    folder = tmp_path / "Bürogitter"
    folder.mkdir()
    (tmp_path / "current/server.txt").write_bytes(form.format(folder).encode(encoding))
    assert place() == folder


def test_a_relative_path_starts_beside_the_file_that_holds_it(place, tmp_path):
    (tmp_path / "program/server.txt").write_text("../beside")
    assert place().samefile(tmp_path / "beside")


def test_a_named_folder_that_is_not_there_is_said_with_its_source_and_no_other_is_tried(place, tmp_path):
    (tmp_path / "program/server.txt").write_text(str(tmp_path / "gone"))
    (tmp_path / "current/server.txt").write_text(str(tmp_path / "here"))
    with pytest.raises(NoGridError) as caught:
        place()
    assert str(tmp_path / "program" / "server.txt") in str(caught.value)
    assert str(tmp_path / "gone") in str(caught.value)
    named = place(search=name_shared_folder)
    assert named.folder == tmp_path / "gone"


def test_a_file_is_no_shared_folder(place, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NoGridError, match="The option --server"):
        place(str(tmp_path / "file"))


def test_nothing_set_says_what_to_do(place):
    with pytest.raises(NoGridError, match=r"server\.txt.*--server.*gridcompute demo"):
        place()
