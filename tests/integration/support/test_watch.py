"""The watch on processes sees what it is there to see."""

from __future__ import annotations

import subprocess
import sys

import psutil
import pytest

from tests.support.processes import Watch
from tests.support.waiting import wait_for

orphan = """
import subprocess, sys
quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True, **quiet)
print(child.pid)
"""


def test_a_process_whose_parent_has_ended_is_found_named_and_ended():
    watch = Watch("this test", set())
    with watch.marked():
        output = subprocess.run([sys.executable, "-c", orphan], capture_output=True, text=True, check=True).stdout
    pid = int(output)
    with pytest.raises(AssertionError, match=rf"this test left processes behind:\n  {pid}: .*sleep"):
        watch.check(timeout=0.1)
    wait_for(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


def test_what_ended_or_ran_before_or_is_shared_is_not_found():
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as before:
        watch = Watch("this test", set())
        with watch.marked():
            subprocess.run([sys.executable, "-c", "pass"], check=True)
            with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as shared:
                watch.shared.add(shared.pid)
                watch.check(timeout=0.1)
                shared.kill()
        before.kill()


def test_a_grid_of_a_test_is_one_that_the_program_reads(make_grid):
    grid = make_grid(heartbeat_frequency="1", heartbeat_dead="3")
    settings = grid.settings
    assert settings.instance == grid.instance
    assert settings.heartbeat_dead == 3
    assert (grid.applications_path / "Copy" / "process.py").is_file()
    assert grid.documents() == []
    assert make_grid().instance != grid.instance
