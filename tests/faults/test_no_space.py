"""Rule 6 through the whole grid: a share or a computer without space is waited for and costs no case."""

from __future__ import annotations

import contextlib
import shutil

import pytest

from tests.faults.conftest import Office, patience
from tests.faults.doors import application
from tests.support.disks import fill, small_disk
from tests.support.waiting import wait_for

makes_much = """
def process_case(input_files):
    say("begun")
    wait_at("work")
    say("done")
    output = Path("much.out")
    output.write_bytes(os.urandom(2_000_000))
    return [str(output)]
"""

receives_much = """
from pathlib import Path

def receive_case(output_files):
    Path(RECEIVED, "size").write_text(str(Path(output_files[0]).stat().st_size))
"""


@pytest.fixture
def mount(tmp_path):
    """Mounts small disks until the end of the test, later than its agents."""
    with contextlib.ExitStack() as stack:
        yield lambda name, kibibytes: stack.enter_context(small_disk(tmp_path / name, kibibytes))


@pytest.fixture
def office(mount, make_office) -> Office:
    return make_office({"Much": application(makes_much, receives_much)}, ["PC-1"])


def on_a_small_disk(office: Office, disk) -> None:
    """Move the office's shared folder to `disk`."""
    root = disk / "Shared Folder"
    shutil.move(office.grid.root, root)
    office.grid.root = root


def test_a_result_for_a_full_share_waits_for_room_and_is_not_computed_again(mount, office):
    disk = mount("share disk", 8000)
    on_a_small_disk(office, disk)
    (case_id,) = office.submit(application="Much")
    agent = office.agent("PC-1")
    office.wait_until_told("begun")

    ballast = fill(disk)
    office.open("work")
    agent.wait_for_line("no space is left")
    ballast.unlink()

    case = office.wait_for_status(case_id, "received")
    assert office.told() == ["begun", "done"] and case["failures"] == 0
    assert (office.grid.received / "size").read_text() == "2000000"


def test_a_nearly_full_share_stops_submitting_and_leaves_nothing(mount, office):
    disk = mount("share disk", 8000)
    on_a_small_disk(office, disk)
    fill(disk, leave=200_000)
    big = office.folder / "big"
    big.write_bytes(bytes(range(256)) * 4000)

    refused = office.command("submit", "Much", big)

    assert refused.code == 2 and "bytes are free" in refused.err and "Traceback" not in refused.err
    assert not office.grid.archives() and not office.grid.documents()


def test_an_agent_whose_own_disk_is_full_claims_again_when_there_is_room(mount, office):
    disk = mount("home disk", 8000)
    home = disk / "home"
    (case_id,) = office.submit(application="Much", machine="PC-3")
    agent = office.agent("PC-1", home=home)
    agent.wait_for_line("Agent of")
    office.wait_until_told("begun")

    ballast = fill(disk)
    office.open("work")
    office.wait_until_told("done")
    wait_for(lambda: any(outcome for _, outcome in office.attempts(case_id)), patience, "the attempt ends")
    ballast.unlink()

    case = office.wait_for_status(case_id, "processed")
    assert case["failures"] == 0, "its own full disk is no fault of the case"
    office.agent("PC-3", 0)
    office.wait_for_status(case_id, "received")


def test_a_receiver_whose_disk_is_full_receives_when_there_is_room(mount, office):
    disk = mount("home disk", 6000)
    (case_id,) = office.submit(application="Much", machine="PC-3")
    source = office.home_of("PC-3")
    home = disk / "home of PC-3"
    home.mkdir()
    (home / "installation").write_text((source / "installation").read_text())
    office.open("work")
    office.agent("PC-1")
    office.wait_for_status(case_id, "processed")

    ballast = fill(disk, leave=1_200_000)
    receiver = office.agent("PC-3", 0, home=home)
    receiver.wait_for_line("No space")
    ballast.unlink()

    case = office.wait_for_status(case_id, "received")
    assert case["receive_failures"] == 0 and case.get("results_lost", 0) == 0
