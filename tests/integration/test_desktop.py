"""What is asked of this computer's desktop."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from gridcompute.machine import desktop


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in is a shell script; there it is the real one")
def test_a_notification_of_windows_gets_its_words_beside_the_script(monkeypatch, tmp_path: Path):
    told = tmp_path / "told.txt"
    stand_in = tmp_path / "powershell"
    stand_in.write_text(f'#!/bin/sh\necho "$GRIDCOMPUTE_TITLE: $GRIDCOMPUTE_TEXT ($3)" > "{told}"\n')
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    shown = desktop._toast("GridCompute", "1 case came back: '; $(exit) \"")
    assert shown is not None and shown.wait(20) == 0
    assert told.read_text().strip() == "GridCompute: 1 case came back: '; $(exit) \" (-Command)"
