"""What the processes of cases do in tests of processes: jobs that behave badly, each in one way, named by job["do"]."""

from __future__ import annotations

import atexit
import ctypes
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import gridcompute


def run(job, report):
    """The entry of the children."""
    Path(job["work"]).mkdir(parents=True, exist_ok=True)
    answer = globals()[job["do"]](job, report)
    report({"kind": "outcome", "outcome": "done", "answer": answer})


def nothing(job, report):
    return job.get("answer")


def wait_for_the_share(job, report):
    report({"kind": "stage", "stage": "pack"})
    report({"kind": "waits", "for": "share", "message": "away"})


def fail(job, report):
    raise LookupError("as told")


def exit_at_once(job, report):
    os._exit(3)


def kill_itself(job, report):
    os.kill(os.getpid(), signal.SIGKILL)


def segfault(job, report):
    ctypes.string_at(0)


def wait_for_ever(job, report):
    report({"kind": "stage", "stage": "run"})
    threading.Event().wait()


def ignore_sigterm(job, report):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    wait_for_ever(job, report)


def end_on_sigterm(job, report):
    signal.signal(signal.SIGTERM, lambda *_: os._exit(7))
    wait_for_ever(job, report)


def print_much(job, report):
    print("the beginning")
    block = b"x" * 999_999 + b"\n"
    sys.stdout.flush()
    for _ in range(job["megabytes"]):
        os.write(1, block)
    print("the end")


def print_both(job, report):
    print("to one \N{GREEK SMALL LETTER OMEGA}")
    print("to the other", file=sys.stderr)
    subprocess.run([sys.executable, "-c", "print('from a child')"], check=True)
    return sys.stdin.read()


def tell_much(job, report):
    return ["x" * 100] * 10_000


def tell_twice(job, report):
    report({"kind": "outcome", "outcome": "first"})


def tell_progress(job, report):
    for step in range(1001):
        gridcompute.progress(step / 1000, f"step {step}")
    time.sleep(0.5)


def sane(job, report):
    """What a script may expect of its Python, seen from inside."""
    atexit.register(Path(job["work"], "atexit").write_text, "ran")
    with multiprocessing.get_context("fork").Pool(2) as pool:
        forked = pool.map(abs, [-1, -2])
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        spawned = pool.map(abs, [-3])
    return {
        "forked": forked,
        "spawned": spawned,
        "sigterm": signal.getsignal(signal.SIGTERM) == signal.SIG_DFL,
        "sigint": signal.getsignal(signal.SIGINT) == signal.default_int_handler,
        "sigchld": signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL,
        "random": random.random(),
        "temporary": Path(tempfile.mktemp()).name,
        "nice": os.nice(0),
        "case": os.environ.get("GRIDCOMPUTE_CASE"),
        "heavy": sorted({"pymongo", "psutil", "argparse", "asyncio"} & set(sys.modules)),
        "threads": threading.active_count(),
    }


def two_outcomes_by_fork(job, report):
    if os.fork() == 0:
        return "the child's"
    os.wait()
    return "the parent's"


# --- trees ------------------------------------------------------------------------------------------------------------


def _note(job, pid):
    with Path(job["work"], "pids").open("a") as file:
        file.write(f"{pid}\n")


def _detach(job, then):
    """Fork twice with a session of its own in between, as a daemon does, and do `then` there."""
    middle = os.fork()
    if middle == 0:
        os.setsid()
        if os.fork() == 0:
            _note(job, os.getpid())
            then()
        os._exit(0)
    os.waitpid(middle, 0)


def _spin():
    while True:
        pass


def _sleep():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(1)


def grow_tree(job, report):
    """Children of every kind: started, forked, detached, detached and another program, deaf to SIGTERM."""
    _note(job, os.getpid())
    _note(job, subprocess.Popen(["sleep", "1000"]).pid)
    _note(job, subprocess.Popen(["sh", "-c", "trap '' TERM; sleep 1000 & wait"], start_new_session=True).pid)
    child = os.fork()
    if child == 0:
        _note(job, os.getpid())
        _sleep()
    _detach(job, _sleep)
    _detach(job, lambda: os.execvp("sleep", ["sleep", "1000"]))
    while len(Path(job["work"], "pids").read_text().split()) < 6:
        time.sleep(0.01)


def leave_tree(job, report):
    """Grow a tree and return: what is left behind must not live on."""
    grow_tree(job, report)


def sweep_tree(job, report):
    """Grow a tree, have it ended, and say which of it is left."""
    grow_tree(job, report)
    report.sweep()
    return [pid for pid in Path(job["work"], "pids").read_text().split() if _runs(pid) and int(pid) != os.getpid()]


def _runs(pid):
    try:
        return Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def hold_tree(job, report):
    """Grow a tree and never end."""
    grow_tree(job, report)
    wait_for_ever(job, report)


def burn(job, report):
    """Use the processor in a grandchild that has detached itself, and never end."""
    _detach(job, _spin)
    wait_for_ever(job, report)
