"""Tables in an executor's folder come back as they were written."""

from __future__ import annotations

import numpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gridcompute.softgrid import DDFS
from gridcompute.softgrid.errors import SoftgridError

from .conftest import call, launch


@pytest.fixture
def folder(make_grid, tmp_path):
    make_grid(ddfsDir=str(tmp_path / "ddfs"))
    return tmp_path / "ddfs"


def test_rows_of_every_type_come_back_with_their_header(folder):
    types = [str, int, float, list, tuple, dict]
    rows = [["a", 1, 2.5, [1, "x"], (1, (2,)), {"k": [None]}], ["", None, float("inf"), [], (), {}]]
    table = DDFS.DDFSETL(types)
    assert table.dump("sub/table.txt", rows, header=["s", "i", "f", "l", "t", "d"]) is None
    assert table.pull("sub/table.txt") == (["s", "i", "f", "l", "t", "d"], rows)
    assert (folder / "sub" / "table.txt").read_text().splitlines()[2].split("\x01")[:2] == ["\\e", ""]
    named = DDFS.DDFSETL(int, sep=";", null=-1, colNames=["a", "b"])
    named.dump("t", [[1, -1], [2, 3]])
    assert (folder / "t").read_text() == "a;b\n1;\n2;3\n"
    assert named.pull("t") == (["a", "b"], [[1, -1], [2, 3]])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(st.text(), st.none() | st.integers(), st.lists(st.text())), max_size=5),
    sep=st.sampled_from(["\x01", ",", "s", "ab", "é"]),
)
def test_no_text_is_mistaken_for_a_separator_a_null_or_a_line_end(folder, rows, sep):
    table = DDFS.DDFSETL([str, int, list], sep=sep if sep != "s" else ";")
    table.dump("any", rows)
    assert table.pull("any") == ([], [list(row) for row in rows])


def test_arrays_are_written_and_files_read_a_few_rows_at_a_time(folder):
    table = DDFS.DDFSETL(float)
    table.dump("array", numpy.arange(10.0).reshape(5, 2), header=["x", "y"])
    assert list(table.iter("array")) == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
    assert list(table.iter("array", n=2)) == [[[0, 1], [2, 3]], [[4, 5], [6, 7]], [[8, 9]]]
    assert list(table.iter("array", n=4, header=True))[1] == (["x", "y"], [[8, 9]])
    with pytest.raises(ValueError, match="two dimensions"):
        table.dump("array", numpy.arange(3.0))
    nan = DDFS.DDFSETL(float, null=float("nan"))
    nan.dump("nan", [[1.0, float("nan")]])
    assert (folder / "nan").read_text() == "\n1.0\x01\n"


@pytest.mark.parametrize(
    ("types", "rows", "message"),
    [
        ([int, int], [[1, 2], [1]], "Row 1 has 1 columns, 2 are expected"),
        (int, [[1.5]], "Row 0, column 0: 1.5 can't be kept as int"),
        (int, [["1"]], "can't be kept as int"),
        (str, [[1]], "can't be kept as str"),
        (dict, [[{"a": object()}]], "can't be kept as dict"),
    ],
)
def test_what_does_not_fit_is_refused_and_the_file_stays(folder, types, rows, message):
    table = DDFS.DDFSETL(types)
    (folder).mkdir(exist_ok=True)
    (folder / "kept").write_text("before")
    with pytest.raises(ValueError, match=message):
        table.dump("kept", rows)
    assert (folder / "kept").read_text() == "before"
    assert [item.name for item in folder.iterdir()] == ["kept"]


def test_no_path_leaves_the_folder_and_nothing_is_replaced_unasked(folder, tmp_path):
    table = DDFS.DDFSETL(int)
    for path in ("../out", str(tmp_path / "out"), ".", "a/../../out"):
        with pytest.raises(ValueError, match="leaves the executor's folder"):
            table.dump(path, [[1]])
    table.dump("t", [[1]], replace=False)
    with pytest.raises(FileExistsError):
        table.dump("t", [[2]], replace=False)
    assert table.pull("t") == ([], [[1]])
    with pytest.raises(FileNotFoundError):
        table.pull("none")
    for wrong in ({"dtypes": bytes}, {"dtypes": int, "sep": "\n"}, {"dtypes": [int], "colNames": ["a", "b"]}):
        with pytest.raises(ValueError):
            DDFS.DDFSETL(**wrong)


def test_two_writers_of_a_new_table_do_not_both_succeed_where_links_are_refused(folder, monkeypatch):
    """FAT, some network drives, and Windows without the right."""

    def refuse(*_):
        raise PermissionError(1, "links are not known here")

    with monkeypatch.context() as patch:
        patch.setattr("os.link", refuse)
        DDFS.DDFSETL(int).dump("t", [[1]], replace=False)
        patch.setattr("pathlib.Path.exists", lambda *_: False)  # the other one looked before ours was there
        with pytest.raises(FileExistsError):
            DDFS.DDFSETL(int).dump("t", [[2]], replace=False)
    assert DDFS.DDFSETL(int).pull("t") == ([], [[1]])
    assert [item.name for item in folder.iterdir()] == ["t"]


def test_a_worker_writes_below_its_own_folder(make_grid, tmp_path):
    grid = make_grid(ddfsDir=str(tmp_path / "orchestrator"))
    (worker,) = launch(grid, "worker", executorKwargs={"ddfsDir": str(tmp_path / "worker")})

    def write_and_read():
        from gridcompute.softgrid import DDFS

        table = DDFS.DDFSETL([str, int])
        table.dump("table", [["a", 1]], header=["name", "number"])
        return table.pull("table")

    assert call(grid, write_and_read, worker) == [(["name", "number"], [["a", 1]])]
    assert (tmp_path / "worker" / "table").is_file() and not (tmp_path / "orchestrator" / "table").exists()


def test_without_an_executor_there_is_no_folder():
    with pytest.raises(SoftgridError, match="make an Orchestrator"):
        DDFS.DDFSETL(int).pull("t")
