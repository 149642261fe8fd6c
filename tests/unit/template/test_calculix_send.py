"""CalculiX's send.py: which cases an input file and its table become."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from tests.support.template_scripts import script


def select(path: Path) -> list[list[str]]:
    return script("CalculiX", "send")(str(path))


def names(files: list[str]) -> list[str]:
    return [Path(file).name for file in files]


def jobs(cases: list[list[str]]) -> list[dict]:
    return [json.loads(Path(case[1]).read_text(encoding="utf-8")) for case in cases]


def test_an_input_file_alone_is_one_case(tmp_path, home):
    model = tmp_path / "Plain.INP"
    model.write_text("*STEP\n")

    [case] = select(model)

    assert names(case) == ["Plain.INP", "Plain.job.json"]
    [job] = jobs([case])
    assert (job["folder"], job["row"], job["values"]) == (str(tmp_path), None, {})


def test_each_row_of_the_table_is_a_case_with_the_included_files(study):
    cases = select(study / "plate.inp")

    assert [names(case) for case in cases] == [
        ["plate.inp", f"plate row 00{row}.job.json", "mesh.inp", "mesh.inp"] for row in (1, 2)
    ]
    assert cases[0][2:] == [str(study / "parts one" / "mesh.inp"), str(study / "two" / "mesh.inp")]
    assert [job["values"] for job in jobs(cases)] == [
        {"load": "1.5", "Thickness": "10", "note": "light"},  # a decimal comma of Excel's
        {"load": "2", "Thickness": "20", "note": "heavy"},
    ]
    assert [(job["row"], job["rows"]) for job in jobs(cases)] == [(1, 2), (2, 2)]


def test_the_table_selected_itself_is_the_same_study(study):
    assert select(study / "plate.csv") == select(study / "plate.inp")


def test_a_relative_path_and_a_table_in_another_letter_case_do(study, monkeypatch):
    (study / "plate.csv").rename(study / "Plate.CSV")
    monkeypatch.chdir(study)
    cases = script("CalculiX", "send")("plate.inp")
    assert len(cases) == 2
    assert all(Path(file).is_absolute() for case in cases for file in case)


def test_nothing_is_written_into_the_users_folder_and_the_same_study_adds_no_file(study, tmp_path):
    before = sorted(study.rglob("*"))
    assert select(study / "plate.inp") == select(study / "plate.inp")
    assert sorted(study.rglob("*")) == before
    assert len(list((tmp_path / "state").rglob("*.json"))) == 2


def test_job_files_of_studies_sent_long_ago_are_removed(study):
    old = Path(select(study / "plate.inp")[0][1]).parent
    month_ago = time.time() - 31 * 86_400
    os.utime(old, (month_ago, month_ago))
    (study / "plate.csv").write_text("load,thickness\n1,2\n")

    select(study / "plate.inp")

    assert not old.exists()


def test_a_model_without_placeholders_is_one_case_though_a_table_lies_there(study, capsys):
    (study / "plate.inp").write_text("** {{load}} in a comment asks for nothing\n*STEP\n")
    assert len(select(study / "plate.inp")) == 1
    assert "plate.csv is not used" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"plate.csv": None}, "no table plate.csv beside it"),
        ({"plate.csv": ""}, "plate.csv has no row of values"),
        ({"plate.csv": "load,thickness\n"}, "plate.csv has no row of values"),
        (
            {"plate.csv": "load,height\n1,2\n"},
            "asks for {{thickness}}, but plate.csv has only the columns: load, height",
        ),
        ({"plate.csv": "load,thickness\n1,2\n3,\n"}, "no value for 'thickness' in row 2"),
        ({"plate.csv": "load,Load\n1,2\n"}, "line 1: two columns are called"),
        ({"plate.csv": "load,,thickness\n1,2,3\n"}, "line 1: column 2 has no name"),
        ({"plate.csv": "load,thickness\n\n1,2,3\n"}, "line 3: 3 values"),
        ({"two/mesh.inp": None}, "includes the file two/mesh.inp, which is not in"),
        ({"two/mesh.inp": "*INCLUDE, INPUT={{load}}.inp\n"}, "placeholder in the name of a file"),
    ],
)
def test_what_is_wrong_is_said_in_words(study, change, words):
    for name, text in change.items():
        if text is None:
            (study / name).unlink()
        else:
            (study / name).write_text(text)

    with pytest.raises((ValueError, FileNotFoundError)) as raised:
        select(study / "plate.inp")

    assert words in str(raised.value)


def test_files_that_are_no_study_are_refused(study):
    (study / "notes.txt").touch()
    (study / "other.csv").write_text("a\n1\n")
    with pytest.raises(ValueError, match=r"notes\.txt is no input file"):
        select(study / "notes.txt")
    with pytest.raises(FileNotFoundError, match=r"no other\.inp beside it"):
        select(study / "other.csv")


@pytest.mark.parametrize(
    "data",
    [
        b"Kraft [N]\tH\xf6he\r\n1\t2,5\r\n",
        "sep=;\nKraft [N];Höhe;;\n1;2,5;;\n".encode(),
        "Kraft [N]\tHöhe\n1\t2.5\n".encode("utf-16"),
        '"Kraft [N]", "Höhe"\n1, "2.5"\n'.encode("utf-8-sig"),
    ],
)
def test_a_table_is_read_as_people_save_it(tmp_path, home, data):
    model = tmp_path / "m.inp"
    model.write_bytes("** ü\n{{ kraft  [n] }}, {{Höhe}}\n".encode("cp1252"))
    (tmp_path / "m.csv").write_bytes(data)
    assert [job["values"] for job in jobs(select(model))] == [{"Kraft [N]": "1", "Höhe": "2.5"}]
