"""The document's example scripts run as they stand and print what the document says."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import executor_processes

EXAMPLES = Path(__file__).parents[2] / "docs" / "softgrid" / "examples"
STAMP = r"\d\d:\d\d:\d\d\.\d{6}"
GUN = r"(router|manager|worker)\|\w+@[^\[]+\[\d+\]:\d+"


CORES = min(3, len(os.sched_getaffinity(0)))
WORKERS = CORES - 1


DRAWING = """
import matplotlib, pathlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt
folder = pathlib.Path({folder!r})
def show(*args, **kwargs):
    for number in plt.get_fignums():
        plt.figure(number).savefig(folder / f"{len(list(folder.glob('*.png'))) + 1}.png")
        plt.close(number)
plt.show = show
"""


def run(name: str, plots: Path | None = None, changes: tuple[tuple[str, str], ...] = (), noise: str = "") -> str:
    """The output of an example on three cores at most, since they start a worker less than there are cores.

    What it shows goes to files in `plots`; `changes` are the parameters that the test makes smaller.
    """
    text = (EXAMPLES / name).read_text()
    for old, new in changes:
        assert text.count(old) == 1
        text = text.replace(old, new)
    script = f"""
import os
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:{CORES}])
{DRAWING.replace("{folder!r}", repr(str(plots))) if plots is not None else ""}
__file__ = {str(EXAMPLES / name)!r}
import linecache
linecache.cache[__file__] = (1, None, {text!r}.splitlines(True), __file__)
exec(compile({text!r}, __file__, "exec"))
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=100,
        cwd=os.environ["TMPDIR"],
        env={**os.environ, "PYTHONPATH": ""},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = [line for line in done.stderr.splitlines() if not (noise and re.search(noise, line))]
    assert not said
    assert not [pid for pid in executor_processes() if is_of_this_test(pid)]
    return done.stdout


def is_of_this_test(pid: int) -> bool:
    """Other tests' executors run beside these; each test has a temporary folder of its own."""
    try:
        return os.environ["TMPDIR"].encode() in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False


def printed_list(output: str) -> list[str]:
    line = next(line for line in output.splitlines() if line.startswith("["))
    found = ast.literal_eval(line)
    assert all(re.fullmatch(f"{STAMP} --> {GUN}", item) for item in found), found
    return found


def test_get_transfer_template_prints_the_power():
    lines = run("get_transfer_template.py").splitlines()
    assert [line for line in lines if line.startswith("[")] == ["[1000000]"]
    assert len([line for line in lines if line.endswith("successful")]) == 1


def test_transfer_prints_the_time_and_name_of_every_executor():
    output = run("transfer.py")
    found = printed_list(output)
    assert [item.split(" --> ")[1].split("|")[0] for item in found] == ["router"] * 4 + ["manager"] * 4 + [
        "worker"
    ] * WORKERS
    assert output.count("successful") == 8 + WORKERS


def test_log_and_transfer_prints_the_logs_of_the_workers():
    output = run("log_and_transfer.py")
    assert len(printed_list(output)) == WORKERS
    logs = [line for line in output.splitlines() if " - info - I'm logging '" in line]
    assert len(logs) == len({line.split(" - ")[1] for line in logs}) == WORKERS


def test_transfer_to_executor_and_log_prints_the_logs_that_started_elsewhere():
    output = run("transfer_to_executor_and_log.py")
    assert len(printed_list(output)) == WORKERS
    logs = [line for line in output.splitlines() if "and initiate the log from there" in line]
    assert len(logs) == WORKERS
    assert all(re.search(f"I am 'worker.*' to '{GUN}'", line) for line in logs)


def test_launch_executor_prints_four_statuses():
    assert len([line for line in run("launch_executor.py").splitlines() if line.endswith("successful")]) == 4


def test_transfer_request_to_responder_logs_the_time_of_a_hundred_cycles():
    output = run("transfer_request_to_responder.py")
    assert re.search(r"for 100 back and forth cycles is \d+\.\d+ sec", output), output


def test_transfer_asynchronous_request_draws_the_times_and_the_responders(tmp_path):
    output = run("transfer_asynchronous_request.py", tmp_path)
    cycles = re.findall(r"Finished cycle '(\d+)' in '\d+\.\d+' sec\. for '(\d+)' asynchronous transfers", output)
    assert [int(number) for number, _ in cycles] == list(range(200))
    assert max(int(count) for _, count in cycles) == 10
    assert output.count("Received 'STOP' request.") == 9
    assert all(is_a_picture(tmp_path / f"{number}.png") for number in (1, 2))


def test_transfer_add_promise_prints_a_promise_of_every_worker():
    output = run("transfer_add_promise.py")
    assert output.count("'placed': True") == output.count("'promise_executor': 'worker|") == WORKERS


def test_create_job_promise_returns_five_lists_of_numbers():
    output = run("create_job_promise.py", changes=(("'wait':30", "'wait':0.3"),))
    lengths = printed_list_of_numbers(output)
    assert len(lengths) == 5 and all(1000 <= length <= 10000 for length in lengths)
    assert "5 of 5 promises were removed" in output


def test_build_bridge_draws_the_grid_with_its_bridges(tmp_path):
    output = run("build_bridge.py", tmp_path)
    assert not output.count("error")
    assert is_a_picture(tmp_path / "1.png")


SMALLER = (
    ("NUMBER     = 20", "NUMBER     = 4"),
    ("range(1000000)", "range(1000)"),
    ("range(10000000)", "range(2000)"),
    ("range(50000000)", "range(3000)"),
    ("ncpu = O.machineNumberOfCores - 1", "ncpu = 2"),
    (
        "O = Orch",
        "from gridcompute.softgrid import Globals; Globals.RULES.update(machine_maximum_number_of_workers=2)\nO = Orch",
    ),
)


def test_assess_transfer_speed_prints_and_draws_every_transfer(tmp_path):
    output = run("assess_transfer_speed.py", tmp_path, SMALLER)
    found = [ast.literal_eval(line) for line in output.splitlines() if line.startswith("{'number'")]
    assert [(item["number"], item["steps"]) for item in found] == [
        (n, s) for s in (1, 2) for _ in range(4) for n in range(4)
    ]
    assert all(is_a_picture(tmp_path / f"{number}.png") for number in range(1, 9))


def test_repository_transfer_shows_what_is_there_now():
    lines = run("repository_transfer.py", noise=r"pylocker|self\.setDaemon").splitlines()
    assert "dump_repository: successful" in lines
    assert "True {'a': 1} [1, 2, 3]" in lines


def printed_list_of_numbers(output: str) -> list[int]:
    return list(ast.literal_eval(next(line for line in output.splitlines() if line.startswith("["))))


def is_a_picture(path: Path) -> bool:
    """Whether a PNG shows more than one colour on white."""
    import matplotlib.image
    import numpy

    pixels = (matplotlib.image.imread(path)[:, :, :3] * 255).astype(numpy.uint32)
    return len(numpy.unique(pixels @ numpy.array([1 << 16, 1 << 8, 1], dtype=numpy.uint32))) > 10


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_imports_softgrid_from_gridcompute(path):
    assert "from gridcompute.softgrid import" in path.read_text()
