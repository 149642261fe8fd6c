"""Children in real processes: what they say, how they end, and that each kind of misbehaviour stays theirs."""

from __future__ import annotations

import textwrap
import threading
import time
from pathlib import Path

import psutil
import pytest

from gridcompute.grid import archive
from gridcompute.grid.shared_folder import Prepared, SharedFolder
from gridcompute.machine.processes import Child, Children, describe_end, remove_tree, wait_until_gone
from tests.support.waiting import wait_for

posix = pytest.mark.skipif(not hasattr(psutil.Process, "rlimit"), reason="needs Linux")
pytestmark = posix


@pytest.fixture(params=["fork", "spawn"])
def method(request):
    return request.param


@pytest.fixture
def make_children(tmp_path, monkeypatch, method):
    """Makes `Children` whose jobs are those of tests/support/case_jobs.py, and closes them."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    made: list[Children] = []

    def make(**options) -> Children:
        options = {"entry": "tests.support.case_jobs:run", "method": method, "work": tmp_path / "work", **options}
        made.append(Children(**options))
        return made[-1]

    yield make
    for children in made:
        children.close()


@pytest.fixture
def children(make_children):
    return make_children()


class Story:
    """All that was heard of the children of one `Children`, by child."""

    def __init__(self, children: Children):
        self.children = children
        self.heard: dict[Child, list[dict]] = {}

    def listen(self) -> None:
        for child, message in self.children.poll():
            self.heard.setdefault(child, []).append(message)

    def of(self, child: Child, kind: str) -> list[dict]:
        self.listen()
        return [message for message in self.heard.get(child, []) if message["kind"] == kind]

    def wait(self, child: Child, kind: str = "ended", timeout: float = 20.0) -> dict:
        return wait_for(lambda: self.of(child, kind), timeout, f"{kind} of {child.job}")[0]


@pytest.fixture
def do(children):
    """Runs one job to its end and returns its messages."""

    def run(what: str, **job) -> tuple[Child, list[dict]]:
        story = Story(children)
        child = children.start({"do": what, **job})
        story.wait(child)
        return child, story.heard[child]

    return run


def pids_of(child: Child, count: int = 6) -> list[int]:
    """The processes that a tree noted, once all have."""
    path = Path(child.job["work"], "pids")
    wait_for(lambda: path.exists() and len(path.read_text().split()) >= count, 20.0, "the tree")
    return [int(line) for line in path.read_text().split()]


def living(pids: list[int]) -> list[int]:
    return [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]


def test_a_job_reports_its_outcome_and_then_its_end(do):
    child, heard = do("nothing", answer="é")

    assert [message["kind"] for message in heard] == ["outcome", "ended"]
    assert heard[0]["answer"] == "é"
    assert (heard[1]["exit"], heard[1]["signal"]) == (0, None)
    assert not child.alive and child.pid and not child.output_path.exists()


def test_what_a_job_waits_for_is_told(do):
    """The daemon claims nothing more meanwhile."""
    _, heard = do("wait_for_the_share")

    assert [message["kind"] for message in heard] == ["stage", "waits", "outcome", "ended"]
    assert heard[1]["message"] == "away"


def test_a_mistake_in_the_entry_is_an_internal_outcome(do):
    _, (outcome, ended) = do("fail")

    assert outcome["outcome"] == "internal" and "LookupError: as told" in outcome["traceback"]
    assert ended["exit"] == 70


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("exit_at_once", "ended with exit code 3"),
        ("kill_itself", "killed by signal 9 (SIGKILL)"),
        ("segfault", "killed by signal 11 (SIGSEGV)"),
    ],
)
def test_a_process_that_ends_by_itself_has_no_outcome_but_an_end_in_words(do, what, words):
    _, heard = do(what)

    assert [message["kind"] for message in heard] == ["ended"]
    assert describe_end(heard[0]["exit"], heard[0]["signal"]) == words


def test_a_segfault_leaves_a_traceback_in_the_output(do):
    child, _ = do("segfault")

    assert "case_jobs.py" in child.output_path.read_text()


def test_an_outcome_of_a_megabyte_gets_through(do):
    _, heard = do("tell_much")

    assert heard[0]["answer"] == ["x" * 100] * 10_000


def test_only_the_first_outcome_counts(do):
    _, heard = do("tell_twice")

    assert [message.get("outcome") for message in heard] == ["first", None]


def test_a_forked_child_that_returns_into_our_code_does_not_speak_for_the_case(do):
    _, heard = do("two_outcomes_by_fork")

    assert [message.get("answer") for message in heard] == ["the parent's", None]


def test_progress_is_thinned_and_the_last_value_is_kept(do):
    _, heard = do("tell_progress")

    progress = [message for message in heard if message["kind"] == "progress"]
    assert progress[-1]["fraction"] == 1.0 and progress[-1]["text"] == "step 1000"
    assert len(progress) <= 5


def test_plugin_code_finds_an_ordinary_python(do):
    child, heard = do("sane", case="4711")
    _, again = do("sane")

    seen = heard[0]["answer"]
    assert seen["forked"] == [1, 2] and seen["spawned"] == [3]
    assert seen["sigterm"] and seen["sigint"] and seen["sigchld"]
    assert seen["case"] == "4711" and seen["threads"] == 1 and seen["heavy"] == []
    assert seen["nice"] >= 10
    assert seen["random"] != again[0]["answer"]["random"]
    assert seen["temporary"] != again[0]["answer"]["temporary"]
    assert Path(child.job["work"], "atexit").read_text() == "ran"


def test_everything_printed_is_in_the_output_file(do):
    child, heard = do("print_both")

    text = child.output_path.read_text("utf-8")
    assert "to one ω" in text and "to the other" in text and "from a child" in text
    assert heard[0]["answer"] == ""


def test_a_gigabyte_of_output_is_bounded_and_stalls_nobody(make_children):
    children = make_children(output_limit_bytes=2_000_000, ready=2)
    story = Story(children)
    loud = children.start({"do": "print_much", "megabytes": 1000})
    quiet = children.start({"do": "nothing"})

    story.wait(quiet)
    assert loud.alive
    assert story.wait(loud, timeout=60.0)["exit"] == 0
    text = loud.output_path.read_text()
    assert len(text) < 2_100_000
    assert text.startswith("the beginning") and text.endswith("the end\n") and "bytes of output are left out" in text


def test_what_an_application_leaves_behind_is_gone_when_its_end_is_told(do):
    child, heard = do("leave_tree")

    assert heard[0]["outcome"] == "done"
    assert living(pids_of(child)) == []


def test_a_sweep_ends_what_is_left_while_the_job_goes_on(do):
    _, heard = do("sweep_tree")

    assert heard[0]["answer"] == []
    assert heard[-1]["exit"] == 0


def test_end_by_force_ends_the_whole_tree(children):
    story = Story(children)
    child = children.start({"do": "hold_tree"})
    pids = pids_of(child)

    child.end(0.0)

    assert story.wait(child)["signal"] == 9
    assert living(pids) == []


def test_end_asks_first_and_forces_after_the_grace(children):
    story = Story(children)
    polite, deaf = children.start({"do": "end_on_sigterm"}), children.start({"do": "ignore_sigterm"})
    story.wait(polite, "stage")
    story.wait(deaf, "stage")
    begun = time.monotonic()

    polite.end(30.0)
    deaf.end(0.5)

    assert story.wait(polite)["exit"] == 7
    assert story.wait(deaf)["signal"] == 9
    assert 0.4 < time.monotonic() - begun < 10.0


def test_a_paused_tree_uses_no_processor_and_goes_on_when_resumed(children):
    story = Story(children)
    child = children.start({"do": "burn"})
    (burner,) = [psutil.Process(pid) for pid in pids_of(child, 1)]
    wait_for(lambda: burner.cpu_times().user > 0.05, 30.0, "the burner burns")

    child.pause()
    wait_for(lambda: burner.status() == psutil.STATUS_STOPPED, 20.0, "the burner stops")
    wait_for(lambda: psutil.Process(child.pid).status() == psutil.STATUS_STOPPED, 20.0, "the child stops")
    used = burner.cpu_times().user
    time.sleep(0.3)
    assert burner.cpu_times().user == used and child.paused

    child.resume()
    wait_for(lambda: burner.cpu_times().user > used + 0.05, 30.0, "the burner burns again")
    usage = child.usage()
    assert usage.cpu > 0.1 and usage.memory > 1_000_000 and usage.processes == 2

    child.pause()
    wait_for(lambda: burner.status() == psutil.STATUS_STOPPED, 20.0, "the burner stops again")
    child.end(5.0)
    story.wait(child, timeout=15.0)
    assert living([burner.pid]) == []


def test_more_children_than_wait_ready_start_all_the_same(make_children):
    children = make_children(ready=0)
    story = Story(children)
    started = [children.start({"do": "nothing", "answer": number}) for number in range(5)]

    assert [story.wait(child, "outcome")["answer"] for child in started] == [0, 1, 2, 3, 4]
    for child in started:
        story.wait(child)
    assert children.alive == []


def test_start_waits_for_no_process_and_news_ring_the_bell(make_children):
    rung = threading.Event()
    mine = psutil.Process()
    others = set(mine.children(recursive=True))
    children = make_children(on_message=rung.set)
    helpers = wait_for(
        lambda: set(psutil.Process().children(recursive=True)) - others, 20.0, "a helper or a ready child"
    )

    for process in helpers:
        process.suspend()
    child = children.start({"do": "nothing"})  # hangs here if it waits for one of them
    for process in helpers:
        process.resume()

    assert rung.wait(20.0)
    Story(children).wait(child)


def test_a_child_that_has_no_process_yet_can_be_ended(make_children):
    children = make_children(ready=0)
    story = Story(children)
    child = children.start({"do": "wait_for_ever"})

    child.end(0.0)

    story.wait(child)


def test_close_ends_all_trees_and_may_be_called_twice(children):
    child = children.start({"do": "hold_tree"})
    pids = pids_of(child)

    children.close(0.2)
    children.close()

    assert living(pids) == [] and children.alive == []
    assert children.poll()[-1][1]["kind"] == "ended"
    with pytest.raises(RuntimeError):
        children.start({"do": "nothing"})


def test_the_number_that_waits_ready_can_change(make_children, method):
    us = psutil.Process()
    before = {process.pid for process in us.children(recursive=True)}
    children = make_children(ready=3)

    def waiting() -> int:
        return len({process.pid for process in us.children(recursive=True)} - before)

    each = {"fork": 2, "spawn": 1}[method]  # a keeper and a runner, or an interpreter; and one helper or watch
    wait_for(lambda: waiting() == 3 * each + 1, 30.0, "three wait")
    # Said once, it may leave one that was just on its way to being ready, as one of the spare ones.
    wait_for(lambda: children.set_ready(1) or waiting() == each + 1, 30.0, "one waits")
    children.set_ready(2)
    wait_for(lambda: waiting() == 2 * each + 1, 30.0, "two wait")


def test_the_end_of_a_child_of_somebody_else_can_be_waited_for(children):
    story = Story(children)
    child = children.start({"do": "wait_for_ever"})
    story.wait(child, "stage")
    assert not wait_until_gone(child.pid, 0.05)

    child.end()

    assert wait_until_gone(child.pid, 10.0)
    story.wait(child)


# --- with the real runner ---------------------------------------------------------------------------------------------


@pytest.fixture
def share(tmp_path) -> SharedFolder:
    root = tmp_path / "share"
    for folder in ("Settings/Applications/Solver", "Cases", "Results"):
        (root / folder).mkdir(parents=True)
    (root / "Settings" / "settings.txt").write_text("mongodb server: here:1\n")
    return SharedFolder(root)


@pytest.fixture
def real_children(make_children):
    return make_children(entry="gridcompute.daemons.runner:run")


@pytest.fixture
def make_job(share, tmp_path):
    """Makes a job for a script of the application *Solver* with one input file."""

    def make(mode: str, source: str, **more) -> dict:
        application = share.applications_path / "Solver"
        (application / f"{mode}.py").write_text(textwrap.dedent(source))
        file = tmp_path / "beam.inp"
        file.write_text("load 5")
        prepared = share.prepare("Cases", "ann", "PC-1", "case", [file])
        share.publish(prepared)
        return {
            "mode": mode,
            "case": "4711",
            "application": "Solver",
            "application_path": str(application),
            "share": str(share.root),
            "input": {"path": prepared.path, "size": prepared.size, "sha256": prepared.sha256},
            "result": {"user": "ann", "machine": "PC-1", "stem": "case-1"},
            "file": str(file),
            **more,
        }

    return make


def test_a_case_is_processed_in_its_child(real_children, share, make_job, tmp_path):
    story = Story(real_children)
    source = """
        import multiprocessing, os, subprocess
        from pathlib import Path
        import gridcompute
        from .helper import double
        def process_case(files):
            gridcompute.progress(0.5, "half")
            print("case", os.environ["GRIDCOMPUTE_CASE"])
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                Path("result").write_text(str(pool.map(double, [4])))
            subprocess.Popen(["sh", "-c", "while true; do date >> result; sleep 0.01; done"], start_new_session=True)
            return ["result"]
        """
    job = make_job("process", source)
    (share.applications_path / "Solver" / "helper.py").write_text("def double(number):\n    return 2 * number\n")

    child = real_children.start(job)

    assert story.wait(child)["exit"] == 0, story.heard
    outcome = story.of(child, "outcome")[0]
    assert outcome["outcome"] == "done", outcome
    assert [message["stage"] for message in story.of(child, "stage")] == ["fetch", "run", "pack"]
    assert story.of(child, "progress")[-1]["text"] == "half"
    share.publish(Prepared(**outcome["prepared"]))
    (result,) = archive.unpack(share.root / outcome["prepared"]["path"], tmp_path / "result")
    assert result.read_text().startswith("[8]")
    assert "case 4711" in child.output_path.read_text()
    assert remove_tree(Path(child.job["work"]))


def test_ten_thousand_cases_of_one_file_get_through(real_children, make_job, tmp_path):
    story = Story(real_children)
    job = make_job("send", "def select_input_files(file): return [[file]] * 10_000")

    child = real_children.start(job)

    outcome = story.wait(child, "outcome")
    assert outcome["cases"] == [[str(tmp_path / "beam.inp")]] * 10_000
    story.wait(child)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("sys.exit(3)", "called sys.exit(3)"),
        ("raise ValueError('no convergence')", "failed with ValueError: no convergence"),
        ("os.kill(os.getpid(), 9)", None),
        ("os._exit(0)", None),
    ],
)
def test_a_script_that_fails_or_kills_its_process_is_told_apart(real_children, make_job, body, words):
    story = Story(real_children)

    child = real_children.start(make_job("process", f"import os, sys\ndef process_case(files):\n    {body}"))

    story.wait(child)
    outcomes = story.of(child, "outcome")
    assert not outcomes if words is None else words in outcomes[0]["message"]


def test_a_receiver_that_is_killed_leaves_begun_and_no_lock(real_children, make_job, tmp_path):
    story = Story(real_children)
    paths = {name: str(tmp_path / "journal" / name) for name in ("marks", "turn")}
    source = "import time\ndef receive_case(files):\n    print('here', flush=True)\n    time.sleep(1000)"
    first = real_children.start(make_job("receive", source, **paths))
    wait_for(first.output_path.exists, 30.0, "receive_case runs")

    busy = real_children.start(dict(first.job, work=str(tmp_path / "second"), output=str(tmp_path / "second.txt")))
    assert story.wait(busy, "outcome")["outcome"] == "busy"
    first.end(0.0)
    story.wait(first)
    assert (tmp_path / "journal" / "marks").read_text() == "begun\n"

    again = real_children.start(make_job("receive", "def receive_case(files): pass", **paths))
    assert story.wait(again, "outcome")["outcome"] == "done"
    for child in (busy, again):
        story.wait(child)
