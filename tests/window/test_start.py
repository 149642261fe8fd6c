"""The ways in which the window is started, without the tests' driver."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.commands import program
from tests.support.grids import command_environment
from tests.support.waiting import wait_for


@pytest.fixture
def start(a_screen, tmp_path: Path):
    """Starts a command on the screen; what it prints is in ``output.txt``."""
    started: list[subprocess.Popen] = []

    def begin(*command: str, **environ: str) -> subprocess.Popen:
        with (tmp_path / "output.txt").open("w") as output:
            env = {**command_environment(tmp_path / "home"), "DISPLAY": a_screen.display, **environ}
            started.append(
                subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=tmp_path)
            )
        return started[-1]

    yield begin
    for process in started:
        if process.poll() is None:
            process.terminate()
            process.wait(30)


def windows(screen) -> str:
    """The id of the program's window, empty while there is none."""
    try:
        return screen.do("search", "--onlyvisible", "--name", "^GridCompute")
    except subprocess.CalledProcessError:
        return ""


def test_python_m_opens_the_window_at_once_without_the_library_for_dropping(start, a_screen, counter_grid, tmp_path):
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "tkinterdnd2.py").write_text("raise ImportError('not on this platform')")
    root = Path(__file__).parents[2]
    began = time.monotonic()
    process = start(
        *(sys.executable, "-m", "gridcompute", "--server", str(counter_grid.root), "--machine", "PC-1"),
        PYTHONPATH=f"{blocked}{os.pathsep}{root}",
    )
    wait_for(lambda: windows(a_screen), 20, "a window")
    assert time.monotonic() - began < 10  # below a second on an idle desk
    log = tmp_path / "home" / "gridcompute.log"
    wait_for(lambda: log.exists() and "Connected to" in log.read_text("utf-8"), 30, "connected")
    assert "Traceback" not in log.read_text("utf-8")
    process.send_signal(signal.SIGTERM)
    assert process.wait(25) == 0


def test_the_demo_with_its_window_ends_when_that_is_closed(start, a_screen, tmp_path: Path):
    process = start(*program, "demo", "--gui", "--cases", "2", "--keep", str(tmp_path / "demo"))
    output = tmp_path / "output.txt"
    wait_for(lambda: "ends when its window is closed" in output.read_text(), 100, output.read_text)
    assert output.read_text().count("received") >= 2
    wait_for(lambda: windows(a_screen), 20, "its window")
    a_screen.do("windowactivate", "--sync", windows(a_screen).splitlines()[0])
    a_screen.key("ctrl+q")
    assert process.wait(40) == 0, output.read_text()
