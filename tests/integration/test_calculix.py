"""CalculiX's process.py with the real solver, and with solvers that fail in each way ccx does."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest

import gridcompute
from tests.support import cantilever
from tests.support.template_scripts import arrive, home, script, study  # noqa: F401 (home, study: fixtures)

needs_ccx = pytest.mark.skipif(shutil.which("ccx") is None, reason="ccx is not installed (Debian: calculix-ccx)")
needs_posix = pytest.mark.skipif(os.name == "nt", reason="the stand-in for ccx is a shell script")

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def process(tmp_path, monkeypatch):
    """Process a case in a folder of its own and return its output files."""
    count = iter(range(1000))

    def run(case: list[str]) -> list[Path]:
        folder = tmp_path / f"case {next(count)}"
        files = arrive(case, folder)
        monkeypatch.chdir(folder)
        return [Path(path).absolute() for path in script("CalculiX", "process")(files)]

    return run


@pytest.fixture
def fake_ccx(tmp_path, monkeypatch):
    """Put a solver that runs `body` (a shell script) where process.py looks first."""

    def install(body: str) -> None:
        program = tmp_path / "fake ccx"
        program.write_text(f"#!/bin/sh\n{body}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("GRIDCOMPUTE_CCX", str(program))

    return install


@needs_ccx
def test_a_study_of_the_cantilever_agrees_with_beam_theory(tmp_path, process):
    loads = (50, 100, 200, 300, 400, 600, 800, 1000)
    model = cantilever.write_study(tmp_path / "my beams ü", loads)

    for case in script("CalculiX", "send")(str(model)):
        script("CalculiX", "receive")([str(path) for path in process(case)])

    for row, load in enumerate(loads, 1):
        folder = model.parent / "beam_results" / f"row {row:03}"
        deflection = cantilever.tip_deflection((folder / "beam.dat").read_text())
        assert deflection == pytest.approx(cantilever.Beam().deflection(load), rel=0.05)
        assert {path.suffix for path in folder.iterdir()} == {".dat", ".frd", ".sta", ".cvg", ".log", ".inp"}
        assert f"1., {load}\n" in (folder / "beam.inp").read_text()


@needs_ccx
def test_steps_and_increments_are_reported_as_progress(tmp_path, process, monkeypatch):
    told: list[tuple[float, str]] = []
    monkeypatch.setattr(gridcompute, "_report_progress", lambda fraction, text: told.append((fraction, text)))
    text = cantilever.Beam(elements=4).input_text(200)
    head, step = text.split("*STEP\n")
    step = "*STEP, NLGEOM\n" + step.replace("*STATIC\n", "*STATIC, DIRECT\n1., 4.\n")
    model = tmp_path / "two steps.inp"
    model.write_text(head + step + step)

    [case] = script("CalculiX", "send")(str(model))
    outputs = process(case)

    assert [path.name for path in outputs][:3] == ["two steps.job.json", "two steps.dat", "two steps.frd"]
    fractions = [fraction for fraction, _ in told]
    assert fractions == sorted(fractions)
    assert {0.125, 0.25, 0.375, 0.5, 0.625, 1.0} <= set(fractions)
    assert told[-1][1] == "step 2 of 2"


@needs_ccx
def test_a_broken_model_fails_with_the_words_of_ccx(tmp_path, process):
    model = tmp_path / "beam.inp"
    model.write_text(cantilever.Beam().input_text("{{load}}").replace("MATERIAL=STEEL", "MATERIAL=STEAL"))
    (tmp_path / "beam.csv").write_text("load\n7\n")
    [case] = script("CalculiX", "send")(str(model))
    with pytest.raises(
        RuntimeError, match=r"failed on beam\.inp, row 1 \(load = 7\): \*ERROR .*MATERIAL=STEAL; .*\(and 19 more\)"
    ):
        process(case)


@needs_posix
def test_each_file_gets_the_values_and_a_plain_name(study, process, fake_ccx):  # noqa: F811 (the fixture)
    fake_ccx('cat model.inp input-1.inp input-2.inp > model.dat; echo "threads $OMP_NUM_THREADS"; echo " Job finished"')
    outputs = [process(case) for case in script("CalculiX", "send")(str(study / "plate.inp"))]

    assert [path.name for path in outputs[1]] == ["plate row 002.job.json", "plate.dat", "plate.log", "plate.inp"]
    assert outputs[0][1].read_text() == (
        "*INCLUDE, INPUT=input-1.inp\n** 10 {{unknown}}\n* include , INPUT=input-2.inp\n*STEP\n*STATIC\n0.1, 4.\n"
        "1.5, 10\n*END STEP\n** mesh one\n** mesh two\n*AMPLITUDE\n1.5\n"
    )
    assert outputs[1][3].read_text().endswith("2, 20\n*END STEP\n")
    assert outputs[0][2].read_text() == "threads 1\n Job finished\n"


@needs_posix
@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            'echo " *ERROR in readinput: cannot open"; echo "        file x"; exit 0',
            r"in readinput: cannot open file x$",
        ),
        ("echo half; echo half > model.dat; exit 0", "stopped before it said 'Job finished'"),
        ('echo " Job finished"', "wrote no results"),
        ("exit 201", "exit code 201"),
        ("kill -SEGV $$", "ended by signal 11"),
    ],
)
def test_a_solver_that_fails_is_noticed(tmp_path, process, fake_ccx, body, words):
    fake_ccx(body)
    model = tmp_path / "m.inp"
    model.write_text("*STEP\n")
    [case] = script("CalculiX", "send")(str(model))
    with pytest.raises(RuntimeError, match=words):
        process(case)


def test_a_missing_solver_says_what_to_do(tmp_path, process, monkeypatch):
    model = tmp_path / "m.inp"
    model.write_text("*STEP\n")
    [case] = script("CalculiX", "send")(str(model))

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PROGRAMFILES", str(tmp_path))
    monkeypatch.delenv("GRIDCOMPUTE_CCX", raising=False)
    with pytest.raises(RuntimeError, match=r"is not installed on this machine .* set 0 for CalculiX"):
        process(case)

    monkeypatch.setenv("GRIDCOMPUTE_CCX", "/nowhere/ccx")
    with pytest.raises(RuntimeError, match="GRIDCOMPUTE_CCX names /nowhere/ccx"):
        process(case)


@needs_posix
def test_the_newest_of_several_versions_is_taken(tmp_path, process, monkeypatch, capsys):
    for version in ("ccx_2.9", "ccx_2.21", "ccx_2.20"):
        program = tmp_path / version
        program.write_text(f'#!/bin/sh\necho "{version}"\necho x > model.dat\necho "Job finished"\n')
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("GRIDCOMPUTE_CCX", raising=False)
    model = tmp_path / "m.inp"
    model.write_text("*STEP\n")
    [case] = script("CalculiX", "send")(str(model))
    process(case)
    assert "ccx_2.21" in capsys.readouterr().out
