"""softgrid's jobs, asynchronous requests and bridges, beside what else does the same.

    python benchmarks/softgrid_jobs.py [--quick] [--readme FILE]

`--readme` writes the table between `<!-- softgrid jobs -->` and `<!-- end of softgrid jobs -->`.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from gridcompute.softgrid import Globals, Orchestrator

BEGIN, END = "<!-- softgrid jobs -->", "<!-- end of softgrid jobs -->"


def busy(seconds: float) -> float:
    """Takes so long of a core."""
    import time

    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass
    return seconds


def respond(executor: Any, responders: list[str], password: str) -> None:
    """Passes a request on until it has wandered as far as it says, then responds to the requester."""
    import random

    others = [name for name in responders if name != executor.gridUniqueName]
    while True:
        request = executor.wait_for_request(password, timeout=60)[password]
        if request is None or request["request"] is None:
            return
        left = request["request"] - 1
        if left <= 0:
            executor.transfer_response_to_requester(request["requester"], password, left)
        else:
            executor.transfer_asynchronous_request(request["requester"], random.choice(others), password, left)


def ask(executor: Any, responders: list[str], password: str, transfers: int, count: int) -> list[float]:
    """Seconds of each request that wanders over so many responders."""
    import random
    import time

    found = []
    for _ in range(count):
        started = time.perf_counter()
        executor.transfer_request_to_responder(random.choice(responders), password, transfers)
        executor.wait_for_response(password, timeout=60)
        found.append(time.perf_counter() - started)
    return found


def chains(grid: Orchestrator, count: int) -> list[tuple[str, str, str]]:
    """The document's own figure: the time of a request by the number of its asynchronous transfers, ten workers."""
    workers = grid.workers
    requester, responders = workers[0], workers[1:]
    template = grid.get_transfer_template(respond, args=(responders, "p"), priority=None, returnResult=False)
    template["first_argument_executor"] = True
    grid.transfer(template, responders)
    rows = []
    for transfers in (1, 5, 10):
        template = grid.get_transfer_template(ask, args=(responders, "p", transfers, count), priority=None)
        template["first_argument_executor"] = True
        seconds = statistics.median(grid.transfer(template, requester, collect=True)[0])
        what = f"a request with {transfers} asynchronous transfer{'s' if transfers > 1 else ''}, 10 workers"
        rows.append((what, f"{1e3 * seconds:.2f} ms", f"{1e3 * seconds / (transfers + 1):.2f} ms a step"))
    grid.transfer_request_to_responder(responders, "p", None, register=False)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    parser.add_argument("--readme", type=Path)
    options = parser.parse_args()
    random.seed(1)
    Globals.RULES.update(machine_maximum_number_of_workers=None, machine_maximum_number_of_managers=None)
    grid = Orchestrator(address="127.0.0.1", password="benchmark")
    rows = []
    kwargs = {"relaunch": False}
    launched = grid.launch_worker([grid.address] * 10, executorKwargs=kwargs, timeout=60)[1]
    names = [item["gridUniqueName"] for item in launched]
    rows += chains(grid, 20 if options.quick else 100)
    grid.kill_executor(names[2:])

    tasks = [(busy, [0.001], None) for _ in range(1000)]
    grid.schedule_job(tasks[:100], verbose=False)
    times = []
    for _ in range(1 if options.quick else 3):
        started = time.perf_counter()
        assert grid.schedule_job(tasks, verbose=False) == [0.001] * 1000
        times.append(time.perf_counter() - started)
    beside = []
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(busy, [0.001] * 100))
        for _ in times:
            started = time.perf_counter()
            list(pool.map(busy, [0.001] * 1000))
            beside.append(time.perf_counter() - started)
    rows.append(
        ("1,000 tasks of 1 ms over two workers", f"{min(times):.2f} s", f"concurrent.futures: {min(beside):.2f} s")
    )

    one, other = grid.workers[:2]
    for what, data in (("nothing", None), ("10 MB of bytes", bytes(10_000_000))):
        number = 20 if options.quick else 50
        by_tree = grid.assess_transfer_speed(other, one, data, number)
        password = grid.build_bridge(other, one).data["bridge_password"]
        by_bridge = grid.assess_transfer_speed(other, one, data, number)
        grid.destroy_bridge(other, password)
        tree, bridge = (1e3 * statistics.median(item["seconds"] for item in found) for found in (by_tree, by_bridge))
        rows.append((f"{what} there and back over two steps", f"{tree:.2f} ms", f"by a bridge: {bridge:.2f} ms"))
    grid.disconnect(kill=False)

    lines = ["| what | softgrid | beside it |", "|---|---|---|", *(f"| {a} | {b} | {c} |" for a, b, c in rows)]
    print("\n".join(lines))
    if options.readme:
        text = options.readme.read_text()
        before, _, rest = text.partition(BEGIN)
        table = "\n".join([BEGIN, *lines, END])
        options.readme.write_text(f"{before.rstrip()}\n\n{table}\n" + rest.partition(END)[2].lstrip("\n"))


if __name__ == "__main__":
    main()
