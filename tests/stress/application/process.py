"""Derives a result from the input, after the time and the failures that the input orders."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from ledger import count, mark, note


def process_case(input_files):
    data = Path(input_files[0]).read_bytes()
    order = json.loads(data)
    name = order["name"]
    note("process begun", name)
    if order["grandchild"]:
        subprocess.Popen(["sleep", "600"], start_new_session=True)
    time.sleep(order["seconds"])
    if count("process failed", name) < order["failures"]:
        note("process failed", name)
        fail(order["how"])
    head = {"name": name, "case": os.environ["GRIDCOMPUTE_CASE"], "mark": mark(), "input": sha256(data)}
    body = hashlib.shake_256(data).digest(order["bytes"])
    Path(name + ".out").write_bytes(json.dumps(head).encode() + b"\n" + body)
    note("process done", name)
    return [name + ".out"]


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def fail(how):
    if how == "exit":
        sys.exit("as ordered")
    if how == "vanish":
        os._exit(3)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    raise RuntimeError("as ordered")
