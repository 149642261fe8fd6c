"""What of the processes of cases can be seen without one: words, files, packets, orders, job objects."""

from __future__ import annotations

import ctypes
import io
import os
import stat
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridcompute.machine import program, watch, windows
from gridcompute.machine.child import Report, _LatestOnly
from gridcompute.machine.output import BoundedOutput
from gridcompute.machine.packets import Assembler, packets
from gridcompute.machine.processes import Children, describe_end, remove_tree
from gridcompute.machine.spawn_pool import WindowsTree
from tests.support.waiting import wait_for

# --- words ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("exit", "signal", "words"),
    [
        (0, None, "ended with exit code 0"),
        (None, 9, "killed by signal 9 (SIGKILL)"),
        (None, 250, "killed by signal 250"),
        (None, None, "ended in an unknown way"),
        (-1073741819, None, "ended with exit code 0xC0000005"),
        (3221225477, None, "ended with exit code 0xC0000005"),
    ],
)
def test_an_end_is_said_in_words(exit, signal, words):
    assert describe_end(exit, signal) == words


def test_the_program_starts_itself_by_file_or_as_the_executable(monkeypatch):
    python, file, word = program.command("--case-child")
    assert Path(file).name == "__main__.py" and word == "--case-child"

    monkeypatch.setattr("sys.frozen", True, raising=False)
    assert program.command("--case-child") == [python, "--case-child"]


# --- output -----------------------------------------------------------------------------------------------------------


def test_output_below_the_limit_is_kept_as_it_is(tmp_path):
    output = BoundedOutput(tmp_path / "new folder" / "output.txt", 1000)
    output.write(b"one\n")
    output.write(b"two\n")
    output.close()

    assert output.path.read_bytes() == b"one\ntwo\n"


def test_nothing_printed_leaves_no_file(tmp_path):
    output = BoundedOutput(tmp_path / "output.txt", 1000)
    output.write(b"")
    output.close()
    output.close()

    assert not output.path.exists()


@given(st.lists(st.binary(max_size=700), max_size=30))
def test_output_keeps_beginning_and_end_and_counts_what_it_leaves_out(tmp_path_factory, pieces):
    output = BoundedOutput(tmp_path_factory.mktemp("output") / "output.txt", 1000)
    for piece in pieces:
        output.write(piece)
        assert not output.path.exists() or output.path.stat().st_size <= 1000
    output.close()

    whole = b"".join(pieces)
    kept = output.path.read_bytes() if whole else b""
    if len(whole) <= 900:
        assert kept == whole
    elif kept != whole:
        head, note, end = kept[:250], kept[250:].split(b"]\n", 1)[0], kept[250:].split(b"]\n", 1)[1]
        left_out = int(note.split(b"[... ")[1].split(b" bytes")[0])
        assert whole.startswith(head) and whole.endswith(end)
        assert len(head) + left_out + len(end) == len(whole)


def test_a_full_disk_loses_output_and_nothing_else(tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    output = BoundedOutput(tmp_path / "output.txt", 1000)
    (tmp_path / "output.txt").symlink_to("/dev/full")

    output.write(b"lost")
    output.write(b"lost")
    output.close()


# --- packets ----------------------------------------------------------------------------------------------------------


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.lists(st.text())), st.integers(10, 600))
def test_a_message_comes_through_in_packets_with_others_between(message, limit):
    assembler, between = Assembler(), {"kind": "progress"}
    heard = []
    for packet in packets(message, limit):
        assert len(packet) <= limit and b"\n" not in packet
        heard += [assembler.feed(packet), *map(assembler.feed, packets(between, 600))]

    assert [one for one in heard if one not in (None, between)] == ([] if message == between else [message])


@pytest.mark.parametrize("packet", [b"", b"m", b"mno json", b'm["a list"]', b"printed by somebody", b".", b"m\xff"])
def test_a_packet_that_is_none_of_ours_is_ignored(packet):
    assert Assembler().feed(packet) is None


# --- reports ----------------------------------------------------------------------------------------------------------


def test_progress_is_bounded_and_comes_before_the_outcome():
    sent: list[bytes] = []
    report = Report(sent.append, lambda: None, 60_000)

    report.progress(-1, "a")
    report.progress(7, "b" * 1000)
    report({"kind": "outcome"})

    heard = [Assembler().feed(packet) for packet in sent]
    assert [message["kind"] for message in heard] == ["progress", "progress", "outcome"]
    assert [message["fraction"] for message in heard[:2]] == [0.0, 1.0]
    assert len(heard[1]["text"]) == 100


def test_a_value_that_came_too_soon_is_handed_on_when_the_interval_is_over():
    heard: list[dict] = []
    latest = _LatestOnly(heard.append, 0.05)

    for number in range(3):
        latest.put({"number": number})

    assert heard == [{"number": 0}]
    wait_for(lambda: len(heard) == 2, 5.0)
    assert heard[1] == {"number": 2}


# --- children ---------------------------------------------------------------------------------------------------------


class FakePool:
    """Stands in for helpers and interpreters; a test speaks for it by `emit`."""

    def __init__(self, emit):
        self.alive, self.emit = True, emit
        self.started, self.orders, self.closed = [], [], False

    def start(self, child):
        self.started.append(child)

    def tell(self, child, order):
        self.orders.append(order["order"])
        if order["order"] == "end":
            self.emit(child, {"kind": "ended", "exit": 0, "signal": None})

    def set_ready(self, count):
        self.ready = count

    def close(self):
        self.closed = True


@pytest.fixture
def pools(monkeypatch):
    made: list[FakePool] = []

    def make(self):
        made.append(FakePool(self._hear))
        return made[-1]

    monkeypatch.setattr(Children, "_make_pool", make)
    return made


@pytest.fixture
def children(tmp_path, pools):
    return Children(work=tmp_path / "work")


def test_a_job_gets_a_folder_and_a_place_for_its_output(children, tmp_path):
    ours, theirs = children.start({}), children.start({"work": "/there", "output": "/log.txt"})

    assert Path(ours.job["work"]) == tmp_path / "work" / ours.id
    assert ours.output_path == Path(ours.job["work"]) / "output.txt"
    assert (theirs.job["work"], theirs.output_path) == ("/there", Path("/log.txt"))
    assert children.alive == [ours, theirs]


def test_messages_are_drained_in_order_and_ring_the_bell(tmp_path, pools):
    rung = []
    children = Children(work=tmp_path, on_message=lambda: rung.append(1))
    child = children.start({})
    pools[0].emit(child, {"kind": "stage", "stage": "run"})
    pools[0].emit(child, {"kind": "ended"})

    assert [message["kind"] for _, message in children.poll()] == ["stage", "ended"]
    assert children.poll() == [] and len(rung) == 2 and not child.alive


def test_nothing_follows_the_end_and_one_outcome_counts(children, pools):
    child = children.start({})
    for message in ("outcome", "outcome", "ended", "stage", "ended"):
        pools[0].emit(child, {"kind": message})

    assert [message["kind"] for _, message in children.poll()] == ["outcome", "ended"]


def test_orders_are_given_once_and_only_to_the_living(children, pools):
    child = children.start({})
    child.resume()
    child.pause()
    child.pause()
    child.resume()
    child.pause()
    child.end(1.0)
    child.pause()
    child.end(1.0)

    assert pools[0].orders == ["pause", "resume", "pause", "end"]
    assert not child.paused


def test_a_pool_that_broke_is_replaced_at_the_next_start(children, pools):
    pools[0].alive = False
    assert len(pools) == 1

    child = children.start({})

    assert len(pools) == 2 and pools[1].started == [child]
    children.set_ready(4)
    assert pools[1].ready == 4


def test_closing_ends_everybody_once(children, pools):
    child = children.start({})

    children.close()
    children.close()

    assert not child.alive and pools[0].closed and pools[0].orders == ["end"]


def test_the_watch_remembers_the_trees_that_were_not_taken_back():
    lines = io.BytesIO(b"+ 10 aa\n+ 11 bb\n- 10\n+ 12 cc\n")

    assert watch.listen(lines) == {11: "bb", 12: "cc"}


# --- folders ----------------------------------------------------------------------------------------------------------


def test_a_write_protected_tree_is_removed_and_links_lead_nowhere(tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("kept")
    outside.chmod(stat.S_IRUSR)
    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "b" / "file").write_text("x")
    (tree / "link").symlink_to(outside)
    (tree / "a" / "b").chmod(0)
    (tree / "a").chmod(stat.S_IRUSR)

    assert remove_tree(tree)
    assert not tree.exists() and outside.read_text() == "kept"
    assert stat.S_IMODE(outside.stat().st_mode) == stat.S_IRUSR
    assert remove_tree(tree)


def test_a_file_in_use_for_a_moment_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.platform", "win32")
    (tmp_path / "tree").mkdir()
    refusals = iter([True, True, True])
    real = os.rmdir

    def rmdir(*arguments, **options):
        if next(refusals, False):
            raise PermissionError(13, "in use")
        real(*arguments, **options)

    monkeypatch.setattr("os.rmdir", rmdir)

    assert remove_tree(tmp_path / "tree")


def test_a_file_in_use_for_long_stays(tmp_path, monkeypatch):
    (tmp_path / "tree").mkdir()
    monkeypatch.setattr("shutil.rmtree", lambda *_, **__: None)

    assert not remove_tree(tmp_path / "tree", patience=0.0)


# --- Windows ----------------------------------------------------------------------------------------------------------


class FakeKernel:
    """kernel32 as far as job objects go: one job, its processes, what was asked of it."""

    def __init__(self, refuse: str = ""):
        self.refuse, self.processes, self.calls, self.kill_on_close = refuse, [], [], False

    def _answer(self, name: str) -> int:
        self.calls.append(name)
        return int(name != self.refuse)

    def CreateJobObjectW(self, attributes, name):
        return 0xFFFF_0000_0001 * self._answer("create")

    def SetInformationJobObject(self, job, kind, structure, size):
        assert kind == 9 and size == ctypes.sizeof(structure._obj)
        self.kill_on_close = structure._obj.LimitFlags == 0x2000
        return self._answer("set")

    def AssignProcessToJobObject(self, job, process):
        assert job.value == 0xFFFF_0000_0001
        self.processes.append(process.value)
        return self._answer("assign")

    def QueryInformationJobObject(self, job, kind, structure, size, length):
        if kind == 1:
            structure._obj.ActiveProcesses = len(self.processes)
        else:
            structure._obj.NumberOfProcessIdsInList = len(self.processes)
            for place, process in enumerate(self.processes):
                structure._obj.ProcessIdList[place] = process
        return self._answer("query")

    def TerminateJobObject(self, job, code):
        self.processes.clear()
        return self._answer("terminate")

    def CloseHandle(self, handle):
        return self._answer("close")


def test_a_job_ends_its_processes_when_it_closes():
    kernel = FakeKernel()
    job = windows.Job(kernel)
    job.add(42)
    job.add(43)

    assert kernel.kill_on_close
    assert job.active() == 2 and job.pids() == [42, 43]
    job.terminate()
    assert job.active() == 0
    job.close()
    job.close()
    assert kernel.calls.count("close") == 1
    assert job.active() == 0 and job.pids() == []
    job.terminate()
    assert kernel.calls.count("terminate") == 1


@pytest.mark.parametrize(("refuse", "function"), [("create", "CreateJobObjectW"), ("set", "SetInformationJobObject")])
def test_a_job_that_windows_refuses_says_so(refuse, function):
    with pytest.raises(OSError, match=function):
        windows.Job(FakeKernel(refuse))


def test_a_process_that_can_not_be_put_in_the_job_is_not_left_without():
    kernel = FakeKernel("assign")
    job = windows.Job(kernel)

    with pytest.raises(OSError, match="AssignProcessToJobObject"):
        job.add(42)
    assert kernel.calls[-1] == "close"


def test_the_structures_have_the_sizes_that_windows_expects():
    if ctypes.sizeof(ctypes.c_void_p) != 8:
        pytest.skip("the sizes are those of 64 bits")
    assert ctypes.sizeof(windows._Limits) == 144
    assert ctypes.sizeof(windows._Accounting) == 48


def test_a_tree_on_windows_is_its_job(monkeypatch):
    class Process:
        pid, _handle = os.getpid(), 42

    resumed = []
    monkeypatch.setattr("psutil.Process.resume", lambda process: resumed.append(process.pid))
    kernel = FakeKernel()
    tree = WindowsTree(Process(), windows.Job(kernel))

    assert resumed == [os.getpid()] and kernel.processes == [42]
    kernel.processes = [os.getpid(), 2**30]  # the second has ended meanwhile
    assert [process.pid for process in tree.members()] == [os.getpid()]
    assert tree.kill() and kernel.processes == []
    tree.forget()
    assert kernel.calls[-1] == "close"


@pytest.mark.parametrize("refused", ["job", "resume"])
def test_a_process_that_windows_lets_nobody_hold_is_ended_and_not_left_suspended(monkeypatch, refused):
    class Process:
        pid, _handle = os.getpid(), 42

        def __init__(self):
            self.ended = []

        def kill(self):
            self.ended.append("killed")

        def wait(self):
            self.ended.append("waited for")

    def refuse(process):
        raise psutil.AccessDenied(process.pid)

    monkeypatch.setattr("psutil.Process.resume", refuse if refused == "resume" else lambda process: None)
    process = Process()

    with pytest.raises(OSError, match="can't be held"):
        WindowsTree(process, windows.Job(FakeKernel("assign" if refused == "job" else "")))
    assert process.ended == ["killed", "waited for"]
