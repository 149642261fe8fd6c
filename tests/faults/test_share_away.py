"""Rules 1 and 6, hard cases 7, 10 and 11: the shared folder goes and comes back; archives vanish or rot on it."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path

import pytest

from tests.faults.conftest import daemon_of, is_gone
from tests.faults.doors import application
from tests.support.services import need_programs, need_root

note_each_run = """
def process_case(input_files):
    file = Path(input_files[0])
    say(file.name)
    return result(file.name, file.read_bytes())
"""


def status_of(office, case_id: str) -> str:
    return office.case(case_id)["status"]


def test_a_shared_folder_taken_away_and_brought_back_loses_nothing(make_office):
    office = make_office(machines=["PC-1"])
    ids = office.submit(["one", "two"])
    agent = office.agent("PC-1")
    daemons = [daemon_of(agent, name) for name in ("process", "receive")]
    office.wait_until_told("begun one")

    away = office.grid.root.with_name("taken away")
    office.grid.root.rename(away)
    office.open("one")
    agent.wait_for_line("It is waited for")
    away.rename(office.grid.root)
    office.open("two")

    office.wait_for_all(ids)
    assert all(case["failures"] == case["losses"] == 0 for case in office.grid.documents())
    assert all(daemon.is_running() for daemon in daemons)
    agent.wait_for_line("there again")
    office.wait_until_empty()


def test_an_agent_started_without_the_shared_folder_waits_for_it(make_office):
    office = make_office()
    (case_id,) = office.submit()
    office.open("case")
    away = office.grid.root.with_name("taken away")
    office.grid.root.rename(away)

    agent = office.agent("PC-1")
    agent.wait_for_line("Waiting for it")
    away.rename(office.grid.root)

    office.wait_for_status(case_id, "received")


@pytest.fixture
def mounted(tmp_path):
    """A function that mounts a folder elsewhere by bind mount, and one that takes the mount away."""
    need_root()
    need_programs("mount", "umount")
    places: list[Path] = []

    def mount(source: Path, place: Path) -> None:
        place.mkdir(exist_ok=True)
        subprocess.run(["mount", "--bind", source, place], check=True)
        places.append(place)

    def unmount(place: Path) -> None:
        subprocess.run(["umount", "--lazy", place], check=True)
        places.remove(place)

    yield mount, unmount
    for place in places:
        with contextlib.suppress(subprocess.CalledProcessError):
            unmount(place)


def test_an_unmounted_share_leaves_an_empty_folder_in_which_nothing_is_made(mounted, make_office):
    mount, unmount = mounted
    office = make_office(machines=["PC-1"])
    source, place = office.grid.root, office.grid.root.with_name("mounted share")
    mount(source, place)
    office.grid.root = place
    (case_id,) = office.submit()
    agent = office.agent("PC-1")
    office.wait_until_told("begun case")

    unmount(place)
    office.open("case")
    agent.wait_for_line("waited for")
    assert not list(place.iterdir()), "nothing is written below an empty mount point"
    mount(source, place)

    case = office.wait_for_status(case_id, "received")
    assert case["failures"] == case["losses"] == 0


def processed(office) -> dict:
    """A case of *Note* of PC-3's, processed by PC-1, its result not yet received; the agent goes on."""
    (case_id,) = office.submit(application="Note", machine="PC-3")
    office.agent("PC-1")
    return office.wait_for_status(case_id, "processed")


@pytest.mark.parametrize("harm", ["deleted", "damaged", pytest.param("cut short", marks=pytest.mark.long)])
def test_a_result_that_is_harmed_on_the_share_is_made_again(make_office, harm):
    office = make_office({"Note": application(note_each_run)})
    case = processed(office)
    result = office.grid.root / case["result"]["path"]
    if harm == "deleted":
        result.unlink()
    elif harm == "damaged":
        data = bytearray(result.read_bytes())
        data[len(data) // 2] ^= 0xFF
        result.write_bytes(data)
    else:
        result.write_bytes(result.read_bytes()[:-7])

    office.agent("PC-3", 0)

    case = office.wait_for_status(str(case["_id"]), "received")
    assert office.told() == ["case", "case"], "it was processed twice"
    assert case["failures"] == case["losses"] == case["receive_failures"] == 0
    assert office.grid.receive_log() == ["begun case.out", "done case.out"]
    office.wait_until_empty()


def test_an_input_that_stays_damaged_is_an_error_of_the_case(make_office):
    office = make_office({"Note": application(note_each_run, attempts="1")}, ["PC-1"])
    (case_id,) = office.submit(application="Note")
    archive = office.grid.root / office.case(case_id)["input"]["path"]
    archive.write_bytes(archive.read_bytes()[::-1])

    office.agent("PC-1")

    case = office.wait_for_status(case_id, "error")
    assert archive.name in case["status"] and case["failures"] == 1 and not office.told()


def test_the_work_goes_on_while_the_share_is_away(make_office):
    office = make_office(machines=["PC-1"])
    (case_id,) = office.submit()
    agent = office.agent("PC-1")
    office.wait_until_told("solver")
    solver = int(office.told()[1].split()[1])

    away = office.grid.root.with_name("taken away")
    office.grid.root.rename(away)
    agent.wait_for_line("waited for")
    assert not is_gone(solver) and status_of(office, case_id) == "processing"
    away.rename(office.grid.root)
    office.open("case")

    office.wait_for_status(case_id, "received")
    assert office.attempts(case_id) == [("PC-1", "processed")]


def test_a_result_finished_while_the_share_is_away_is_not_computed_again(make_office):
    """Rule 6: faults are waited out; hours of work are not thrown away for a minute without the share."""
    office = make_office(machines=["PC-1"])
    (case_id,) = office.submit()
    agent = office.agent("PC-1")
    office.wait_until_told("begun case")

    away = office.grid.root.with_name("taken away")
    office.grid.root.rename(away)
    office.open("case")
    office.wait_until_told("done case")
    agent.wait_for_line("waited for")
    away.rename(office.grid.root)

    office.wait_for_status(case_id, "received")
    assert office.told().count("done case") == 1
    assert office.attempts(case_id) == [("PC-1", "processed")]
