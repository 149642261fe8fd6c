"""An application that needs NumPy, and uv without a network."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from gridcompute.errors import EnvironmentMissing
from gridcompute.machine.environments import find_uv
from tests.support.services import missing

with_a_head = """
# /// script
# requires-python = ">=3.10"
# dependencies = ["numpy"]
# ///
import multiprocessing
import sys
from pathlib import Path

import gridcompute
import numpy
from gridcompute.softgrid import open_softgrid

from . import helper

def total_below(number):
    return int(numpy.arange(number).sum())

def process_case(input_files):
    gridcompute.progress(0.5, "half")
    print("computing in", sys.prefix)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        squares = pool.map(helper.square, [3])
    with open_softgrid() as grid:
        (total,) = grid.schedule_task(total_below, fargs=[4])
    Path("found.txt").write_text(f"{total} {squares} {Path(input_files[0]).read_text()} {sys.prefix}")
    return ["found.txt"]
"""
helper = "def square(number):\n    return number * number\n"


def needs_uv() -> None:
    """Skip the test, or fail it where everything is promised to be there, if uv is not on this computer."""
    try:
        find_uv()
    except EnvironmentMissing as exc:
        missing(str(exc))


def uv_offline(folder: Path) -> dict[str, str]:
    """Variables by which uv finds NumPy in a folder, and this Python as one of its own."""
    import numpy

    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    subprocess.run([*command, "--dest", str(folder / "wheels"), f"numpy=={numpy.__version__}"], check=True, timeout=300)
    pythons = folder / "pythons"
    version = ".".join(map(str, sys.version_info[:3]))
    python = pythons / f"cpython-{version}-linux-x86_64-gnu" / "bin" / "python3"
    python.parent.mkdir(parents=True)
    python.symlink_to(Path(sys.executable).resolve())
    for name in ("python", "python{}.{}".format(*sys.version_info[:2])):
        (python.parent / name).symlink_to("python3")
    return {
        "UV_OFFLINE": "1",
        "UV_NO_INDEX": "1",
        "UV_FIND_LINKS": str(folder / "wheels"),
        "UV_CACHE_DIR": str(folder / "cache"),
        "UV_PYTHON_INSTALL_DIR": str(pythons),
    }
