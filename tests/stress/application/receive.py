"""Puts the result where the test looks for it."""

import json
import os
import shutil
import time
from pathlib import Path

from ledger import count, note

received = Path(os.environ["GRIDCOMPUTE_STRESS"], "received")


def receive_case(output_files):
    file = Path(output_files[0])
    name = json.loads(file.read_bytes().partition(b"\n")[0])["name"]
    order = json.loads(Path(os.environ["GRIDCOMPUTE_STRESS"], "in", name).read_bytes())
    note("receive begun", name)
    time.sleep(order["receive_seconds"])
    if count("receive failed", name) < order["receive_failures"]:
        note("receive failed", name)
        raise RuntimeError("as ordered")
    aside = received / f"{name}.{os.getpid()}"
    shutil.copyfile(file, aside)
    aside.replace(received / file.name)
    note("receive done", name)
