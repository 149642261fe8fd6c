"""config has all of chapter 1.5.2, each with a line that tells its unit, and docs/config.md shows the true values."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest

from gridcompute import config
from gridcompute.grid.settings import parse_settings
from gridcompute.machine.home import Home

documented = {
    "program_name": "name",
    "version": "version",
    "author": "author",
    "copyright": "copyright",
    "title_windows": "title",
    "max_number_process": "number of",
    "gui_refresh_interval": "milliseconds",
    "db_connect_frequency": "seconds",
    "db_heartbeat_frequency": "seconds",
    "db_heartbeat_dead": "seconds",
    "daemon_pause": "seconds",
    "log_path": "path",
    "pid_file": "path",
}
"""Chapter 1.5.2: each variable, and what its line must speak of: the unit, or the kind of text."""

page = Path(__file__).parents[2] / "docs" / "config.md"


def lines() -> dict[str, str]:
    """Variable or function -> the line below it."""
    body = ast.parse(inspect.getsource(config)).body
    found: dict[str, str] = {}
    for node, following in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.FunctionDef):
            found[node.name] = ast.get_docstring(node) or ""
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            is_text = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
            found[node.targets[0].id] = str(following.value.value) if is_text else ""
    return found


@pytest.mark.parametrize("name", documented)
def test_a_documented_variable_is_there_with_its_unit(name):
    assert hasattr(config, name)
    assert documented[name] in lines()[name].lower()


def test_every_variable_says_what_it_is():
    assert [name for name, line in lines().items() if not line] == []


def test_every_number_says_its_unit():
    units = ("second", "byte", "number", "failure", "loss", "machine", "day", "format", "priority", "files")
    for name, line in lines().items():
        if isinstance(getattr(config, name), int | float):
            assert any(unit in line.lower() for unit in units), name


def test_the_heartbeat_fits_its_lease():
    """The program's own values must pass the check that settings.txt is put to."""
    assert config.db_heartbeat_frequency <= config.db_heartbeat_dead / 3
    assert config.db_heartbeat_dead <= config.db_heartbeat_dead_limit <= 120

    plain = "mongodb server: a:1\nuser group: G\npassword: p\ninstance: 0\n"
    settings = parse_settings(plain, "settings.txt")
    assert settings.heartbeat_frequency == config.db_heartbeat_frequency
    assert settings.heartbeat_dead == config.db_heartbeat_dead
    assert settings.attempts == config.attempts
    assert settings.retention_days == config.retention_days


def test_a_stop_leaves_room_below_the_ten_seconds_that_are_promised():
    assert config.daemon_stop <= 8.0


def test_log_and_pid_file_lie_in_the_users_folder(tmp_path):
    home = Home(tmp_path)
    with home.lock("agent", "PC-1"):
        assert config.pid_file(home.path).exists()
    assert config.log_path(home.path) == home.log_path


def test_the_page_shows_every_documented_variable_with_its_value():
    rows = dict(re.findall(r"^\| `([a-z_]+)` \| ([^|]*) \|", page.read_text(encoding="utf-8"), re.MULTILINE))
    assert documented.keys() <= rows.keys()
    for name, shown in rows.items():
        value = getattr(config, name)
        if isinstance(value, float) or (isinstance(value, int) and name != "max_number_process"):
            number = re.search(r"[\d,.]+", shown)
            assert number and float(number.group().replace(",", "")) == pytest.approx(value), f"docs/config.md: {name}"


def test_the_version_stands_in_one_place():
    """Whoever makes a release changes it there, and gives the changes their heading (CONTRIBUTING.md)."""
    root = page.parents[1]
    assert re.fullmatch(r"\d+\.\d+\.\d+", config.version)
    for name in ("setup.py", "pyproject.toml", "docs/conf.py", "README.md", "Makefile", "CONTRIBUTING.md"):
        assert config.version not in (root / name).read_text("utf-8"), name
    code = [path for folder in ("gridcompute", "admin") for path in (root / folder).rglob("*.py")]
    assert [path.name for path in code if f'"{config.version}"' in path.read_text("utf-8")] == ["config.py"]
    headings = re.findall(r"^## (.+)$", (root / "CHANGES.md").read_text("utf-8"), re.MULTILINE)
    assert headings[0] == config.version
