"""Hard case 6: receive.py runs at least once and is finished once, by the installation that submitted the case."""

from __future__ import annotations

import pytest

from gridcompute.daemons.marks import Marks
from tests.faults.conftest import is_gone, patience, short_lease, stop_tree, wake_up
from tests.faults.doors import application, receive_behind_door
from tests.support.waiting import wait_for

note = """
def process_case(input_files):
    file = Path(input_files[0])
    say(file.name)
    return result(file.name, file.read_bytes())
"""


@pytest.fixture
def make_receiving(make_office):
    """Makes an office with a processed case of PC-3's, whose receive.py waits at the door ``receive case.out``."""

    def make(receive: str = receive_behind_door, **options):
        office = make_office({"Note": application(note, receive)}, **options)
        (case_id,) = office.submit(application="Note", machine="PC-3")
        office.agent("PC-1")
        office.wait_for_status(case_id, "processed")
        return office, case_id

    return make


def receive_log(office) -> list[str]:
    return office.told("receive.log")


def test_a_receiver_killed_between_begun_and_done_runs_again(make_receiving):
    office, case_id = make_receiving(**short_lease)
    receiver = office.agent("PC-3", 0)
    office.wait_until_told("begun", log="receive.log")

    family = [one.pid for one in receiver.tree()]
    receiver.kill()
    wait_for(lambda: all(is_gone(pid) for pid in family), 3.0, "its receive.py ends with it")
    office.open("receive case.out")
    office.agent("PC-3", 0)

    office.wait_for_status(case_id, "received")
    assert receive_log(office) == ["begun case.out", "begun case.out", "done case.out"]
    assert (office.grid.received / "case.out").read_text() == "processed:case"
    office.wait_until_empty()


def test_a_receiver_killed_between_done_and_the_database_does_not_run_again(make_proxy, mongod, make_receiving):
    proxy = make_proxy(mongod.address)
    office, case_id = make_receiving(server=proxy.address, seen_at=mongod.address, **short_lease)
    receiver = office.agent("PC-3", 0)
    office.wait_until_told("begun", log="receive.log")

    proxy.refuse()
    office.open("receive case.out")
    marks = office.home_of("PC-3") / "journal" / "received"
    wait_for(
        lambda: any(Marks(path).done for path in marks.glob("*.marks")), patience, "that it is done is on the disk"
    )
    receiver.kill()
    proxy.accept()
    office.agent("PC-3", 0)

    office.wait_for_status(case_id, "received")
    assert receive_log(office) == ["begun case.out", "done case.out"]
    wait_for(lambda: not list(marks.glob(f"{case_id}*")), patience, "nothing of the case needs to be remembered")
    office.wait_until_empty()


def test_a_result_done_while_the_database_is_away_is_reported_later_and_not_run_again(
    make_proxy, mongod, make_receiving
):
    proxy = make_proxy(mongod.address)
    office, case_id = make_receiving(server=proxy.address, seen_at=mongod.address)
    office.agent("PC-3", 0)
    office.wait_until_told("begun", log="receive.log")

    proxy.refuse()
    office.open("receive case.out")
    office.wait_until_told("done", log="receive.log")
    proxy.accept()

    office.wait_for_status(case_id, "received")
    assert receive_log(office) == ["begun case.out", "done case.out"]


def test_a_receiver_that_sleeps_past_its_lease_and_another_never_receive_at_once(make_receiving):
    """Two receivers of one user and machine, as a window and a waiting submit are: one at a time works on a case."""
    office, case_id = make_receiving(**short_lease)
    sleeper = office.agent("PC-3", 0)
    office.wait_until_told("begun", log="receive.log")
    asleep = stop_tree(sleeper)

    waiting = office.command("cases", machine="PC-3")
    assert case_id in waiting.out
    wake_up(asleep)
    office.open("receive case.out")

    office.wait_for_status(case_id, "received")
    assert receive_log(office) == ["begun case.out", "done case.out"]


def test_a_cloned_machine_name_with_another_installation_receives_nothing(make_receiving):
    office, case_id = make_receiving()
    office.open("receive case.out")

    clone = office.agent("PC-3", 0, "--until-idle", home=office.folder / "home of the clone")

    assert clone.process.wait(60) == 0
    assert office.case(case_id)["status"] == "processed" and not receive_log(office)
    office.agent("PC-3", 0)
    office.wait_for_status(case_id, "received")


def test_another_user_of_the_machine_receives_nothing(make_receiving):
    office, case_id = make_receiving()

    other = office.agent("PC-3", 0, "--until-idle", home=office.folder / "another home", LOGNAME="other", USER="other")

    assert other.process.wait(60) == 0
    assert office.case(case_id)["status"] == "processed"


def test_a_receive_that_fails_three_times_is_an_error_with_its_words(make_receiving):
    office, case_id = make_receiving(
        "def receive_case(files):\n    print('looking')\n    raise LookupError('no room')\n"
    )

    office.agent("PC-3", 0)

    case = office.wait_for_status(case_id, "error: receive:")
    assert "no room" in case["status"] and case["receive_failures"] == 3
    log = office.command("log", case_id, machine="PC-3")
    assert "no room" in log.out and "Traceback" in log.out and "receive.py" in log.out
    assert len(office.grid.archives()) == 2, "both archives are kept for a retry"


def test_a_failed_receive_is_tried_again_after_a_retry_without_processing_again(make_receiving):
    office, case_id = make_receiving("def receive_case(files):\n    raise LookupError('no room')\n")
    office.agent("PC-3", 0)
    office.wait_for_status(case_id, "error: receive:")

    office.grid.write_application("Note", {"receive": receive_behind_door})
    office.open("receive case.out")
    assert office.command("retry", case_id, machine="PC-3").code == 0

    office.wait_for_status(case_id, "received")
    assert office.told() == ["case"], "process.py ran once"


def test_a_quit_while_receiving_loses_nothing(make_receiving):
    office, case_id = make_receiving()
    receiver = office.agent("PC-3", 0)
    office.wait_until_told("begun", log="receive.log")

    assert receiver.stop() == 0

    case = office.case(case_id)
    assert case["status"] == "processed" and "receiver" not in case and case["receive_failures"] == 0
    office.open("receive case.out")
    office.agent("PC-3", 0)
    office.wait_for_status(case_id, "received")
