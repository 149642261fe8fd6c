"""CalculiX's receive.py: the results come back beside the input file and nothing is lost."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.support.template_scripts import script


@pytest.fixture
def results(tmp_path, home):
    """A factory of what process.py returns."""

    def make(folder: Path, *, row: int | None = None, text: str = "new", model: str = "beam.inp") -> list[str]:
        place = tmp_path / "case"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        job = place / "beam.job.json"
        job.write_text(json.dumps({"model": model, "folder": str(folder), "row": row, "rows": 3, "values": {}}))
        files = [place / f"{Path(model).stem}{ending}" for ending in (".dat", ".frd")]
        for file in files:
            file.write_text(f"{text} {file.suffix}")
        return [str(job), *map(str, files)]

    return make


@pytest.fixture
def folder(tmp_path) -> Path:
    place = tmp_path / "work"
    place.mkdir()
    (place / "beam.inp").write_text("the user's model")
    return place


def content(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_results_of_a_single_case_lie_beside_the_input_file(results, folder):
    script("CalculiX", "receive")(results(folder))
    assert content(folder) == {"beam.inp": "the user's model", "beam.dat": "new .dat", "beam.frd": "new .frd"}


def test_results_of_a_row_have_a_folder_of_their_own(results, folder):
    receive = script("CalculiX", "receive")
    receive(results(folder, row=3, text="three"))
    receive(results(folder, row=12, text="twelve"))
    assert content(folder / "beam_results") == {
        "row 003/beam.dat": "three .dat",
        "row 003/beam.frd": "three .frd",
        "row 012/beam.dat": "twelve .dat",
        "row 012/beam.frd": "twelve .frd",
    }


def test_files_that_were_there_are_kept_under_one_number(results, folder):
    receive = script("CalculiX", "receive")
    (folder / "beam.dat").write_text("mine")
    receive(results(folder, text="first"))
    receive(results(folder, text="second"))
    assert content(folder) == {
        "beam.inp": "the user's model",
        "beam.dat": "second .dat",
        "beam.frd": "second .frd",
        "beam.earlier-1.dat": "mine",
        "beam.earlier-2.dat": "first .dat",
        "beam.earlier-2.frd": "first .frd",
    }


def test_receiving_the_same_results_again_changes_nothing(results, folder):
    receive = script("CalculiX", "receive")
    receive(results(folder))
    before = content(folder)
    receive(results(folder))
    (folder / "beam.frd").unlink()  # as after a receiver that was killed between two files
    receive(results(folder))
    assert content(folder) == before


def test_results_whose_folder_is_gone_go_to_the_home_folder_with_words(results, home, tmp_path, capsys):
    script("CalculiX", "receive")(results(tmp_path / "gone", row=1))
    assert content(home) == {
        "gridcompute_results/beam_results/row 001/beam.dat": "new .dat",
        "gridcompute_results/beam_results/row 001/beam.frd": "new .frd",
    }
    assert not (tmp_path / "gone").exists()
    said = capsys.readouterr().out
    assert f"can't be written to {tmp_path / 'gone'}" in said
    assert str(home / "gridcompute_results" / "beam_results" / "row 001") in said


def test_a_model_name_never_leads_out_of_the_folder(results, folder, tmp_path):
    files = results(folder, row=1)
    job = json.loads(Path(files[0]).read_text())
    Path(files[0]).write_text(json.dumps({**job, "model": "../../evil.inp"}))
    script("CalculiX", "receive")(files)
    assert (folder / "evil_results" / "row 001" / "beam.dat").is_file()


def test_a_file_system_without_hard_links_will_do(results, folder, monkeypatch):
    def refuse(source, target):
        raise PermissionError("no links here")

    (folder / "beam.dat").write_text("mine")
    monkeypatch.setattr("os.link", refuse)
    script("CalculiX", "receive")(results(folder))
    assert content(folder)["beam.earlier-1.dat"] == "mine"
    assert content(folder)["beam.dat"] == "new .dat"
