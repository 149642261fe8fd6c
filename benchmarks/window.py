"""Measures the window: seconds from its start to a picture on the screen and to a filled one, and its longest stalls.

    python benchmarks/window.py [--cases 10000] [--seconds 20] [--updates 50]

Needs Xvfb. A real MongoDB and a real grid hold the cases. A stall is the time beyond its due moment of a tick of one
millisecond in the window's event loop, while the list is read anew, changed, scrolled, and at each quarter of the time
sorted, filtered and sorted again. On a busy computer a stall
is mostly the wait for a processor: the processor time of the thread between two ticks tells the window's own part.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


@contextlib.contextmanager
def screen() -> Iterator[str]:
    """An X server in memory; its display."""
    reading, writing = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(writing), "-screen", "0", "1280x900x24", "-dpi", "96", "-nolisten", "tcp"],
        pass_fds=[writing],
        stderr=subprocess.DEVNULL,
    )
    os.close(writing)
    with os.fdopen(reading) as file:
        display = f":{file.readline().strip()}"
    try:
        yield display
    finally:
        server.terminate()
        server.wait(10)


def fill(settings, user: str, number: int):
    """Insert waiting cases of `user`; the ids."""
    from gridcompute.grid.cases import Archive, Party
    from gridcompute.grid.database import Database

    database = Database(settings)
    database.ensure_indexes()
    ids, moment = database.new_ids(number)
    origin = Party("PC-1", user, "benchmark")
    for first in range(0, number, 1000):
        database.submit(
            [
                database.case_document(
                    one,
                    moment,
                    "Copy",
                    origin,
                    Archive(f"Cases/{one}.zip", 1000, "0" * 64),
                    submission="benchmark",
                    priority=50,
                    names=[f"load case {place}.inp"],
                )
                for place, one in enumerate(ids[first : first + 1000], start=first)
            ]
        )
    return database, ids


def update(database, ids, rate: float, stop: threading.Event) -> None:
    """Change cases, `rate` a second, as machines at work would."""
    place = 0
    while not stop.wait(1 / rate):
        database._cases.update_one({"_id": ids[place % len(ids)]}, {"$set": {"priority": place % 100}})
        place += 1


def watched_window(folder: str, home: str, seconds: float, began: float) -> None:
    """In a process of its own: the window, with a tick that measures the event loop."""
    from gridcompute.gui.start import start
    from gridcompute.machine.home import Home, set_up_logging

    figures: dict[str, float | list[float]] = {}
    stalls: list[float] = []
    own: list[float] = []
    settled: list[float] = []

    def watch(gui) -> None:
        gui.root.update()
        figures["window"], figures["work"] = time.time() - began, time.process_time()
        last = [time.perf_counter(), time.thread_time()]

        def tick() -> None:
            now, worked = time.perf_counter(), time.thread_time()
            if settled:
                stalls.append(now - last[0] - 0.001)
                own.append(worked - last[1])
            last[:] = now, worked
            gui.root.after(1, tick)

        def look() -> None:
            if gui.state.phase == "ready" and len(gui.state.my_cases) and "filled" not in figures:
                figures["filled"] = time.time() - began
                gui.show_tab(gui.my_cases)
                gui.root.after(1500, begin)
            gui.root.after(20, look)

        def begin() -> None:
            settled.append(time.perf_counter())
            scroll()
            gui.root.after(int(seconds * 250), lambda: gui.my_cases.table._sort("case"))
            gui.root.after(int(seconds * 500), gui.my_cases.words.set, "case 1")
            gui.root.after(int(seconds * 500), gui.my_cases._filter)
            gui.root.after(int(seconds * 750), lambda: gui.my_cases.table._sort("submitted"))
            gui.root.after(int(seconds * 1000), finish)

        def scroll(place: int = 0) -> None:
            gui.my_cases.table.scroll_to(place % max(1, len(gui.state.my_cases)))
            gui.root.after(30, lambda: scroll(place + 37))

        def finish() -> None:
            figures["stalls"], figures["own"] = sorted(stalls), sorted(own)
            Path(home, "figures.json").write_text(json.dumps(figures))
            gui.close_now()

        gui.root.after(1, tick)
        gui.root.after(20, look)

    the_home = Home(home)
    set_up_logging(the_home, "window")
    raise SystemExit(start(the_home, server=folder, machine="PC-1", on_window=watch))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--updates", type=float, default=50.0)
    parser.add_argument("--window", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.window:
        folder, home, seconds, began = options.window
        watched_window(folder, home, float(seconds), float(began))
    from gridcompute.machine.mongod import PrivateMongod
    from gridcompute.server import user_name
    from tests.support import grids

    with tempfile.TemporaryDirectory() as place, screen() as display:
        root = Path(place)
        with PrivateMongod(root / "mongodb", user_group=grids.user_group, password=grids.password) as server:
            grid = grids.make_grid(root / "Shared Folder", server)
            database, ids = fill(grid.settings, user_name(), options.cases)
            stop = threading.Event()
            updates = threading.Thread(target=update, args=(database, ids, options.updates, stop), daemon=True)
            updates.start()
            arguments = [str(grid.root), str(root / "home"), str(options.seconds), repr(time.time())]
            subprocess.run(
                [sys.executable, __file__, "--window", *arguments],
                env={**os.environ, "DISPLAY": display},
                timeout=300,
                check=True,
            )
            stop.set()
            updates.join()
            database.close()
        report(json.loads((root / "home" / "figures.json").read_text()), options)


def report(figures: dict, options: argparse.Namespace) -> None:
    stalls = figures["stalls"]
    print(f"start to a window on the screen:  {figures['window']:.2f} s (processor {figures['work']:.2f} s)")
    print(f"start to a filled one:            {figures['filled']:.2f} s ({options.cases:,} cases)")
    print(
        f"event loop, {options.seconds:g} s, {options.cases:,} cases, {options.updates:g} updates a second, "
        f"scrolled, sorted and filtered: "
        f"longest stall {1000 * stalls[-1]:.0f} ms, 99.9 % below {1000 * stalls[int(len(stalls) * 0.999)]:.0f} ms, "
        f"median {1000 * statistics.median(stalls):.1f} ms"
    )
    print(f"processor time of the event loop's thread between two ticks: at most {1000 * figures['own'][-1]:.0f} ms")
    if hasattr(os, "getloadavg"):
        print(f"load of this computer meanwhile: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")


if __name__ == "__main__":
    main()
