"""`gridcompute softgrid` starts a grid, joins it and prints its tree, in processes of their own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

PASSWORD = "a password of the tests"
VARIABLE = "GRIDCOMPUTE_SOFTGRID_PASSWORD"
NAME = r"(\w+)\|\w+@127\.0\.0\.1\[(\d+)\]:\d+"


@pytest.fixture
def run(tmp_path):
    """Starts the command; ended after the test."""
    started = []

    def start(*arguments, password=PASSWORD, typed=None):
        environment = {**os.environ, "GRIDCOMPUTE_HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path)}
        environment.pop(VARIABLE, None)
        if password is not None:
            environment[VARIABLE] = password
        process = subprocess.Popen(
            [sys.executable, "-m", "gridcompute", "softgrid", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        started.append(process)
        if typed is not None:
            process.stdin.write(typed)
        process.stdin.close()
        process.stdin = None
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=30)


def place_of(process) -> str:
    """What the orchestrator says it can be joined by."""
    name, command = process.stdout.readline(), process.stdout.readline()
    assert re.match(NAME + " is ready", name), (name, process.stderr.read() if process.poll() is not None else "")
    return re.fullmatch(r"gridcompute softgrid join (\S+)\n", command)[1]


def test_a_computer_joins_an_orchestrator_and_the_tree_shows_both(run):
    orchestrator = run("start", "--address", "127.0.0.1", "--port", "25500", "--workers", "1")
    place = place_of(orchestrator)
    assert place.startswith("127.0.0.1:255")
    joined = run("join", place, "--processes", "2", password=None, typed=PASSWORD + "\n")
    assert "lends 2 processes" in joined.stdout.readline()
    tree = run("tree", place)
    out, error = tree.communicate(timeout=60)
    assert tree.returncode == 0, error
    shape = [(len(line) - len(line.lstrip()), line.split("|")[0].strip()) for line in out.splitlines()]
    assert shape == [(0, "orchestrator"), (2, "manager"), (4, "worker"), (4, "worker"), (2, "worker")]
    as_json = run("tree", place, "--json")
    found = json.loads(as_json.communicate(timeout=60)[0])
    assert len(found["paths"]) == 4 and found["orchestrator"].startswith("orchestrator|")
    orchestrator.send_signal(signal.SIGTERM)
    assert "The grid has ended." in joined.stdout.read()
    assert joined.wait(30) == 0 and orchestrator.wait(30) == 0
    pids = [int(re.search(r"\[(\d+)\]", name)[1]) for name in found["paths"]]
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_wrong_use_is_told_with_what_to_do(run):
    for arguments, words, password in (
        (("join", "nowhere"), "write HOST:PORT", PASSWORD),
        (("tree", "127.0.0.1:1"), "cannot be joined", PASSWORD),
        (("start", "--address", "127.0.0.1"), "needs a password", ""),
    ):
        process = run(*arguments, password=password)
        out, error = process.communicate(timeout=60)
        assert process.returncode == 2 and words in error and "Traceback" not in error, error
        assert not out


def test_a_wrong_password_is_refused(run):
    orchestrator = run("start", "--address", "127.0.0.1", "--port", "25600")
    place = place_of(orchestrator)
    process = run("join", place, "--processes", "1", password="another one")
    error = process.communicate(timeout=60)[1]
    assert process.returncode == 2 and "password" in error
