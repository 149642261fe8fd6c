"""What a person does with cases that are on the grid: cancel, retry, pause, resume, terminate, report, quit."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from tests.support.uv import needs_uv
from tests.support.waiting import wait_for

slow = """
import time
from pathlib import Path
import gridcompute

def process_case(input_files):
    print("reading", Path(input_files[0]).name)
    if "fails" in input_files[0]:
        raise RuntimeError("the solver did not converge")
    for step in range(600):
        gridcompute.progress(step / 600, f"step {step} of 600")
        time.sleep(0.1)
    Path("result.txt").write_text("done")
    return ["result.txt"]
"""
send = """
def select_input_files(filepath):
    if "bad" in filepath:
        raise ValueError("this file has no header line")
    return [[filepath]]
"""
receive = "def receive_case(output_files):\n    pass\n"


@pytest.fixture
def slow_grid(make_grid):
    settings = "attempts: 1\ndescription: Computes for a minute and tells how far it is\n"
    scripts = {"send": send, "process": slow, "receive": receive, "application.txt": settings}
    return make_grid(apps={"Solver": scripts}, machines=["PC-1"])


def submit(window, *files: Path) -> None:
    for file in files:
        file.write_text("input")
    window.open_tab("Send cases")
    window.keys("ctrl+o")
    window.choose_files(*files)
    window.wait_for(lambda: window.text("send.buttons.submit").endswith(")"), "ready cases")
    window.wait_for(lambda: not window.find("progress"), "every file was looked at")
    window.keys("ctrl+Return")
    window.press("confirm.body.buttons.choice1")
    window.wait_for(lambda: "submitted" in [row[3] for row in window.rows("send.cases")], "submitted")
    window.wait_for(lambda: not window.find("progress"), "no progress window any more")


def status(grid) -> list[str]:
    return [one["status"] for one in grid.documents()]


def test_cancel_retry_and_remove(open_window, slow_grid, inputs):
    window = open_window(slow_grid)
    window.wait_ready()
    submit(window, *(inputs / f"case {number}.inp" for number in range(3)))
    window.open_tab("My cases")
    window.wait_for(lambda: len(window.rows("mycases.cases")) == 3, "three cases")
    window.press_row("mycases.cases", 0)
    window.press_row("mycases.cases", 1, keys="shift")
    window.keys("Delete")
    window.press("confirm.body.buttons.choice1")
    wait_for(lambda: sorted(status(slow_grid)) == ["cancelled", "cancelled", "to process"], 20)
    window.wait_for(lambda: [row[2] for row in window.rows("mycases.cases")].count("cancelled") == 2, "two cancelled")
    window.press("mycases.buttons.retry")
    wait_for(lambda: status(slow_grid) == ["to process"] * 3, 20)

    # one is given up for good, which is asked before
    window.wait_for(lambda: [row[2][:4] for row in window.rows("mycases.cases")] == ["wait"] * 3, "three that wait")
    window.press_row("mycases.cases", 0)
    window.keys("Delete")
    window.press("confirm.body.buttons.choice1")
    window.wait_for(lambda: [row[2] for row in window.rows("mycases.cases")].count("cancelled") == 1, "one cancelled")
    window.keys("alt+c", "m")
    window.wait_for(lambda: "no retry" in window.text("confirm.body.!frame.message"), "a question")
    window.press("confirm.body.buttons.choice1")
    window.wait_for(lambda: len(window.rows("mycases.cases")) == 2, "it left the list")
    assert window.terminate() == 0


def test_what_send_and_process_said_when_they_failed(open_window, slow_grid, inputs):
    window = open_window(slow_grid)
    window.wait_ready()
    (inputs / "bad.inp").write_text("x")
    submit(window, inputs / "fails.inp", inputs / "bad.inp", inputs / "good.inp")
    states = {row[0]: row[3] for row in window.rows("send.cases")}
    assert "no header line" in states["bad.inp"] and states["fails.inp"] == states["good.inp"] == "submitted"
    window.picture("send-failed")
    window.press("lending.more")
    wait_for(lambda: any(one.startswith("error:") for one in status(slow_grid)), 40)
    window.open_tab("My cases")
    window.wait_for(
        lambda: [row[2][:5] for row in window.rows("mycases.cases")][:1] == ["error"], "the error in the list"
    )
    window.press_row("mycases.cases", 0)
    window.press("mycases.buttons.output")
    window.wait_for(
        lambda: any("did not converge" in str(one.get("value")) for one in window.look().values() if type(one) is dict),
        "the traceback",
    )
    window.picture("output")
    window.keys("Escape")
    assert window.terminate() == 0


def test_pause_resume_terminate_and_quit_while_a_case_runs(open_window, slow_grid, inputs):
    window = open_window(slow_grid)
    window.wait_ready()
    submit(window, inputs / "one.inp")
    window.press("lending.more")
    window.open_tab("My processes")
    window.wait_for(lambda: window.rows("processes.running"), "a running case")
    window.wait_for(lambda: "MB" in window.rows("processes.running")[0][5], "its memory")
    running = child_of_case(window)
    window.press_row("processes.running", 0)
    window.press("processes.buttons.pause")
    wait_for(lambda: running.status() == psutil.STATUS_STOPPED, 10)
    window.wait_for(lambda: window.rows("processes.running")[0][6] == "paused", "paused")
    window.picture("my-processes-paused")
    window.press("processes.buttons.resume")
    wait_for(lambda: running.status() != psutil.STATUS_STOPPED, 10)

    # lowered to zero it pauses and asks
    window.press("lending.fewer")
    window.wait_for(lambda: window.find("terminate.body.buttons.choice1"), "the question")
    window.picture("terminate-question")
    window.press("terminate.body.buttons.choice1")  # keep
    wait_for(lambda: running.status() == psutil.STATUS_STOPPED, 10)
    window.press("lending.more")
    wait_for(lambda: running.status() != psutil.STATUS_STOPPED, 10)
    window.press("lending.fewer")
    window.press("terminate.body.buttons.choice0")  # terminate
    wait_for(lambda: not running.is_running() or running.status() == psutil.STATUS_ZOMBIE, 15)
    wait_for(lambda: status(slow_grid) == ["to process"], 20)

    # quit while it runs again: asked, then the case goes back
    window.press("lending.more")
    window.wait_for(
        lambda: status(slow_grid) == ["processing"] and window.rows("processes.running"), "running again", 60
    )
    window.keys("ctrl+q")
    window.wait_for(lambda: window.find("quit.body.buttons.choice1"), "the question before quitting")
    window.picture("quit-question")
    window.press("quit.body.buttons.choice1")
    assert window.wait_end() == 0
    document = slow_grid.documents()[0]
    assert document["status"] == "to process" and document.get("failures", 0) == 0


def child_of_case(window) -> psutil.Process:
    """The process that runs the case, found by its current folder."""

    def find():
        for process in psutil.Process(window.process.pid).children(recursive=True):
            work = str(window.home / "work" / "process")
            try:
                if process.cwd().startswith(work):
                    return process
            except psutil.Error:
                continue
        return None

    return wait_for(find, 20, "the process of the case")


def test_a_report_by_the_menu(open_window, slow_grid, inputs, tmp_path: Path):
    window = open_window(slow_grid)
    window.wait_ready()
    submit(window, inputs / "one.inp")
    for number, ending in enumerate(("csv", "txt", "xlsx"), start=1):
        report = tmp_path / f"report.{ending}"
        window.keys("ctrl+r")
        window.choose_files(report)
        wait_for(lambda report=report: report.exists() and report.stat().st_size > 50, 20)
        window.wait_for(
            lambda number=number: window.text("logpane.box.text").count("1 case written") == number, "the news"
        )
        window.wait_for(lambda: not window.find("progress"), "no progress window any more")
    assert window.terminate() == 0


def test_environments_of_applications_are_shown_made_again_and_removed(open_window, make_grid):
    needs_uv()
    heads = {"Modal analysis": "[]", "Strange solver": '["no-such-package-anywhere"]'}
    scripts = {"send": send, "receive": receive}
    grid = make_grid(
        apps={
            name: {**scripts, "process": f"# /// script\n# dependencies = {needs}\n# ///\n{slow}"}
            for name, needs in heads.items()
        },
        machines=["PC-1"],
    )
    window = open_window(grid, UV_OFFLINE="1", UV_NO_INDEX="1")
    window.wait_ready()
    window.open_tab("My processes")
    window.wait_for(lambda: "1 failed" in window.text("processes.buttons.environments"), "what failed on the button")
    window.keys("alt+e")
    window.wait_for(
        lambda: (
            [row[:2] for row in window.rows("environments.body.list")]
            == [["Modal analysis", "ready"], ["Strange solver", "failed"]]
        ),
        "both environments",
    )
    window.press_row("environments.body.list", 1)
    window.wait_for(
        lambda: "no-such-package-anywhere was not" in window.text("environments.body.details"), "the reason"
    )
    window.picture("environments")

    # made again: what was in it is gone
    window.press_row("environments.body.list", 0)
    window.wait_for(lambda: str(window.home) in window.text("environments.body.details"), "where it is")
    folder = Path(window.text("environments.body.details").splitlines()[-1])
    (folder / "broken").touch()
    window.press("environments.body.buttons.anew")
    wait_for(lambda: folder.is_dir() and not (folder / "broken").exists(), 20)
    window.wait_for(lambda: [row[1] for row in window.rows("environments.body.list")] == ["ready", "failed"], "ready")

    # no application asks for it any more: it can be removed
    grid.write_machines({"PC-1": ["Strange solver"]})
    window.wait_for(
        lambda: [row[1] for row in window.rows("environments.body.list")] == ["failed", "not used"], "unused"
    )
    window.press_row("environments.body.list", 1)
    window.press("environments.body.buttons.remove")
    window.wait_for(lambda: len(window.rows("environments.body.list")) == 1, "one is gone")
    assert not folder.exists()
    window.keys("Escape")
    assert window.terminate() == 0


def test_the_window_goes_on_while_the_database_is_away(open_window, make_grid, own_mongod, inputs):
    server = own_mongod()
    grid = make_grid(
        apps={"Solver": {"send": send, "process": slow, "receive": receive}}, machines=["PC-1"], server=server
    )
    aside = grid.root.rename(grid.root.with_name("Not there yet"))
    window = open_window(grid)
    window.wait_for(lambda: window.find("splash.middle.buttons.other"), "the trouble at the start")
    # who looks at the choice of another grid comes back to this one, which is tried again
    window.press("splash.middle.buttons.other")
    window.wait_for(lambda: window.find("choice.back"), "a way back")
    aside.rename(grid.root)
    window.press("choice.back")
    window.wait_ready()
    server.stop()
    window.press("lending.more")
    window.keys("F5")
    window.wait_for(lambda: "can't be reached" in window.text("strips.banner"), "the banner", 60)
    window.open_tab("My cases")
    window.picture("database-away")
    server.start()
    window.wait_for(lambda: not window.find("strips.banner"), "no banner", 60)
    submit(window, inputs / "one.inp")
    wait_for(lambda: "processing" in status(grid), 40)
    assert window.terminate() == 0
