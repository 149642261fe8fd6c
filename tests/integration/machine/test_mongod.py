from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import textwrap
import time

import psutil
import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from gridcompute.config import database_name
from gridcompute.errors import MongodError
from gridcompute.machine.mongod import PrivateMongod, find_mongod, free_port, private
from tests.support.grids import password, user_group
from tests.support.waiting import wait_for


def connect(server: PrivateMongod, login: str = user_group, secret: str = password) -> MongoClient:
    return MongoClient(
        server.address,
        username=login,
        password=secret,
        authSource=database_name,
        directConnection=True,
        serverSelectionTimeoutMS=3000,
    )


def test_the_team_may_write_and_watch_and_not_administer(mongod):
    with connect(mongod) as client:
        things = client[database_name]["things"]
        with things.watch() as stream:
            things.insert_one({"name": "beam"})
            assert stream.next()["fullDocument"]["name"] == "beam"
        things.drop()
        with pytest.raises(OperationFailure):
            client.drop_database(database_name)
        assert client.admin.command("hello")["me"] == mongod.address


def test_nobody_gets_in_without_the_password(mongod):
    with MongoClient(mongod.address, directConnection=True) as client, pytest.raises(OperationFailure):
        client[database_name]["things"].find_one()
    with MongoClient(mongod.address, directConnection=True) as client, pytest.raises(OperationFailure):
        client.admin.command("createUser", "thief", pwd="x", roles=["root"])
    with connect(mongod, secret="wrong") as client, pytest.raises(OperationFailure):
        client[database_name]["things"].find_one()


def test_the_url_reaches_the_database_whatever_the_password_holds(mongod):
    with MongoClient(mongod.url) as client:
        assert client[database_name].command("ping")["ok"] == 1


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
def test_the_folder_is_private(mongod):
    assert stat.S_IMODE(mongod.data.stat().st_mode) == 0o700
    assert stat.S_IMODE((mongod.data / "key").stat().st_mode) == 0o400
    assert stat.S_IMODE((mongod.data / "administrator-password").stat().st_mode) == 0o600
    assert password not in repr(mongod)


def test_after_a_kill_it_starts_again_on_its_folder_and_port_and_lost_nothing(own_mongod):
    server = own_mongod()
    address = server.address
    with connect(server) as client:
        client[database_name]["things"].insert_one({"_id": 1})
    os.kill(server.pid, signal.SIGKILL)
    assert server.wait(10) == -signal.SIGKILL
    assert not server.alive

    server.start()

    assert server.address == address
    with connect(server) as client:
        assert client[database_name]["things"].count_documents({}) == 1


def test_another_program_may_start_it_again_on_another_port_with_a_new_password(own_mongod):
    first = own_mongod()
    with connect(first) as client:
        client[database_name]["things"].insert_one({"_id": 1})
    first.stop()
    second = PrivateMongod(first.data, "0.0.0.0", free_port(), user_group=user_group, password="new")
    with second:
        assert second.port != first.port
        assert second.team_address.endswith(f":{second.port}")
        with connect(second, secret="new") as client:
            client[database_name]["things"].insert_one({"_id": 2})
            assert client[database_name]["things"].count_documents({}) == 2
        with connect(second) as client, pytest.raises(OperationFailure):
            client[database_name]["things"].find_one()


def test_a_start_broken_off_anywhere_is_finished_by_the_next(own_mongod, tmp_path, monkeypatch):
    server = PrivateMongod(tmp_path / "data", user_group=user_group, password=password)
    for step in ("_make_replica_set", "_make_users"):
        with monkeypatch.context() as patch:
            patch.setattr(server, step, lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                server.start()
        assert not server.alive
    with server, connect(server) as client:
        client[database_name]["things"].insert_one({"_id": 1})


def test_without_users_it_starts_too_and_stop_may_be_called_twice(own_mongod):
    server = own_mongod(users=False)
    with MongoClient(server.url) as client:
        client[database_name]["things"].insert_one({"_id": 1})
    server.stop()
    server.stop()
    assert not server.alive
    assert server.pid is None


def test_a_port_that_another_program_took_is_left_for_another(own_mongod, monkeypatch):
    first = own_mongod(users=False)
    taken = iter([first.port])
    monkeypatch.setattr(private, "free_port", lambda host: next(taken, None) or free_port(host))
    second = own_mongod(users=False)
    assert second.port != first.port
    with MongoClient(second.url) as client:
        assert client.admin.command("hello")["me"] == second.address


def test_a_port_that_was_asked_for_and_is_taken_is_said(mongod, tmp_path):
    server = PrivateMongod(tmp_path / "data", port=mongod.port, user_group="g", password="p")
    with pytest.raises(MongodError, match=rf"can't listen on port {mongod.port}"):
        server.start()
    assert not server.alive


def test_a_folder_in_use_is_said(mongod, monkeypatch):
    monkeypatch.setattr(private, "folder_patience", 0.0)
    with pytest.raises(MongodError, match="in use by another MongoDB"):
        PrivateMongod(mongod.data, user_group="g", password="p").start()


def test_a_folder_with_damaged_files_is_said_with_the_servers_words(tmp_path):
    data = tmp_path / "data"
    (data / "db").mkdir(parents=True)
    (data / "db" / "storage.bson").write_bytes(b"nonsense")
    with pytest.raises(MongodError, match=r"ended at its start with code \d+: .+ All that it says is in"):
        PrivateMongod(data, user_group="g", password="p").start()


def test_the_server_ends_when_its_starter_is_killed(tmp_path):
    script = f"""
        import sys, threading, time
        from pathlib import Path
        from gridcompute.machine.mongod import PrivateMongod
        server = PrivateMongod(Path({str(tmp_path / "data")!r}), user_group="g", password="p")
        thread = threading.Thread(target=server.start)  # its end must not be the server's
        thread.start()
        thread.join()
        print(server.pid, flush=True)
        time.sleep(100)
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE) as starter:
        pid = int(starter.stdout.readline())
        assert psutil.pid_exists(pid)
        starter.kill()
    wait_for(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE, 10)


def test_the_first_start_takes_below_three_seconds(tmp_path):
    """On an idle machine about 0.7 s; the bound leaves room for a busy one."""
    server = PrivateMongod(tmp_path / "data", user_group="g", password="p")
    before = time.monotonic()
    with server:
        assert time.monotonic() - before < 3 * max(1, os.getloadavg()[0] if hasattr(os, "getloadavg") else 1)


def test_no_mongod_anywhere_says_how_to_get_one(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(MongodError, match=r"gridcompute\[local\]"):
        find_mongod()


def test_a_mongod_on_path_comes_first_and_the_wheels_gets_its_run_bit(tmp_path, monkeypatch):
    name = "mongod.exe" if os.name == "nt" else "mongod"
    wheel = tmp_path / "site" / "fiftyone" / "db" / "bin" / name
    wheel.parent.mkdir(parents=True)
    wheel.touch(0o644)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site")])
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert find_mongod() == wheel
    assert os.access(wheel, os.X_OK)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / name).touch(0o755)
    assert find_mongod() == tmp_path / "bin" / name


def test_users_need_a_name_and_a_password(tmp_path):
    with pytest.raises(MongodError, match="one is empty"):
        PrivateMongod(tmp_path, user_group="g", password="")
