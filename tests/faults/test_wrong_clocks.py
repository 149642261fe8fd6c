"""Rule 2, hard cases 2, 3 and 16: clocks that are wrong or jump decide nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.faults.conftest import patience, short_lease
from tests.support.services import missing
from tests.support.waiting import wait_for

library = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)


def wrong_clock(offset: str) -> dict[str, str]:
    """Variables that make the clock of a process wrong by `offset` (``+1h``), its monotonic one left right."""
    if library is None:
        missing("libfaketime is not installed (Debian: faketime)")
    return {"LD_PRELOAD": str(library), "FAKETIME": offset, "DONT_FAKE_MONOTONIC": "1", "FAKETIME_NO_CACHE": "1"}


@pytest.fixture
def wrong_pc(tmp_path) -> Callable[[str], dict[str, str]]:
    """`wrong_clock` for programs in Python, whose sleep until a monotonic moment libfaketime gets wrong."""
    folder = tmp_path / "sleep"
    folder.mkdir()
    sleep = "import select, time\ntime.sleep = lambda seconds: select.select([], [], [], seconds) and None\n"
    (folder / "sitecustomize.py").write_text(sleep)
    return lambda offset: {**wrong_clock(offset), "PYTHONPATH": str(folder)}


@pytest.fixture(autouse=True)
def _no_shared_memory_left() -> Iterator[None]:
    """libfaketime leaves a few bytes of shared memory for each process that was killed."""
    yield
    for path in Path("/dev/shm").glob("*faketime*"):
        pid = path.name.rpartition("_")[2]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            path.unlink(missing_ok=True)


def beats_of(office, case_id: str) -> int:
    return office.case(case_id)["beat"]


def wait_for_beats(office, case_id: str, number: int) -> None:
    """Wait for further heartbeats: each is half a second, a lease has four."""
    first = beats_of(office, case_id)
    wait_for(lambda: beats_of(office, case_id) >= first + number, patience, f"{number} more heartbeats")


@pytest.mark.parametrize("offset", ["+1h", "-1h"])
def test_a_pc_whose_clock_is_wrong_by_an_hour_expires_nothing_and_works_like_others(make_office, wrong_pc, offset):
    office = make_office(**short_lease)
    (case_id,) = office.submit(machine="PC-3")
    office.agent("PC-1")
    office.wait_until_told("begun case")
    wrong = office.agent("PC-2", **wrong_pc(offset))
    wrong.wait_for_line("Agent of")

    wait_for_beats(office, case_id, 10)
    assert office.attempts(case_id) == [("PC-1", None)] and office.case(case_id)["losses"] == 0

    (other,) = office.submit(["other"], machine="PC-3")
    office.wait_until_told("begun other")
    wait_for_beats(office, other, 10)
    office.open("case")
    office.open("other")
    office.wait_for_all([case_id, other], "processed")
    assert office.attempts(other) == [("PC-2", "processed")]


def test_the_queue_is_in_the_order_of_submission_whatever_the_clocks_of_the_pcs(make_office, wrong_pc):
    office = make_office()
    for name, offset in (("first", "+1h"), ("second", "-1h"), ("third", "+0")):
        file = office.folder / name
        file.write_text(name)
        assert office.command("submit", "Door", file, machine="PC-3", **wrong_pc(offset)).code == 0
        office.open(name)
        second = int(office.database.server_time().timestamp())  # an id tells no more, and orders nothing within one
        wait_for(lambda then=second: office.database.server_time().timestamp() >= then + 1, 5, "the next second")

    office.agent("PC-1")

    office.wait_until_told("done", 3)
    assert [line.split()[1] for line in office.told() if line.startswith("begun")] == ["first", "second", "third"]
    moments = [case["origin"]["time"]["start"] for case in office.grid.documents()]
    assert moments == sorted(moments) and (moments[-1] - moments[0]).total_seconds() < 600


@pytest.fixture
def jumping_mongod(own_mongod, tmp_path, monkeypatch):
    """A MongoDB, and a function that sets its clock off by so much: ``jump("+3600")``."""
    clock = tmp_path / "clock of mongod"
    clock.write_text("+0")
    variables = wrong_clock("+0")
    del variables["FAKETIME"]
    for name, value in {**variables, "FAKETIME_TIMESTAMP_FILE": str(clock)}.items():
        monkeypatch.setenv(name, value)
    server = own_mongod()
    for name in (*variables, "FAKETIME_TIMESTAMP_FILE"):
        monkeypatch.delenv(name)
    yield server, clock.write_text
    psutil.Process(server.pid).kill()  # its orderly end waits long by such a clock
    server.wait(10)


def jump(office, set_clock: Callable[[str], int], offset: int) -> None:
    """Set the clock of the server off, and see that it is."""
    before = office.database.server_time()
    set_clock(f"{offset:+d}")
    wait_for(lambda: abs((office.database.server_time() - before).total_seconds()) > 1800, 10, "the clock jumped")


def test_a_clock_of_the_server_that_jumps_ahead_and_back_expires_nothing(jumping_mongod, make_office):
    server, set_clock = jumping_mongod
    office = make_office(server=server, **short_lease)
    ids = office.submit(["one", "two"], machine="PC-3")
    office.agent("PC-1")
    office.agent("PC-2")
    office.wait_until_told("begun", 2)

    for offset in (3600, 0, -3600, 0):
        jump(office, set_clock, offset)
        for one in ids:
            wait_for_beats(office, one, 6)

    office.open("one")
    office.open("two")
    office.wait_for_all(ids, "processed")
    for one in ids:
        assert [outcome for _, outcome in office.attempts(one)] == ["processed"]
        assert office.case(one)["losses"] == office.case(one)["failures"] == 0


def test_a_machine_lost_before_the_clock_of_the_server_is_set_back_is_still_noticed(jumping_mongod, make_office):
    server, set_clock = jumping_mongod
    office = make_office(server=server, **short_lease)
    (case_id,) = office.submit(machine="PC-3")
    lost = office.agent("PC-1")
    office.wait_until_told("begun case")

    lost.kill()
    jump(office, set_clock, -3600)
    office.open("case")
    office.agent("PC-2")

    office.wait_for_status(case_id, "processed")
    assert office.attempts(case_id) == [("PC-1", "lost"), ("PC-2", "processed")]
