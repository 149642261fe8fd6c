"""What tests need from the machine: missing on a desk it skips the test, where it is promised (CI) it fails."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest

from gridcompute.errors import MongodError
from gridcompute.machine.mongod import find_mongod


def promised() -> bool:
    """Whether this machine promises every service that the tests use."""
    return os.environ.get("CI", "").lower() in ("true", "1", "yes")


def missing(reason: str) -> NoReturn:
    """Skip the running test or fixture because of `reason`; fail it where the service is promised."""
    if promised():
        pytest.fail(f"{reason} (CI promises it: see .ci/packages)", pytrace=False)
    pytest.skip(reason)


def need_programs(*names: str) -> list[str]:
    """The paths of programs of the system; `missing` if one is not there."""
    paths = []
    for name in names:
        path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
        if path is None:
            missing(f"the program {name} is not installed")
        paths.append(path)
    return paths


def need_mongod() -> None:
    """`missing` if this computer has no MongoDB server."""
    try:
        find_mongod()
    except MongodError as exc:
        missing(str(exc))


def need_root() -> None:
    """The running test makes mounts or network namespaces; `missing` unless it may."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        missing("this test needs root")
