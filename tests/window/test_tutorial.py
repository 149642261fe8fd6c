"""Chapter 1.2.3 of the documentation, step by step, by mouse and keyboard."""

from __future__ import annotations

from pathlib import Path

from tests.support.waiting import wait_for


def test_the_tutorial_from_the_window_to_the_lines_in_the_home_folder(
    open_window, desktop, counter_grid, tmp_path: Path
):
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    for number in range(12):
        (inputs / f"input {number:02}.txt").write_text(f"content {number}")
    before = {path.name: path.read_bytes() for path in inputs.iterdir()}

    # 1 and 2: the main window, and at its bottom what this computer can run
    window = open_window(counter_grid)
    window.wait_ready()
    assert window.title.startswith("GridCompute")
    window.wait_for(lambda: "Random Counter" in window.text("foot.allowed"), "what this computer can run")
    window.wait_for(lambda: window.text("lending.number") == "0", "nothing lent at the first start")
    window.wait_for(
        lambda: not window.look()["animated"], "no bar that moves unseen: it would keep the processor awake"
    )
    window.picture("send-empty")

    # 3: the application
    # 4 and 5: add cases
    window.press("send.buttons.add")
    window.choose_files(*sorted(inputs.iterdir()))
    window.wait_for(lambda: len(window.rows("send.cases")) > 5, "cases in the list")
    window.wait_for(lambda: "(12)" in window.text("send.buttons.submit"), "12 cases ready")
    window.wait_for(lambda: not window.find("progress"), "every file was looked at")
    window.picture("send-cases")

    # 6: submit and confirm
    window.press("send.buttons.submit")
    window.wait_for(lambda: "12 cases" in window.text("confirm.body.!frame.message"), "the question")
    window.picture("submit-question")
    window.press("confirm.body.buttons.choice1")
    window.wait_for(lambda: all(row[3] == "submitted" for row in window.rows("send.cases")), "submitted")

    # 7: my cases, refresh now
    window.open_tab("My cases")
    window.press("mycases.foot.refresh")
    window.wait_for(lambda: [row[2] for row in window.rows("mycases.cases")][:2] == ["wait #1", "wait #2"], "waiting")
    window.picture("my-cases-waiting")

    # 8: lend processes
    window.press("lending.more")
    window.wait_for(lambda: window.widget("lending.number")["value"] == "1", "one process")
    # 9: their status while they run
    window.wait_for(lambda: len(counter_grid.documents(status="received")) > 0, "a received case")
    # 10: my processes
    window.open_tab("My processes")
    window.picture("my-processes")

    # 11: the lines in the home folder
    output = tmp_path / "person" / "gridcompute_output.txt"
    wait_for(lambda: output.exists() and len(output.read_text().splitlines()) == 12, 60, "12 lines")
    assert all(any(line.startswith(name) for line in output.read_text().splitlines()) for name in before)
    window.open_tab("My cases")
    window.wait_for(
        lambda: (
            [row[2] for row in window.rows("mycases.cases")] == ["received"] * len(window.rows("mycases.cases"))
            and "12 cases" in window.text("mycases.foot.count")
        ),
        "every case received",
    )
    assert {path.name: path.read_bytes() for path in inputs.iterdir()} == before
    assert len(counter_grid.documents(status="received")) == 12

    # and where they are
    window.press_row("mycases.cases", 0)
    window.press("mycases.buttons.results")
    wait_for(lambda: desktop.told("xdg-open") == [str(output.parent)], 10, "the folder of the results is opened")
    window.picture("my-cases-received")

    # and who did it
    window.open_tab("Grid")
    window.wait_for(lambda: any(row[0] == "PC-1" for row in window.rows("gridtab.machines")), "this machine")
    window.picture("grid")

    # and what the menu Help tells
    window.keys("F1")
    window.wait_for(lambda: window.find("help.body"), "the help")
    window.picture("help")
    window.keys("Escape")
    window.wait_for(lambda: not window.find("help.body"), "no help any more")
    window.keys("alt+h", "l")
    window.wait_for(lambda: window.find("licence.body"), "the licences")
    window.picture("licence")
    window.keys("Escape")
    assert window.terminate() == 0
