"""A person without a grid: a choice, not an error box."""

from __future__ import annotations

from pathlib import Path

import pytest

from gridcompute.machine.mongod import is_free
from tests.support.waiting import wait_for


def test_without_a_grid_the_window_offers_to_join_one(open_window, counter_grid, tmp_path: Path):
    window = open_window(None)
    window.wait_for(lambda: window.find("choice.cards.join.go"), "the choice")
    window.picture("first-run")

    window.press("choice.cards.join.go")
    window.choose_files(tmp_path)
    window.wait_for(lambda: window.text("choice.complaint"), "a complaint about a folder that is no grid's")

    window.press("choice.cards.join.go")
    window.choose_files(counter_grid.root)
    window.wait_ready()
    window.wait_for(lambda: "Random Counter" in window.text("foot.allowed"), "what this computer can run")
    assert window.terminate() == 0

    again = open_window(None)
    again.wait_ready()
    assert again.terminate() == 0


def test_the_demo_grid_runs_on_this_computer_alone_and_is_there_the_next_time(open_window, mongod, tmp_path: Path):
    home = "person/.local/share/gridcompute"
    window = open_window(None, home=home)
    window.press("choice.cards.demo.go")
    window.wait_ready(90)
    window.wait_for(lambda: "Random Counter" in window.text("foot.allowed"), "what this computer can run")
    window.wait_for(lambda: window.text("logpane.box.text").count("\n") == 1, "one line of the log, no warning")

    # and what the program tells about itself, where this person's folders are
    window.keys("alt+h", "a")
    window.wait_for(lambda: "~/.local/share/gridcompute/demo" in told(window, "about"), "about")
    window.picture("about")
    window.keys("Escape")
    window.wait_for(lambda: not window.find("about.body"), "no about any more")
    assert window.terminate() == 0

    again = open_window(None, home=home)
    again.wait_ready(60)
    assert again.terminate() == 0

    # the same when the preferences are lost: it is the first start again, and the demo is the one that was there
    (tmp_path / home / "preferences.json").unlink()
    third = open_window(None, home=home)
    third.press("choice.cards.demo.go")
    third.wait_ready(60)
    third.wait_for(lambda: "Random Counter" in third.text("foot.allowed"), "what this computer can run")
    assert third.terminate() == 0


def told(window, dialog: str) -> str:
    """The texts in one of the small windows."""
    looks = window.look().items()
    return "\n".join(one["text"] for path, one in looks if f".{dialog}." in path and "text" in one)


def test_a_grid_is_made_on_a_database_that_is_there(open_window, mongod, tmp_path: Path):
    from tests.support import grids

    window = open_window(None)
    window.press("choice.cards.create.go")
    window.widget("create.body.folder")
    folder = tmp_path / "New grid"
    shown = "/srv/grid/Shared_Folder"
    for name, text in (("group", grids.user_group), ("password", grids.password), ("folder", shown)):
        window.press(f"create.body.{name}")
        window.screen.type(text)
    window.picture("create-grid")
    window.keys("ctrl+a")
    window.screen.type(str(folder))
    window.press("create.body.here")
    window.press("create.body.address")
    window.screen.type(mongod.address)
    window.keys("Return")
    window.wait_ready()
    assert (folder / "Settings" / "settings.txt").is_file()
    assert window.terminate() == 0


def test_this_computer_is_the_server_of_a_grid_for_others(open_window, tmp_path: Path):
    window = open_window(None)
    window.press("choice.cards.create.go")
    folder = tmp_path / "Team grid"
    for name, text in (("folder", folder), ("group", "team"), ("password", "of us: @/%")):
        window.press(f"create.body.{name}")
        window.screen.type(str(text))
    window.keys("Return")
    window.wait_ready(90)
    settings = (folder / "Settings" / "settings.txt").read_text("utf-8")
    host, _, port = next(line for line in settings.splitlines() if line.startswith("mongodb server")).rpartition(":")
    assert not host.endswith(("127.0.0.1", "localhost")) and int(port) > 0

    # the database ends with the window, so closing asks; the next start runs it again
    window.keys("ctrl+q")
    window.wait_for(lambda: "this computer serves" in window.text("quit.body.!frame.message"), "the question")
    window.press("quit.body.buttons.choice1")
    assert window.wait_end() == 0
    assert is_free(int(port))
    again = open_window(None)
    again.wait_ready(60)
    assert again.terminate() == 0


@pytest.mark.parametrize("second", ["window"])
def test_a_second_start_brings_the_first_to_the_front(open_window, counter_grid, second):
    first = open_window(counter_grid)
    first.wait_ready()
    other = open_window(counter_grid)
    assert other.wait_end() == 0
    wait_for(lambda: first.process.poll() is None, 1)
    assert first.terminate() == 0
