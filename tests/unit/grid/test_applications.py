"""Applications: what the scan finds, what an import needs, what the functions may return."""

from __future__ import annotations

import pickle
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridcompute.errors import ApplicationError
from gridcompute.grid import applications
from gridcompute.grid.applications import check_cases, check_outputs, load, scan


@pytest.fixture
def make_application(tmp_path, monkeypatch):
    """Makes an application of files: ``make_application({"process.py": source}, name="Solver 1")``; its folder."""
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setattr(sys, "dont_write_bytecode", sys.dont_write_bytecode)
    before = dict(sys.modules)

    def make(files: dict[str, str], name: str = "Solver 1") -> Path:
        folder = tmp_path / "Applications" / name
        folder.mkdir(parents=True)
        for file, source in files.items():
            (folder / file).parent.mkdir(exist_ok=True)
            (folder / file).write_text(textwrap.dedent(source), encoding="utf-8")
        return folder

    yield make
    for module in set(sys.modules) - set(before):
        if str(tmp_path) in str(getattr(sys.modules[module], "__file__", None) or "") + str(
            getattr(sys.modules[module], "__path__", "")
        ):
            del sys.modules[module]


# --- scan -------------------------------------------------------------------------------------------------------------


def test_the_scan_tells_which_scripts_are_there(make_application):
    make_application({"send.py": "", "process.py": "", "receive.py": ""}, "Whole")
    folder = make_application({"send.py": ""}, "Only sends").parent

    found = scan(folder)

    assert list(found.applications) == ["Only sends", "Whole"] and found.warnings == []
    whole, part = found.applications["Whole"], found.applications["Only sends"]
    assert (whole.send, whole.process, whole.receive) == (True, True, True)
    assert (part.send, part.process, part.receive) == (True, False, False)
    assert part.path == folder / "Only sends"


def test_folders_that_are_no_applications_are_named_once(make_application):
    make_application({"process.py": ""}, "Solver 1.2")
    make_application({"readme.txt": ""}, "Notes")
    make_application({"process.py": ""}, ".git")
    folder = make_application({"process.pyc": ""}, "__pycache__").parent
    (folder / "file.py").write_text("")

    found = scan(folder)

    assert found.applications == {}
    assert len(found.warnings) == 2
    assert "'Notes'" in found.warnings[0] and "neither send.py" in found.warnings[0]
    assert "'Solver 1.2'" in found.warnings[1] and "has a dot" in found.warnings[1]


def test_settings_of_an_application_are_read_when_asked_for(make_application):
    folder = make_application({"process.py": ""})
    application = scan(folder.parent).applications["Solver 1"]
    assert application.settings.time_limit is None

    (folder / "application.txt").write_text("time limit: 60\nattempts: 2\ndescription: Solves")
    assert (application.settings.time_limit, application.settings.attempts) == (60, 2)


# --- import -----------------------------------------------------------------------------------------------------------


def test_a_script_reaches_its_neighbours_in_both_ways(make_application):
    source = """
        import helper
        from . import helper as again
        from .helper import word
        def process_case(files):
            return [helper.word, again.word, word]
        """
    folder = make_application({"process.py": source, "helper.py": "word = 'here'"})

    assert load(folder, "process")([]) == ["here"] * 3


def test_two_applications_have_their_own_modules_of_the_same_name(make_application):
    source = "from .helper import word\ndef process_case(files): return word"
    first = make_application({"process.py": source, "helper.py": "word = 1"}, "First")
    second = make_application({"process.py": source, "helper.py": "word = 2"}, "Second")

    assert (load(first, "process")([]), load(second, "process")([])) == (1, 2)


def test_the_module_stands_under_its_own_name_so_that_its_functions_pickle(make_application):
    function = load(make_application({"process.py": "def process_case(files): pass"}), "process")

    assert function.__module__ == "Solver 1.process"
    assert pickle.loads(pickle.dumps(function)) is function


def test_an_application_named_as_a_module_does_not_replace_it(make_application):
    import json

    folder = make_application(
        {"send.py": "import json\ndef select_input_files(file): return json.dumps([file])"}, "json"
    )

    assert load(folder, "send")("x") == '["x"]'
    assert sys.modules["json"] is json


def test_a_script_that_was_changed_is_loaded_anew(make_application):
    folder = make_application({"process.py": "def process_case(files): return 1"})
    assert load(folder, "process")([]) == 1

    (folder / "process.py").write_text("def process_case(files): return 2 + 0")
    assert load(folder, "process")([]) == 2


def test_nothing_is_written_beside_the_scripts(make_application):
    folder = make_application({"process.py": "import neighbour\ndef process_case(files): pass", "neighbour.py": ""})

    load(folder, "process")

    assert sorted(path.name for path in folder.iterdir()) == ["neighbour.py", "process.py"]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (None, r"application 'Solver 1' has no process\.py in .*Solver 1"),
        ("def process_case(files:\n  pass", r"line [12] of process\.py has a syntax error"),
        ("import no_such_module_anywhere", "needs the Python module 'no_such_module_anywhere'"),
        ("def process_files(files): pass", "does not define the function 'process_case'"),
        ("process_case = 5", "does not define the function 'process_case'"),
        ("import sys; sys.exit(4)", r"calls sys\.exit\(4\) while it is imported"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def process_case(files):\n\treturn 1\n        pass", r"line \d of process\.py has a syntax error"),
    ],
)
def test_a_script_that_can_not_be_used_is_named_with_the_reason(make_application, source, words):
    folder = make_application({} if source is None else {"process.py": source})

    with pytest.raises(ApplicationError, match=words):
        load(folder, "process")


def test_the_traceback_begins_in_the_application(make_application):
    source = """
        from helper import divide
        divide(1, 0)
        """
    folder = make_application({"process.py": source, "helper.py": "def divide(a, b):\n    return a / b\n"})

    with pytest.raises(ApplicationError) as caught:
        load(folder, "process")

    lines = caught.value.traceback.splitlines()
    assert "process.py" in lines[1] and "importlib" not in caught.value.traceback
    assert lines[-1] == "ZeroDivisionError: division by zero"


def test_a_traceback_without_end_is_cut_in_its_middle(make_application):
    folder = make_application({"process.py": "raise ValueError('x' * 100_000)"})

    with pytest.raises(ApplicationError) as caught:
        load(folder, "process")

    assert len(caught.value.traceback) < 17_000 and "are left out here" in caught.value.traceback


def test_a_pool_of_fresh_processes_finds_the_functions_of_a_script(make_application):
    source = """
        import multiprocessing
        import helper
        from . import helper as again
        def double(number):
            return helper.double(number)
        def process_case(files):
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                return pool.map(double, files) + pool.map(again.double, files)
        """
    folder = make_application({"process.py": source, "helper.py": "def double(number):\n    return 2 * number\n"})
    program = (
        "import sys, types; from pathlib import Path; from gridcompute.grid.applications import load\n"
        "sys.modules['__main__'] = types.ModuleType('__main__')\n"  # as the child process of a case does
        f"print(load(Path({str(folder)!r}), 'process')([1, 2]))"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)

    assert done.stdout.strip() == "[2, 4, 2, 4]", done.stderr


# --- what the functions return ----------------------------------------------------------------------------------------


def test_cases_are_lists_or_tuples_of_paths_from_the_folder_of_the_file(tmp_path):
    cases = check_cases(([tmp_path / "a.inp", "b.inp"], ("../c.inp",)), "Solver", tmp_path / "d")

    assert cases == [[tmp_path / "a.inp", tmp_path / "d" / "b.inp"], [tmp_path / "c.inp"]]
    assert check_cases([], "Solver") == []


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, r"returned nothing \(None\) where a list of cases"),
        ("a.inp", r"returned a str \('a.inp'\)"),
        (["a.inp"], r"a str \('a.inp'\) as case 1.*needs brackets"),
        ([["a.inp"], []], "case 2 without any input file"),
        ([["a.inp"], [None]], r"a case 2 with nothing \(None\) where the path"),
        ([[b"a.inp"]], "a bytes"),
        ([[""]], r"a str \(''\)"),
        ({"a": 1}, "a dict"),
        (3, "an int"),
    ],
)
def test_a_wrong_answer_of_send_is_described(value, words):
    with pytest.raises(ApplicationError, match=words) as caught:
        check_cases(value, "Solver")
    assert "send.py of the application 'Solver'" in str(caught.value)


def test_outputs_are_files_or_folders_from_the_folder_of_the_case(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "a.dat").write_text("")

    assert check_outputs(("folder", tmp_path / "a.dat"), tmp_path) == [tmp_path / "folder", tmp_path / "a.dat"]
    assert check_outputs(None, tmp_path) == [] == check_outputs([], tmp_path)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("a.dat", r"returned a str \('a.dat'\) where a list of output files"),
        (["missing.dat"], "missing.dat' as an output file, but there is no such file"),
        ([7], r"an int \(7\) where the path"),
        (True, "a bool"),
    ],
)
def test_a_wrong_answer_of_process_is_described(tmp_path, value, words):
    with pytest.raises(ApplicationError, match=words):
        check_outputs(value, tmp_path, "Solver")


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner),
)


@given(anything)
def test_whatever_a_script_returns_is_taken_or_refused_with_words(value):
    for check in (
        lambda: check_cases(value, "Solver", Path("/")),
        lambda: check_outputs(value, Path("/no such folder")),
    ):
        try:
            check()
        except ApplicationError as exc:
            assert str(exc)


def test_the_names_of_the_functions_are_the_documented_ones():
    assert applications.function_names == {
        "send": "select_input_files",
        "process": "process_case",
        "receive": "receive_case",
    }
