"""``gridcompute serve`` in a process of its own."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from gridcompute import config
from gridcompute.errors import DatabaseRefused, MongodError
from gridcompute.grid.database import Database
from gridcompute.grid.settings import Settings
from gridcompute.machine.mongod import find_mongod, free_port
from tests.support.commands import program, run_command
from tests.support.grids import command_environment
from tests.support.services import missing
from tests.support.waiting import wait_for


class Serving:
    """A running ``gridcompute serve``; what it prints is in `lines`."""

    def __init__(self, home: Path, *options: str, user_group: str = "team", password: str = "secret"):
        self.home, self.user_group, self.password = home, user_group, password
        self.lines: list[str] = []
        arguments = ["serve", "--user-group", user_group, "--password", password, *options]
        self.process = subprocess.Popen(
            [*program, *arguments],
            env=command_environment(home),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.lines.extend(line.rstrip("\n") for line in self.process.stdout)

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def wait_until_it_serves(self) -> Serving:
        wait_for(lambda: "It runs until" in self.text or self.process.poll() is not None, 40, lambda: self.text)
        return self

    def mongod(self) -> psutil.Process:
        children = psutil.Process(self.process.pid).children()
        return next(child for child in children if "mongod" in child.name())

    def end(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(30)
        self._reader.join(5)
        return code


@pytest.fixture
def serve(tmp_path) -> Iterator:
    try:
        find_mongod()
    except MongodError as exc:
        missing(str(exc))
    made: list[Serving] = []

    def start(*options: str, **changes) -> Serving:
        made.append(Serving(tmp_path / "home", *options, **changes))
        return made[-1].wait_until_it_serves()

    yield start
    for one in made:
        with contextlib.suppress(subprocess.TimeoutExpired):
            one.end()
        if one.process.poll() is None:
            one.process.kill()
        assert one.process.stdout is not None
        one.process.stdout.close()


@contextlib.contextmanager
def connected(port: int, user_group: str = "team", password: str = "secret") -> Iterator[Database]:
    database = Database(Settings(f"127.0.0.1:{port}", user_group, password, "0"))
    try:
        yield database
    finally:
        database.close()


def test_it_serves_says_how_to_use_it_and_ends_at_sigterm(serve, tmp_path):
    port = free_port()
    serving = serve("--port", str(port))
    with connected(port) as database:
        database.ping()
        assert database.describe()["change_streams"]
        assert database.check_version() is None
    assert f"gridcompute init FOLDER --mongodb-server {socket.gethostname()}:{port}" in serving.text
    assert f"  mongodb server: {socket.gethostname()}:{port}" in serving.lines
    assert "secret" not in serving.text
    assert (tmp_path / "home" / "mongodb" / "db").is_dir()
    mongod = serving.mongod()
    assert serving.end() == 0
    assert serving.lines[-1] == "MongoDB has ended."
    assert not mongod.is_running()


def test_started_again_after_a_kill_it_lost_nothing_and_ctrl_c_ends_it(serve, tmp_path):
    options = ("--data", str(tmp_path / "my data"), "--port", str(free_port()), "--host", "127.0.0.1")
    first = serve(*options)
    with connected(int(options[3])) as database:
        database.put_version({"_id": "0.0.1", "status": "refused", "message": "old"})
    mongod = first.mongod()
    first.process.kill()
    first.process.wait(10)
    wait_for(lambda: not mongod.is_running() or mongod.status() == psutil.STATUS_ZOMBIE, 15)

    second = serve(*options)

    with connected(int(options[3])) as database:
        assert [entry["_id"] for entry in database.versions()] == ["0.0.1", config.version]
    assert "Only this computer reaches it" in second.text
    assert second.end(signal.SIGINT) == 0


def test_another_password_or_group_is_taken_over_and_said(serve):
    port = free_port()
    options = ("--port", str(port), "--host", "127.0.0.1")
    serve(*options).end()
    changed = serve(*options, password="new")
    assert "The password of 'team' is another than before" in changed.text
    with connected(port, password="new") as database:
        database.ping()
    with connected(port) as database, pytest.raises(DatabaseRefused):
        database.ping()
    changed.end()
    other = serve(*options, user_group="others", password="new")
    assert "The user group is 'others' now, it was 'team' before" in other.text
    for group in ("others", "team"):
        with connected(port, group, "new") as database:
            database.ping()
    other.end()
    same = serve(*options, user_group="others", password="new")
    assert "before" not in same.text


def test_a_server_that_is_killed_is_started_again(serve):
    port = free_port()
    serving = serve("--port", str(port), "--host", "127.0.0.1")
    serving.mongod().kill()
    wait_for(lambda: "MongoDB runs again." in serving.lines, 30, lambda: serving.text)
    assert "ended unasked" in serving.text
    with connected(port) as database:
        database.ping()


def test_a_port_that_is_taken_is_wrong_use(serve, tmp_path, mongod):
    done = run_command(
        *("serve", "--user-group", "g", "--password", "p", "--port", str(mongod.port), "--host", "127.0.0.1"),
        home=tmp_path / "home",
    )
    assert done.code == 2
    assert f"can't listen on port {mongod.port}" in done.err
    assert "Traceback" not in done.err


def test_an_empty_password_is_wrong_use(tmp_path):
    done = run_command("serve", "--user-group", "g", "--password", " ", home=tmp_path / "home")
    assert done.code == 2
    assert "must not be empty" in done.err


def test_versions_that_an_administrator_wrote_are_left_alone(serve):
    port = free_port()
    options = ("--port", str(port), "--host", "127.0.0.1")
    first = serve(*options)
    with connected(port) as database:
        database.set_versions([{"_id": "9.9", "status": "allowed"}])
    first.end()
    second = serve(*options)
    assert f"does not know version {config.version}" in second.text
    with connected(port) as database:
        assert [entry["_id"] for entry in database.versions()] == ["9.9"]
