"""A grid whose settings.txt has no password: it comes from the environment or from the system's keyring."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.commands import run_command
from tests.support.grids import Grid, password

keyring_of_a_file = """
import json
from pathlib import Path
from keyring.backend import KeyringBackend
from keyring.errors import PasswordDeleteError

kept = Path(__file__).with_name("kept.json")

class Keyring(KeyringBackend):
    priority = 1

    def _all(self):
        return json.loads(kept.read_text()) if kept.exists() else {}

    def get_password(self, service, username):
        return self._all().get(f"{service}/{username}")

    def set_password(self, service, username, password):
        kept.write_text(json.dumps({**self._all(), f"{service}/{username}": password}))

    def delete_password(self, service, username):
        found = self._all()
        if found.pop(f"{service}/{username}", None) is None:
            raise PasswordDeleteError("not there")
        kept.write_text(json.dumps(found))
"""


@pytest.fixture
def grid(make_grid) -> Grid:
    grid = make_grid(apps={}, machines=["PC-1"])
    del grid.lines["password"]
    grid.write_settings()
    assert password not in grid.settings_path.read_text()
    return grid


def test_the_environment_gives_the_password(grid, tmp_path: Path):
    without = run_command(
        "cases", home=tmp_path / "home", grid=grid, PYTHON_KEYRING_BACKEND="keyring.backends.null.Keyring"
    )
    assert without.code == 2
    assert "settings.txt has none" in without.err
    assert "Run 'gridcompute password'" in without.err
    with_it = run_command("cases", home=tmp_path / "home", grid=grid, GRIDCOMPUTE_PASSWORD=password)
    assert with_it.code == 0, with_it.err


def test_the_keyring_keeps_it_once_it_was_typed(grid, tmp_path: Path):
    pytest.importorskip("keyring")
    (tmp_path / "keyring_of_a_file.py").write_text(keyring_of_a_file)
    system = {"PYTHONPATH": str(tmp_path), "PYTHON_KEYRING_BACKEND": "keyring_of_a_file.Keyring"}
    home = tmp_path / "home"

    typed = run_command("password", home=home, grid=grid, text=password + "\n", **system)
    assert typed.code == 0, typed.err
    assert run_command("cases", home=home, grid=grid, **system).code == 0

    assert run_command("password", "--forget", home=home, grid=grid, **system).code == 0
    assert run_command("cases", home=home, grid=grid, **system).code == 2
    again = run_command("password", "--forget", home=home, grid=grid, **system)
    assert again.code == 2
    assert "nothing to forget" in again.err
