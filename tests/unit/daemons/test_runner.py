"""The runner without a process of its own: which outcome each end of a job becomes, and what lies on the disk then."""

from __future__ import annotations

import errno
import hashlib
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from gridcompute.daemons import runner
from gridcompute.errors import ApplicationError, ArchiveError, ArchiveMissing, DiskFull, ShareAway
from gridcompute.grid import applications, archive
from gridcompute.grid.shared_folder import SharedFolder


class FakeReport:
    """Hears what a runner reports, in order; `swept` says how many messages were heard when it ended leftovers."""

    def __init__(self):
        self.heard: list[dict] = []
        self.swept: list[int] = []

    def __call__(self, message):
        self.heard.append(message)

    def sweep(self):
        self.swept.append(len(self.heard))

    @property
    def stages(self):
        return [message["stage"] for message in self.heard if message["kind"] == "stage"]


@pytest.fixture(autouse=True)
def _restore(monkeypatch, tmp_path):
    """A runner changes the process that it runs in."""
    for name in ("path", "argv", "dont_write_bytecode"):
        monkeypatch.setattr(sys, name, list(getattr(sys, name)) if name != "dont_write_bytecode" else False)
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    yield
    for module in set(sys.modules) - before:
        if module.partition(".")[0] in ("Solver", "helper"):
            del sys.modules[module]


@pytest.fixture
def share(tmp_path) -> SharedFolder:
    root = tmp_path / "share"
    for folder in ("Settings/Applications/Solver", "Cases", "Results"):
        (root / folder).mkdir(parents=True)
    (root / "Settings" / "settings.txt").write_text("mongodb server: here:1\n")
    return SharedFolder(root)


@pytest.fixture
def make_job(share, tmp_path):
    """Makes a job with the source of the script that it runs and its input files."""

    def make(source: str, mode: str = "process", files: dict[str, str] | None = None, **more) -> dict:
        application = share.applications_path / "Solver"
        (application / f"{mode}.py").write_text(textwrap.dedent(source), encoding="utf-8")
        inputs = tmp_path / "inputs"
        inputs.mkdir(exist_ok=True)
        items = []
        for name, text in (files or {"beam.inp": "load 5"}).items():
            (inputs / name).write_text(text)
            items.append(inputs / name)
        prepared = share.prepare("Cases", "ann", "PC-1", "case", items)
        share.publish(prepared)
        journal = tmp_path / "journal"
        return {
            "mode": mode,
            "case": "4711",
            "application": "Solver",
            "application_path": str(application),
            "share": str(share.root),
            "input": {"path": prepared.path, "size": prepared.size, "sha256": prepared.sha256},
            "result": {"user": "ann", "machine": "PC-1", "stem": "case-1"},
            "work": str(tmp_path / "work"),
            "file": str(inputs / "beam.inp"),
            **{name: str(journal / name) for name in ("marks", "turn")},
            **more,
        }

    return make


def do(job) -> tuple[dict, FakeReport]:
    report = FakeReport()
    runner.run(job, report)
    assert [message["kind"] for message in report.heard].count("outcome") == 1
    assert report.heard[-1]["kind"] == "outcome"
    return report.heard[-1], report


def unpacked(share: SharedFolder, prepared: dict, folder: Path) -> list[Path]:
    path = share.root / prepared["part"]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == prepared["sha256"]
    return archive.unpack(path, folder)


# --- process ----------------------------------------------------------------------------------------------------------


def test_a_case_is_fetched_run_in_its_folder_and_packed(make_job, share, tmp_path):
    job = make_job(
        """
        import os, sys
        from pathlib import Path
        def process_case(files):
            assert files == [os.path.join(os.getcwd(), "beam.inp"), os.path.join(os.getcwd(), "mesh.inp")]
            assert sys.argv == [__file__]
            Path("beam.dat").write_text(Path("beam.inp").read_text() + Path(files[1]).read_text())
            return ["beam.dat"]
        """,
        files={"beam.inp": "one", "mesh.inp": "two"},
    )

    outcome, report = do(job)

    assert outcome["outcome"] == "done", outcome
    assert report.stages == ["fetch", "run", "pack"]
    assert report.swept == [2]  # after the run, before the result is packed
    (result,) = unpacked(share, outcome["prepared"], tmp_path / "result")
    assert result.name == "beam.dat" and result.read_text() == "onetwo"
    assert not (Path(job["work"]) / "archive.zip").exists()
    assert json.loads(json.dumps(outcome)) == outcome
    assert list((share.applications_path / "Solver").iterdir()) == [share.applications_path / "Solver" / "process.py"]


def test_a_case_may_have_no_output(make_job, share, tmp_path):
    outcome, _ = do(make_job("def process_case(files): pass"))

    assert outcome["outcome"] == "done" and unpacked(share, outcome["prepared"], tmp_path / "result") == []


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (
            "def process_case(files): raise ValueError('no convergence')",
            "process.py failed with ValueError: no convergence",
        ),
        ("import sys\ndef process_case(files): sys.exit(3)", "process.py called sys.exit(3)."),
        ("import sys\ndef process_case(files): sys.exit()", "process.py called sys.exit()."),
        ("import sys\ndef process_case(files): sys.exit('bad')", "process.py called sys.exit('bad')."),
        ("def process_case(files): raise KeyboardInterrupt", "process.py failed with KeyboardInterrupt"),
        ("def process_case(files): raise MemoryError", "process.py failed with MemoryError"),
        ("def process_case(files): process_case(files)", "process.py failed with RecursionError"),
        ("def process_case(): pass", "process.py failed with TypeError"),
        ("def process_case(files): return 5", "returned an int (5)"),
        ("def process_case(files): return ['no.dat']", "there is no such file"),
        ("def process_case(files) return", "has a syntax error"),
        ("import nothing_like_this", "needs the Python module 'nothing_like_this'"),
        ("class Odd(BaseException): pass\ndef process_case(files): raise Odd('x')", "failed with Odd: x"),
        ("raise OSError('while it is imported')", "OSError: while it is imported"),
    ],
)
def test_what_the_application_does_wrong_is_its_failure(make_job, source, words):
    outcome, report = do(make_job(source))

    assert outcome["outcome"] == "failed" and words in outcome["message"]
    assert "pack" not in report.stages
    assert "runner.py" not in outcome["traceback"]
    assert len(outcome["traceback"]) < 20_000


def test_the_traceback_shows_the_application_alone(make_job):
    outcome, _ = do(make_job("def process_case(files):\n    helper()\n\ndef helper():\n    1 / 0\n"))

    lines = outcome["traceback"].splitlines()
    assert 'process.py", line 2, in process_case' in lines[1] and lines[-1] == "ZeroDivisionError: division by zero"


def test_a_missing_script_is_the_application_s_failure(make_job, share):
    job = make_job("")
    (share.applications_path / "Solver" / "process.py").unlink()

    outcome, _ = do(job)

    assert outcome["outcome"] == "failed" and "has no process.py" in outcome["message"]


def test_a_missing_script_on_a_share_that_is_away_is_nobody_s_failure(make_job, monkeypatch):
    job = make_job("import nothing_like_this")
    probes = []

    def away(self):
        probes.append(self)
        raise ShareAway("gone")

    monkeypatch.setattr(SharedFolder, "probe", away)

    outcome, _ = do(job)

    assert outcome == {"kind": "outcome", "outcome": "share", "message": "gone"} and len(probes) == 1


def test_a_script_that_is_there_again_when_the_share_is_runs(make_job, monkeypatch):
    """The share was away when the script was loaded, and back when it was asked: fair-count of the stress test."""
    job = make_job("def process_case(files): pass")
    load, failures = applications.load, [ApplicationError("no process.py")]

    def away_at_first(*arguments):
        if failures:
            raise failures.pop()
        return load(*arguments)

    monkeypatch.setattr(applications, "load", away_at_first)
    assert do(job)[0]["outcome"] == "done"


def test_an_output_that_vanishes_or_can_not_be_read_is_the_application_s_failure(make_job, monkeypatch):
    job = make_job("def process_case(files): return files")

    def prepare(*_, **__):
        raise runner.InputError("beam.inp changed while it was read")

    monkeypatch.setattr(SharedFolder, "prepare", prepare)

    outcome, _ = do(job)
    assert outcome["outcome"] == "failed" and "can't be packed: beam.inp changed" in outcome["message"]


@pytest.mark.parametrize(
    ("raised", "what"),
    [
        (ArchiveError("x"), "input"),
        (ArchiveMissing("x"), "input"),
        (ShareAway("x"), "share"),
        (DiskFull("x"), "disk"),
        (OSError(errno.ENOSPC, "x"), "disk"),
        (archive.TargetError("x"), "internal"),
        (PermissionError(errno.EACCES, "x"), "internal"),
        (RuntimeError("x"), "internal"),
    ],
)
@pytest.mark.parametrize("size", [10, 2_000_000])
def test_what_goes_wrong_while_fetching_is_told_apart(make_job, monkeypatch, raised, what, size):
    def fetch(*_, **__):
        raise raised

    job = make_job("def process_case(files): pass", files={"large.bin": "x" * size})
    monkeypatch.setattr(archive, "SMALL_BYTES", 1000)
    monkeypatch.setattr(SharedFolder, "read_archive" if size < 500 else "fetch", fetch)

    outcome, report = do(job)

    assert outcome["outcome"] == what and "x" in outcome["message"]
    assert report.stages == ["fetch"]


@pytest.mark.parametrize(("free", "what"), [(1_000_000, "disk"), (10_000_000_000, "failed")])
def test_a_full_disk_is_the_computer_s_fault_only_if_it_was_nearly_full_before(make_job, monkeypatch, free, what):
    class Usage:
        pass

    Usage.free = free
    monkeypatch.setattr("shutil.disk_usage", lambda path: Usage)
    source = "def process_case(files): raise OSError(28, 'No space left on device')"

    outcome, _ = do(make_job(source))

    assert outcome["outcome"] == what


@pytest.mark.parametrize("large", [False, True])
def test_a_damaged_archive_is_the_input_s_fault(make_job, share, monkeypatch, large):
    job = make_job("def process_case(files): pass")
    path = share.root / job["input"]["path"]
    path.write_bytes(b"damaged" + path.read_bytes()[7:])
    monkeypatch.setattr(archive, "SMALL_BYTES", 0 if large else 1000)
    read = SharedFolder._read_well
    monkeypatch.setattr(SharedFolder, "_read_well", lambda share, path, how, *_: read(share, path, how, patience=0.1))

    outcome, _ = do(job)

    assert outcome["outcome"] == "input"


def test_progress_of_another_python_is_passed_on_line_by_line_and_each_byte_read_once(tmp_path):
    file, told = tmp_path / "progress", []

    class Heard:
        def progress(self, fraction, text):
            told.append((fraction, text))

    assert runner._pass_on_progress(file, 0, Heard()) == 0
    file.write_text('[0.1, "a"]\n[0.2, "b"]\n[0.3,')
    place = runner._pass_on_progress(file, 0, Heard())
    assert told == [(0.2, "b")] and place == len('[0.1, "a"]\n[0.2, "b"]\n')
    file.write_text(file.read_text() + ' "c"]\n')
    assert runner._pass_on_progress(file, place, Heard()) == file.stat().st_size
    assert told[-1] == (0.3, "c")


# --- receive ----------------------------------------------------------------------------------------------------------

append = """
    def receive_case(files):
        from pathlib import Path
        journal = Path("../../journal")
        assert (journal / "marks").read_text() == "begun\\n"
        with (journal / "runs").open("a") as runs:
            runs.write(Path(files[0]).read_text())
    """


def test_receive_is_marked_just_before_and_right_after(make_job, tmp_path):
    job = make_job(append, "receive")

    outcome, report = do(job)

    assert outcome == {"kind": "outcome", "outcome": "done", "folder": str(tmp_path / "journal")}
    assert report.stages == ["fetch", "run"] and report.swept
    assert Path(job["marks"]).read_text() == "begun\ndone\n"
    assert (tmp_path / "journal" / "runs").read_text() == "load 5"


def test_the_folder_where_receive_writes_most_files_is_told(make_job, tmp_path):
    results, other = tmp_path / "results", tmp_path / "other"
    results.mkdir()
    other.mkdir()
    job = make_job(
        f"""
        import os, shutil
        from pathlib import Path
        results = Path({str(results)!r})

        def receive_case(files):
            Path({str(other / "log.txt")!r}).write_text("begun")
            Path("aside.txt").write_text("in the folder of the case")
            (results / "here.txt").read_text() if (results / "here.txt").exists() else None
            shutil.copyfile(files[0], results / "copy.inp")
            shutil.move("aside.txt", results)
            descriptor = os.open(results / "raw", os.O_WRONLY | os.O_CREAT)
            os.close(descriptor)
        """,
        "receive",
    )

    outcome, _ = do(job)

    assert outcome["outcome"] == "done" and outcome["folder"] == str(results)


def test_a_receive_that_writes_no_file_tells_no_folder(make_job):
    outcome, _ = do(make_job("def receive_case(files): open(files[0]).close()", "receive"))

    assert outcome["outcome"] == "done" and outcome["folder"] == ""


def test_what_was_received_is_reported_again_and_not_run_again(make_job, tmp_path):
    job = make_job(append, "receive")
    do(job)

    outcome, report = do(job)

    assert outcome == {"kind": "outcome", "outcome": "done", "again": True}
    assert report.stages == [] and (tmp_path / "journal" / "runs").read_text() == "load 5"


def test_a_receive_that_fails_is_begun_and_not_done(make_job):
    job = make_job("def receive_case(files): raise OSError('target folder is gone')", "receive")

    outcome, _ = do(job)

    assert outcome["outcome"] == "failed" and "OSError: target folder is gone" in outcome["message"]
    assert Path(job["marks"]).read_text() == "begun\n"


def test_two_receivers_never_work_on_one_case(make_job, tmp_path):
    job = make_job(append, "receive")
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from pathlib import Path; from gridcompute.daemons.marks import Marks\n"
            "with Marks(Path(sys.argv[1])):\n    print('held', flush=True); sys.stdin.read()",
            job["marks"],
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with holder:
        assert holder.stdout.readline().strip() == b"held"

        outcome, _ = do(job)

        assert outcome == {"kind": "outcome", "outcome": "busy"}
        assert not (tmp_path / "journal" / "runs").exists()
        holder.stdin.close()
        holder.wait()
    assert do(job)[0]["outcome"] == "done"


# --- send -------------------------------------------------------------------------------------------------------------


def test_send_returns_absolute_paths_from_the_folder_of_the_file(make_job, tmp_path):
    job = make_job(
        """
        import os
        def select_input_files(filepath):
            assert os.getcwd() == os.path.dirname(filepath)
            return ((filepath, "mesh.inp"), ["mesh.inp"])
        """,
        "send",
        {"beam.inp": "", "mesh.inp": ""},
    )

    outcome, _ = do(job)

    beam, mesh = (str(tmp_path / "inputs" / name) for name in ("beam.inp", "mesh.inp"))
    assert outcome == {"kind": "outcome", "outcome": "done", "cases": [[beam, mesh], [mesh]]}
    assert [path.name for path in Path(job["application_path"]).iterdir()] == ["send.py"]


def test_send_naming_a_file_that_is_not_there_fails_with_its_name(make_job):
    outcome, _ = do(make_job("def select_input_files(file): return [[file], ['lost.inp']]", "send"))

    assert outcome["outcome"] == "failed"
    assert "lost.inp' as an input file of case 2, but there is no such file" in outcome["message"]


def test_send_of_a_file_that_vanished_is_the_input_s_fault(make_job):
    job = make_job("def select_input_files(file): return [[file]]", "send")
    Path(job["file"]).unlink()

    outcome, _ = do(job)

    assert outcome["outcome"] == "input" and "there is no such file" in outcome["message"]


def test_the_runner_imports_nothing_heavy():
    program = (
        "import sys; import gridcompute.daemons.runner, gridcompute.machine.child\n"
        "heavy = {'pymongo', 'bson', 'psutil', 'argparse', 'asyncio', 'multiprocessing', 'logging', 'email', 'ssl',"
        " 'tkinter', 'filelock', 'subprocess'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
