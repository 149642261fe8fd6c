"""What a day with the window brings: files dropped, work stopped in the middle, the share away, rules, news."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.support.screen import Window, screen
from tests.support.waiting import wait_for
from tests.window.test_actions import receive, status, submit

slow_send = """
import time

def select_input_files(filepath):
    time.sleep(0.15)
    return [[filepath]]
"""
quick_process = """
import time
from pathlib import Path

def process_case(input_files):
    while not Path(RECEIVED, "door").exists():
        time.sleep(0.02)
    if "fails" in input_files[0]:
        raise RuntimeError("no licence")
    Path("result.txt").write_text("done")
    return ["result.txt"]
"""


@pytest.fixture
def proxy(make_proxy, mongod):
    """Before the database, so that it can be made slow."""
    return make_proxy(mongod.address)


@pytest.fixture
def quick_grid(make_grid, proxy):
    scripts = {"send": slow_send, "process": quick_process, "receive": receive, "application.txt": "attempts: 1"}
    return make_grid(apps={"Quick": scripts}, machines=["PC-1"], server=proxy.address)


@pytest.fixture
def other_program(a_screen):
    """Starts another program's window on the screen, from which files can be dragged."""
    started: list[subprocess.Popen] = []

    def start(*files: Path) -> None:
        command = [sys.executable, str(Path(__file__).with_name("drag_source.py")), *map(str, files)]
        started.append(subprocess.Popen(command, env={**os.environ, "DISPLAY": a_screen.display}))
        wait_for(lambda: "Files" in a_screen.do("search", "--onlyvisible", "--name", ".*", "getwindowname", "%@"), 15)

    yield start
    for process in started:
        process.kill()
        process.wait(10)


def test_files_are_dropped_and_work_is_stopped_in_the_middle(
    open_window, quick_grid, proxy, inputs, a_screen, other_program
):
    files = [inputs / f"load case {number:02}.inp" for number in range(40)]
    for file in files:
        file.write_text("input")
    other_program(*files)
    window = open_window(quick_grid)
    window.wait_ready()
    window.wait_for(lambda: "drop them here" in window.text("send.cases.tree.empty"), "what to do with an empty list")

    # dropped onto the list; send.py takes a while for so many
    target = window.widget("send.cases.tree")
    a_screen.drag((60, 60), (target["x"] + 200, target["y"] + 120))
    window.wait_for(lambda: window.find("progress.body.cancel"), "the progress window")
    window.wait_for(lambda: len(window.rows("send.cases")) >= 5, "the first cases")
    window.picture("progress")
    window.press("progress.body.cancel")
    window.wait_for(lambda: not window.find("progress"), "it stopped")
    made = ready(window)
    assert 5 <= made < 40, "what was made stays, the rest is not made"
    assert quick_grid.documents() == []

    # a submission on a slow network is stopped: what is not sent yet stays, and none is sent twice
    proxy.delay(1.5)
    window.press("send.buttons.submit")
    window.press("confirm.body.buttons.choice1")
    window.press("progress.body.cancel")
    window.wait_for(lambda: not window.find("progress"), "the submission stopped")
    proxy.clear()
    left = ready(window)
    assert left > 0
    wait_for(lambda: len(quick_grid.documents()) == made - left, 10)
    window.press("send.buttons.submit")
    window.press("confirm.body.buttons.choice1")
    window.wait_for(lambda: ready(window) == 0 and not window.find("progress"), "all submitted", 60)
    assert len(quick_grid.documents()) == made
    assert window.terminate() == 0


def ready(window) -> int:
    """How many cases can be submitted, from the button's words."""
    words = window.text("send.buttons.submit")
    return int(words.partition("(")[2].rstrip(")")) if "(" in words else 0


def test_lending_rules_news_and_a_share_that_goes_away(
    open_window,
    quick_grid,
    inputs,
    a_screen,
    desktop,
    other_program,
):
    other_program()
    window = open_window(quick_grid)
    window.wait_ready()
    window.press("lending.more")

    # a rule that forbids this moment: the state says so
    now = datetime.now().astimezone()
    open_rules(window, "hours")
    for name, moment in (("begin", now + timedelta(hours=2)), ("end", now + timedelta(hours=3))):
        window.press(f"rules.body.hoursvalues.{name}", times=3)
        a_screen.type(moment.strftime("%H:%M"))
    window.picture("lending-rules")
    window.press("rules.body.buttons.ok")
    window.wait_for(lambda: "your rule lends from" in window.text("lending.words.state"), "why nothing is taken")
    submit(window, inputs / "one.inp", inputs / "fails.inp")

    # one that leaves more memory than there is
    open_rules(window, "hours", "memory")
    window.press("rules.body.memoryvalues.left", times=3)
    a_screen.type("90000")
    window.press("rules.body.buttons.ok")
    window.wait_for(lambda: "your rule leaves 90000 GB" in window.text("lending.words.state"), "too little memory")

    # one that lends while nobody touches mouse or keyboard, here for three seconds; it has no battery
    open_rules(window, "memory", "away", "battery")
    window.press("rules.body.awayvalues.minutes", times=3)
    a_screen.type("0.05")
    window.press("rules.body.buttons.ok")
    window.wait_for(lambda: "0.05 min, not on battery" in window.text("processes.foot.rulestext"), "it is set")
    window.wait_for(lambda: stages(window) == ["running"], "a case while nobody is there")
    window.wait_for(
        lambda: (
            moved(a_screen)
            and stages(window) == ["paused"]
            and "you are at the computer" in window.text("lending.words.state")
        ),
        "it rests while somebody is there",
    )
    window.wait_for(lambda: stages(window) == ["running"], "it goes on when that person has gone")

    # somebody has another program in front while the cases come back
    a_screen.click(60, 60)
    window.wait_for(lambda: window.look().get("in front") is False, "another program in front")
    (quick_grid.received / "door").touch()
    wait_for(lambda: sorted(one[:8] for one in status(quick_grid)) == ["error: Q", "received"], 40)
    window.wait_for(lambda: "●" in window.title and "came back" in window.title and "failed" in window.title, "news")
    wait_for(lambda: any("1 case came back" in one or "1 failed" in one for one in desktop.told("notify-send")), 10)
    window.open_tab("My cases")
    window.wait_for(lambda: "●" not in window.title, "a title without news")

    # the share goes away: a banner since when, which leaves by itself
    away = quick_grid.root.with_name("away")
    quick_grid.root.rename(away)
    try:
        window.wait_for(lambda: "shared folder can't be reached since" in window.text("strips.banner"), "a banner", 60)
    finally:
        away.rename(quick_grid.root)
    window.wait_for(lambda: not window.find("strips.banner"), "no banner", 60)
    submit(window, inputs / "two.inp")
    wait_for(lambda: status(quick_grid).count("received") == 2, 40)
    assert window.terminate() == 0


def open_rules(window, *boxes: str) -> None:
    """Open the lending rules and press some of their boxes."""
    window.open_tab("My processes")
    window.press("processes.buttons.rules")
    window.widget("rules.body.buttons.ok")
    window.settled()
    for box in boxes:
        window.press(f"rules.body.{box}")


def moved(screen) -> bool:
    """A hand on the mouse."""
    screen.do("mousemove_relative", "--", 3, 2)
    screen.do("mousemove_relative", "--", -3, -2)
    return True


def stages(window) -> list[str]:
    """What each case on this computer does."""
    return [row[6] for row in window.rows("processes.running")]


@pytest.mark.parametrize(("dpi", "width", "height"), [(96, 1280, 900), (144, 1920, 1080), (192, 2560, 1600)])
def test_no_text_is_cut_off_at_any_scaling(make_grid, tmp_path: Path, dpi, width, height):
    grid = make_grid(apps={"Random Counter": {"send": slow_send, "process": quick_process, "receive": receive}})
    with screen(width=width, height=height, dpi=dpi) as made:
        window = Window(
            made, tmp_path / "window", "--server", str(grid.root), "--machine", "PC-1", home=tmp_path / "home"
        )
        try:
            window.wait_ready()
            _, upper, wide, high = window.look()["window"]
            assert [wide, high] == pytest.approx([1024 * dpi / 96, min(700 * dpi / 96, height - 110 * dpi / 96)], abs=2)
            assert upper + high <= height, "its lower edge can be seen"
            for title, widget in (
                ("Send cases", "send.cases"),
                ("My cases", "mycases.cases"),
                ("My processes", "processes.running"),
                ("Grid", "gridtab.machines"),
            ):
                window.open_tab(title)
                window.wait_for(lambda name=widget: window.find(f"{name}.tree"), title)
                assert nothing_is_cut_off(window), title
            window.open_tab("My processes")
            for button, dialog in (("rules", "rules"), ("environments", "environments")):
                window.press(f"processes.buttons.{button}")
                window.widget(f"{dialog}.body")
                if dialog == "rules":
                    window.keys("alt+a", "alt+b", "alt+y", "alt+m")
                assert nothing_is_cut_off(window), dialog
                window.keys("Return" if dialog == "rules" else "Escape")
                window.wait_for(lambda name=dialog: not window.find(f"{name}.body"), f"no {dialog} any more")
            window.press("lending.more")
            window.wait_for(lambda: "your rule lends" in window.text("lending.words.state"), "why nothing is taken")
            window.wait_for(lambda: "GB left" in window.text("processes.foot.rulestext"), "the four rules")
            assert nothing_is_cut_off(window)
            assert window.terminate() == 0
        finally:
            window.end()


def nothing_is_cut_off(window) -> bool:
    """Whether every text has the room it needs; the widgets that have not are in the error."""
    with contextlib.suppress(AssertionError):  # what was just opened is laid out in several steps
        wait_for(lambda: not cut_off(window.settled()), 15)
    assert cut_off(window.settled()) == []
    return True


def cut_off(look) -> list[str]:
    """The visible texts that have less room than they need."""
    shown = [(path, one) for path, one in look.items() if isinstance(one, dict) and one.get("text")]
    return [
        f"{path}: {one['text']!r}"
        for path, one in shown
        if one["class"] in ("TButton", "TLabel", "TCheckbutton")
        and (one["w"] < one["needs"][0] or one["h"] < one["needs"][1])
    ]
