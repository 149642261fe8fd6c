"""Fixtures for every test: one real MongoDB for the run, grids on it, and a watch on what a test leaves behind."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gridcompute.machine.mongod import PrivateMongod
from tests.support import grids
from tests.support.processes import Watch
from tests.support.proxy import Proxy
from tests.support.services import need_mongod

longest_first = ["stress", "executable", "docs", "softgrid", "window", "acceptance", "faults", "integration"]

_shared_processes: set[int] = set()


@pytest.fixture(scope="session", autouse=True)
def _nothing_of_this_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes this user's own grid, home folder or preferences."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("GRIDCOMPUTE_SERVER", raising=False)
        patch.setenv("GRIDCOMPUTE_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(autouse=True)
def no_process_survives(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails a test that leaves a process behind; unit tests start none, and are spared the look."""
    if "unit" in request.path.relative_to(request.config.rootpath).parts:
        yield
        return
    watch = Watch(request.node.nodeid, _shared_processes)
    with watch.marked():
        yield
    watch.check()


@pytest.fixture(scope="session")
def shared_processes() -> set[int]:
    """The ids of processes that serve several tests; whoever starts some adds them, and ends them."""
    return _shared_processes


@pytest.fixture(scope="session")
def mongod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateMongod]:
    """The MongoDB of the run, with users; not to be stopped or killed: `own_mongod` is for that."""
    need_mongod()
    data = tmp_path_factory.mktemp("mongod")
    with PrivateMongod(data, user_group=grids.user_group, password=grids.password) as server:
        _shared_processes.update(server.process_ids)
        yield server
    shutil.rmtree(data, ignore_errors=True)


@pytest.fixture
def own_mongod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., PrivateMongod]]:
    """Makes MongoDB servers of this test's own, started, to be killed, stopped and started again at will."""
    need_mongod()
    servers: list[PrivateMongod] = []

    def make(**options) -> PrivateMongod:
        options = {"user_group": grids.user_group, "password": grids.password, **options}
        server = PrivateMongod(tmp_path_factory.mktemp("own-mongod"), **options)
        servers.append(server)
        server.start()
        return server

    yield make
    for server in servers:
        server.stop()
        shutil.rmtree(server.data, ignore_errors=True)


@pytest.fixture
def make_settings(mongod: PrivateMongod) -> Callable[..., object]:
    """Makes `Settings` on the run's MongoDB, each with its own instance: ``make_settings(heartbeat_dead="3")``."""
    from gridcompute.grid.settings import parse_settings

    def make(server: PrivateMongod | str = mongod, **changes: str):
        return parse_settings(grids.settings_text(grids.settings_lines(server, **changes)), "settings of a test")

    return make


@pytest.fixture
def settings(make_settings):
    """`Settings` on the run's MongoDB with an instance of this test's own."""
    return make_settings()


@pytest.fixture
def make_grid(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[..., grids.Grid]:
    """Makes shared folders: ``make_grid(apps={"Name": {"process": source}}, machines=["PC-1"], heartbeat_dead="3")``.

    `server` is a MongoDB or an address, by default the run's.
    """
    made: list[grids.Grid] = []

    def make(apps=None, machines=None, *, server: PrivateMongod | str | None = None, **settings: str) -> grids.Grid:
        server = server or request.getfixturevalue("mongod")
        root = tmp_path / ("Shared Folder" if not made else f"Shared Folder {len(made) + 1}")
        made.append(grids.make_grid(root, server, apps, machines, **settings))
        return made[-1]

    return make


@pytest.fixture
def make_proxy() -> Iterator[Callable[[str], Proxy]]:
    """Makes proxies before a MongoDB: ``make_proxy(mongod.address)``."""
    proxies: list[Proxy] = []

    def make(target: str) -> Proxy:
        proxies.append(Proxy(target))
        return proxies[-1]

    yield make
    for proxy in proxies:
        proxy.close()


@pytest.fixture
def home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The per-user folder of the program, this test's own."""
    folder = tmp_path / "home"
    monkeypatch.setenv("GRIDCOMPUTE_HOME", str(folder))
    return folder


def pytest_configure() -> None:
    """What started the tests may ignore signals, as nohup does and a shell's ``&``: programs would inherit that."""
    for name, default in (("SIGINT", signal.default_int_handler), ("SIGHUP", signal.SIG_DFL)):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, default)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The folders whose single files take longest go first, so that no process ends the run alone with one of them."""

    def place(item: pytest.Item) -> int:
        folder = item.path.relative_to(config.rootpath).parts[1]
        return longest_first.index(folder) if folder in longest_first else len(longest_first)

    items.sort(key=place)


def pytest_report_header() -> str:
    return f"CI: {os.environ.get('CI', 'no, a missing service skips its tests')}"
