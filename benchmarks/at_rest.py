"""Measures what the program costs a computer that has nothing to do: the window, and the agent that lends processes.

    python benchmarks/at_rest.py [--seconds 60] [--processes 2]

Needs Linux and Xvfb. A real MongoDB and a real grid without cases stand beside it. Of each program with all that it
started: processor time in percent of one processor, wake-ups a second, and memory, where pages that several processes
share count once (PSS).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.window import screen

settling = 20.0
"""Seconds from the start of a program to the measurement."""

Tree = list[psutil.Process]


@contextlib.contextmanager
def started(*arguments: str, home: Path, display: str) -> Iterator[psutil.Process]:
    """``gridcompute ARGUMENTS`` with a home folder of its own, ended afterwards."""
    process = subprocess.Popen(
        [sys.executable, "-m", "gridcompute", *arguments],
        env={**os.environ, "DISPLAY": display, "GRIDCOMPUTE_HOME": str(home)},
        stdout=subprocess.DEVNULL,
    )
    try:
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(30)


def spent(tree: Tree) -> tuple[float, int]:
    """Seconds of processor time and the number of wake-ups of all threads of the tree so far."""
    times = [process.cpu_times() for process in tree]
    wakes = sum(
        int(line.split()[1])
        for process in tree
        for status in Path(f"/proc/{process.pid}/task").glob("*/status")
        for line in status.read_text().splitlines()
        if line.startswith("voluntary_ctxt_switches")
    )
    return sum(one.user + one.system for one in times), wakes


def measure(name: str, process: psutil.Process, seconds: float) -> None:
    time.sleep(settling)
    tree = [process, *process.children(recursive=True)]
    before, wakes_before = spent(tree)
    time.sleep(seconds)
    after, wakes = spent(tree)
    memory = sum(one.memory_full_info().pss for one in tree)
    print(
        f"{name:<8}{100 * (after - before) / seconds:.2f} % of one processor, "
        f"{(wakes - wakes_before) / seconds:.0f} wake-ups/s, {memory / 1e6:.0f} MB in {len(tree)} processes"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--processes", default="2")
    options = parser.parse_args()
    from gridcompute.machine.mongod import PrivateMongod
    from tests.support import grids

    with tempfile.TemporaryDirectory() as place, screen() as display:
        root = Path(place)
        with PrivateMongod(root / "mongodb", user_group=grids.user_group, password=grids.password) as server:
            grid = grids.make_grid(root / "Shared Folder", server)
            for name, arguments in (("agent", ("agent", "--processes", options.processes)), ("window", ())):
                there = ("--server", str(grid.root), "--machine", "PC-1", *arguments)
                with started(*there, home=root / name, display=display) as process:
                    measure(name, process, options.seconds)


if __name__ == "__main__":
    main()
