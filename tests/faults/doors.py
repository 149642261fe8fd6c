"""Applications for stories of faults: they wait behind doors that the test opens, and tell what they do.

RECEIVED stands for the grid's folder for tests (`tests.support.grids`): there are the doors, ``open NAME``, and the
logs.
"""

from __future__ import annotations

from tests.support.grids import receive_copy, send_each_file

helpers = """
import os
import subprocess
import sys
import time
from pathlib import Path

place = Path(RECEIVED)

def say(line, log="process.log"):
    with open(place / log, "ab", buffering=0) as file:
        file.write(line.encode() + b"\\n")

def wait_at(door):
    while not (place / f"open {door}").exists():
        time.sleep(0.02)

def result(name, content):
    output = Path(f"{name}.out")
    output.write_bytes(b"processed:" + content)
    return [str(output)]
"""

process_behind_door = (
    helpers
    + """
def process_case(input_files):
    file = Path(input_files[0])
    say(f"begun {file.name} {os.getpid()}")
    solver = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
    say(f"solver {solver.pid}")
    wait_at(file.name)
    solver.kill()
    solver.wait()
    say(f"done {file.name}")
    return result(file.name, file.read_bytes())
"""
)
"""Starts a sleeping solver, waits at the door that has the file's name, brings ``NAME.out``."""

receive_behind_door = (
    helpers
    + """
def receive_case(output_files):
    name = Path(output_files[0]).name
    say(f"begun {name}", "receive.log")
    wait_at(f"receive {name}")
    (place / name).write_bytes(Path(output_files[0]).read_bytes())
    say(f"done {name}", "receive.log")
"""
)
"""Waits at the door ``receive NAME``."""

door_application = {"send": send_each_file, "process": process_behind_door, "receive": receive_copy}


def application(process: str, receive: str = receive_copy, **files: str) -> dict[str, str]:
    """An application with the body of a process.py that may use `helpers`; further files by name: ``limits="..."``."""
    settings = {"application.txt": "".join(f"{name.replace('_', ' ')}: {value}\n" for name, value in files.items())}
    return {"send": send_each_file, "process": helpers + process, "receive": receive, **settings}
