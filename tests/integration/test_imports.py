"""What a process really loads: the child of a case must begin fast, so it loads nothing that it does not need."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

heavy = {"pymongo", "bson", "psutil", "tkinter", "openpyxl", "tqdm", "platformdirs", "filelock", "dns", "ssl"}


def loaded_by(module: str) -> set[str]:
    """The top-level packages in memory after a fresh interpreter has imported `module`."""
    program = f"import sys, {module}; print(*sys.modules)"
    output = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True).stdout
    return {name.split(".")[0] for name in output.split()}


@pytest.mark.parametrize(
    "module",
    ["gridcompute", "gridcompute.daemons.runner", "gridcompute.machine.child", "gridcompute.machine.forking.helper"],
)
def test_the_child_of_a_case_loads_nothing_heavy(module):
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"there is no {module} yet")
    assert not loaded_by(module) & heavy


def test_making_a_private_mongodb_loads_pymongo_only_when_it_starts():
    assert "pymongo" not in loaded_by("gridcompute.machine.mongod")
