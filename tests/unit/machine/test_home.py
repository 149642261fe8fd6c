from __future__ import annotations

import io
import json
import logging
import os
import re
import threading

import pytest

from gridcompute.config import environment_home
from gridcompute.errors import AlreadyRunning, UsageError
from gridcompute.machine import home as home_module
from gridcompute.machine.home import Home, SharedLogFile, set_up_logging


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home")


def test_the_folder_is_the_one_given_then_the_variables_then_the_systems(tmp_path, monkeypatch):
    monkeypatch.setenv(environment_home, str(tmp_path / "variable"))
    assert Home(tmp_path / "given").path == tmp_path / "given"
    assert Home().path == tmp_path / "variable"
    monkeypatch.delenv(environment_home)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "data"))
    monkeypatch.setenv("HOME", str(tmp_path / "data"))
    assert tmp_path / "data" in Home().path.parents


def test_the_folders_are_there_and_this_users_alone(home):
    for folder in (home.path, home.journal, home.work, home.output):
        assert folder.is_dir()
        if os.name != "nt":
            assert folder.stat().st_mode & 0o077 == 0


def test_a_folder_that_cannot_be_made_names_the_variable(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=environment_home):
        Home(tmp_path / "file" / "home")


def test_the_installation_id_is_made_once_whoever_asks_first(home):
    ids: list[str] = []
    threads = [threading.Thread(target=lambda: ids.append(Home(home.path).installation)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 8
    assert set(ids) == {home.installation}
    assert re.fullmatch("[0-9a-f]{32}", home.installation)


def test_two_homes_have_two_installation_ids(tmp_path):
    assert Home(tmp_path / "a").installation != Home(tmp_path / "b").installation


def test_preferences_survive_and_an_update_keeps_the_others(home):
    assert home.preferences.load() == {}
    home.preferences.save({"grid": "//srv/grid", "cores": 2})
    assert home.preferences.update(cores=3) == {"grid": "//srv/grid", "cores": 3}
    assert Home(home.path).preferences.load() == {"grid": "//srv/grid", "cores": 3}


@pytest.mark.parametrize("damaged", [b"{", b"[1]", b"\xff\xfe\x00"])
def test_damaged_preferences_count_as_none(home, damaged):
    home.preferences.path.write_bytes(damaged)
    assert home.preferences.load() == {}


def test_the_lock_has_one_owner_who_is_known(home):
    assert home.lock_owner() is None
    with home.lock("agent", "PC-7"):
        assert home.lock_owner() == {"pid": os.getpid(), "role": "agent", "machine": "PC-7"}
        with pytest.raises(AlreadyRunning, match=rf"agent.*PC-7.*{os.getpid()}.*{environment_home}"):
            home.lock("window", "PC-7").acquire()
    assert home.lock_owner() is None


def test_the_lock_is_given_back_by_another_thread_and_twice(home):
    lock = home.lock("window", "PC-7").acquire()
    thread = threading.Thread(target=lock.release)
    thread.start()
    thread.join()
    lock.release()
    with home.lock("agent", "PC-7"):
        pass


def test_an_owner_who_was_killed_is_none_and_his_note_does_not_speak_for_the_next(home, monkeypatch):
    stale = {"pid": os.getpid(), "began": 1.0, "role": "agent", "machine": "PC-1"}
    (home.path / "lock-owner.json").write_text(json.dumps(stale))
    assert home.lock_owner() is None
    monkeypatch.setattr(home_module, "owner_patience", 0.05)
    lock = home.lock("window", "PC-2").acquire()
    (home.path / "lock-owner.json").write_text(json.dumps(stale))
    assert home.lock_owner() == {"pid": 0, "role": "program", "machine": ""}
    lock.release()


def test_looking_at_the_lock_never_keeps_anybody_from_taking_it(home):
    stop = threading.Event()

    def look():
        while not stop.is_set():
            Home(home.path).lock_owner()

    lookers = [threading.Thread(target=look) for _ in range(2)]
    for looker in lookers:
        looker.start()
    try:
        for _ in range(20):
            with home.lock("agent", "PC-7"):
                assert home.lock_owner() is not None
    finally:
        stop.set()
        for looker in lookers:
            looker.join()


@pytest.fixture
def logger():
    """A logger of the package; what set_up_logging did is undone afterwards."""
    root, package = logging.getLogger(), logging.getLogger("gridcompute")
    before, level = list(root.handlers), package.level
    yield logging.getLogger("gridcompute.test")
    for handler in [handler for handler in root.handlers if handler not in before]:
        root.removeHandler(handler)
        handler.close()
    package.setLevel(level)


def test_a_line_of_the_log_tells_when_who_and_what(home, logger):
    console = io.StringIO()
    set_up_logging(home, "agent", console)
    set_up_logging(home, "agent", console)
    logger.info("Connected to %s.", "grid")
    logger.debug("not this")
    lines = home.log_path.read_text("utf-8").splitlines()
    assert len(lines) == 1
    stamp = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d"
    assert re.fullmatch(rf"{stamp} INFO    agent\[{os.getpid()}\] Connected to grid\.", lines[0])
    assert console.getvalue() == "Connected to grid.\n"


def test_the_log_keeps_earlier_files_and_loses_no_line_while_several_write(tmp_path):
    path = tmp_path / "gridcompute.log"

    def write(name: int):
        handler = SharedLogFile(path, limit_bytes=2000, kept=99)
        for number in range(100):
            handler.emit(logging.LogRecord("x", logging.INFO, "", 0, f"{name}-{number} {'ü' * 20}", None, None))

    threads = [threading.Thread(target=write, args=(name,)) for name in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    files = [path, *tmp_path.glob("gridcompute.log.*")]
    lines = [line.split()[0] for file in files if file.exists() for line in file.read_text("utf-8").splitlines()]
    assert len(files) > 3
    assert sorted(lines) == sorted(f"{name}-{number}" for name in range(3) for number in range(100))


def test_the_log_is_bounded(tmp_path):
    handler = SharedLogFile(tmp_path / "gridcompute.log", limit_bytes=1000, kept=2)
    for _ in range(200):
        handler.emit(logging.LogRecord("x", logging.INFO, "", 0, "y" * 100, None, None))
    assert sum(file.stat().st_size for file in tmp_path.glob("gridcompute.log*")) < 4000


def test_a_log_that_cannot_be_written_disturbs_nothing_and_is_told_later(tmp_path):
    handler = SharedLogFile(tmp_path / "away" / "gridcompute.log")
    record = logging.LogRecord("x", logging.INFO, "", 0, "hello", None, None)
    handler.emit(record)
    handler.emit(record)
    (tmp_path / "away").mkdir()
    handler.emit(record)
    assert handler.path.read_text("utf-8").splitlines() == ["(2 lines could not be written here)", "hello"]
