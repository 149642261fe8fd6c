"""admin/database_management.py on a MongoDB of its own, by arguments, by call and by edited variables."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pymongo import MongoClient

from gridcompute import config
from gridcompute.errors import DatabaseRefused, UsageError
from gridcompute.machine.mongod import free_port
from tests.support.grids import password, user_group

repository = Path(__file__).parents[2]
script = repository / "admin" / "database_management.py"


@pytest.fixture(scope="module")
def management():
    spec = importlib.util.spec_from_file_location("database_management", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def server(own_mongod):
    """A MongoDB on which the whole database may be emptied, with a user who may not drop it."""
    return own_mongod()


@contextlib.contextmanager
def database(server):
    with MongoClient(server.url) as client:
        yield client[config.database_name]


def fill(server, cases: int) -> None:
    with database(server) as filled:
        filled["versions"].insert_one({"_id": "0.1", "status": "allowed"})
        filled["other"].insert_one({"_id": 1})
        if cases:
            filled["cases"].insert_many([{"_id": number} for number in range(cases)])


def content(server) -> dict[str, list]:
    with database(server) as found:
        return {
            name: sorted(found[name].distinct("_id"))
            for name in found.list_collection_names()
            if found[name].count_documents({})
        }


def run(*arguments: str, python=(sys.executable,), file: Path = script, cwd: Path | None = None, **environ: str):
    return subprocess.run(
        [*python, str(file), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, **environ},
        timeout=60,
        check=False,
    )


def login(server) -> list[str]:
    return ["--mongodb-server", server.address, "--user-group", user_group, "--password", password]


def test_an_empty_database_gets_the_versions_and_what_else_it_had_is_removed(management, server, capsys):
    fill(server, cases=0)
    versions = [
        {"_id": "0.1", "status": "warning", "message": "Beta version"},
        {"_id": "1.0", "status": "allowed"},
        {"_id": "0.0", "status": "refused", "message": "Too old"},
    ]
    management.set_up_mongodb_server(server.address, user_group, password, versions)
    assert content(server) == {"versions": ["0.0", "0.1", "1.0"]}
    with database(server) as found:
        assert found["versions"].find_one({"_id": "0.1"}) == versions[0]
        assert found["versions"].find_one({"_id": "1.0"}) == versions[1]
    assert "0.1           warning   Beta version" in capsys.readouterr().out


def test_where_there_are_cases_nothing_is_removed_unless_told_so(management, server, capsys):
    fill(server, cases=3)
    versions = [{"_id": "1.0", "status": "allowed"}]
    asked: list[str] = []

    for answer in ("", "no", "y", "yess"):
        management.set_up_mongodb_server(
            server.address,
            user_group,
            password,
            versions,
            ask=lambda question, answer=answer: asked.append(question) or answer,
        )
        assert content(server) == {"cases": [0, 1, 2], "other": [1], "versions": ["1.0"]}
    assert "holds 3 cases" in asked[0]
    assert "They are kept" in capsys.readouterr().out
    management.set_up_mongodb_server(server.address, user_group, password, versions)
    assert content(server)["cases"] == [0, 1, 2]

    management.set_up_mongodb_server(server.address, user_group, password, versions, ask=lambda _: " Yes\n")
    assert content(server) == {"versions": ["1.0"]}
    with database(server) as found:
        found["cases"].insert_one({"_id": 1})
    management.set_up_mongodb_server(server.address, user_group, password, versions, remove_cases=True)
    assert content(server) == {"versions": ["1.0"]}


@pytest.mark.parametrize(
    ("entry", "words"),
    [({"_id": "1.0", "status": "ok"}, "allowed, warning, refused"), ({"status": "allowed"}, "has no '_id'")],
)
def test_a_version_that_is_none_is_refused_before_anything_is_written(management, server, entry, words):
    fill(server, cases=1)
    with pytest.raises(UsageError, match=words):
        management.set_up_mongodb_server(server.address, user_group, password, [entry], remove_cases=True)
    assert content(server) == {"cases": [0], "other": [1], "versions": ["0.1"]}


def test_a_wrong_password_is_an_error_in_words(management, server):
    with pytest.raises(DatabaseRefused, match="refuses user group"):
        management.set_up_mongodb_server(server.address, user_group, "wrong", [])


def test_arguments_add_versions_to_those_there_and_touch_no_case(server, tmp_path):
    fill(server, cases=2)
    changes = ["--allow", "1.1", "--warn", "0.9", "Old: update soon", "--refuse", "0.1", "Too old"]
    done = run(*login(server), *changes, "--list", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "0.1           refused   Too old",
        "0.9           warning   Old: update soon",
        "1.1           allowed",
    ]
    assert content(server) == {"cases": [0, 1], "other": [1], "versions": ["0.1", "0.9", "1.1"]}


def test_the_argument_remove_cases_removes_them_and_keeps_the_versions_and_pins(server, tmp_path):
    fill(server, cases=2)
    (tmp_path / "send.py").write_text("")
    assert run(*login(server), "--pin", ".", cwd=tmp_path).returncode == 0
    done = run(*login(server), "--remove-cases")
    assert done.returncode == 0, done.stderr
    assert "2 cases are removed" in done.stdout
    assert f"  {tmp_path.name}/send.py\n" in done.stdout
    assert content(server).keys() == {"versions", "pins"}
    wrong = run(*login(server), "--unpin", "nix", "--unpin-all")
    assert wrong.returncode == 2 and "'nix' is not pinned" in wrong.stderr
    assert "pins" in content(server)
    assert f"'{tmp_path.name}' is no longer pinned" in run(*login(server), "--unpin-all").stdout
    assert content(server) == {"versions": ["0.1"]}


def test_a_database_that_is_away_and_wrong_arguments_are_code_2_without_a_traceback():
    away = run("--mongodb-server", f"127.0.0.1:{free_port()}", "--user-group", "g", "--password", "p")
    wrong = run("--user-group", "g")
    nobody = run("--mongodb-server", "127.0.0.1:1", "--user-group", "g", GRIDCOMPUTE_PASSWORD="")
    assert (away.returncode, wrong.returncode, nobody.returncode) == (2, 2, 2)
    assert "does not answer" in away.stderr
    assert "Give it by --password, or by the variable GRIDCOMPUTE_PASSWORD" in nobody.stderr
    assert "Traceback" not in away.stderr + wrong.stderr + nobody.stderr


def test_the_edited_variables_are_used_and_nobody_there_to_ask_means_no(server, tmp_path):
    """As the tutorial has it, from a clone that is not installed."""
    clone = tmp_path / "a clone"
    (clone / "admin").mkdir(parents=True)
    shutil.copytree(repository / "gridcompute", clone / "gridcompute", ignore=shutil.ignore_patterns("__pycache__"))
    functions, main, edited = script.read_text("utf-8").rpartition('if __name__ == "__main__":')
    for name, value in (("mongodb_server", server.address), ("login", user_group), ("password", password)):
        before = next(line for line in edited.splitlines() if line.startswith(f"    {name} = "))
        edited = edited.replace(before, f"    {name} = {value!r}")
    (clone / "admin" / script.name).write_text(functions + main + edited, "utf-8")
    fill(server, cases=4)

    done = run(file=clone / "admin" / script.name, cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert "holds 4 cases of all user groups. They are kept" in done.stdout
    assert content(server) == {"cases": [0, 1, 2, 3], "other": [1], "versions": [config.version]}


def test_without_its_packages_it_says_what_to_install(tmp_path):
    done = run("--help", python=(sys.executable, "-I", "-S"))
    assert done.returncode == 1
    assert "python -m pip install" in done.stderr
    assert "Traceback" not in done.stderr
