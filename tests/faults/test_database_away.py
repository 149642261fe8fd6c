"""Rule 6 and hard cases 1, 3, 4, 14: the database is killed, cut off, hangs, loses replies; nothing is lost."""

from __future__ import annotations

import contextlib
import shutil
import subprocess

import psutil
import pytest
from pymongo import MongoClient

from gridcompute.machine.mongod import find_mongod, free_port
from tests.faults.conftest import daemon_of, patience, short_lease
from tests.faults.doors import application
from tests.support import grids
from tests.support.grids import copy_application
from tests.support.waiting import wait_for

note_each_run = """
def process_case(input_files):
    file = Path(input_files[0])
    say(file.name)
    return result(file.name, file.read_bytes())
"""


def test_a_mongod_killed_and_restarted_under_load_loses_nothing_and_no_daemon_ends(own_mongod, make_office):
    server = own_mongod()
    office = make_office({"Note": application(note_each_run)}, server=server)
    names = [f"{number:03}" for number in range(60)]
    ids = office.submit(names, "Note")
    agents = [office.agent("PC-1", 2), office.agent("PC-2", 2)]
    daemons = [daemon_of(agent, name) for agent in agents for name in ("process", "receive")]

    for done in (10, 30):
        wait_for(lambda done=done: len(office.told()) >= done, patience, f"{done} cases ran")
        psutil.Process(server.pid).kill()
        server.wait(10)
        server.start()

    office.wait_for_all(ids)
    assert sorted(set(office.told())) == names
    assert {path.name for path in office.grid.received.glob("*.out")} == {f"{name}.out" for name in names}
    assert all(case["failures"] == case["losses"] == 0 for case in office.grid.documents())
    assert all(daemon.is_running() for daemon in daemons)
    office.wait_until_empty()


def test_a_result_finished_while_the_database_is_away_is_delivered_later(make_office, make_proxy, mongod):
    proxy = make_proxy(mongod.address)
    office = make_office(server=proxy.address, seen_at=mongod.address)
    (case_id,) = office.submit()
    agent = office.agent("PC-1")
    office.wait_until_told("begun case")

    proxy.refuse()
    office.open("case")
    agent.wait_for_line("does not answer")
    proxy.accept()

    office.wait_for_status(case_id, "received")
    assert office.attempts(case_id) == [("PC-1", "processed")] and office.told().count("done case") == 1


def test_nothing_expires_for_an_outage_longer_than_a_lease(make_office, make_proxy, mongod):
    """Rule 2: everybody first gets a period to report."""
    proxy = make_proxy(mongod.address)
    office = make_office(server=proxy.address, seen_at=mongod.address, **short_lease)
    (case_id,) = office.submit(machine="PC-3")
    agents = [office.agent("PC-1"), office.agent("PC-2")]
    office.wait_until_told("begun case")

    proxy.refuse()
    lease_end = office.case(case_id)["lease_until"]
    wait_for(lambda: office.database.server_time() > lease_end, patience, "the lease ran out")
    for agent in agents:
        agent.wait_for_line("does not answer")
    proxy.accept()
    wait_for(lambda: office.case(case_id)["lease_until"] > lease_end, patience, "the owner reported")
    office.open("case")

    case = office.wait_for_status(case_id, "processed")
    assert office.attempts(case_id)[0][1] == "processed" and len(office.attempts(case_id)) == 1
    assert case["losses"] == case["failures"] == 0


def test_a_database_that_hangs_is_waited_for(make_office, make_proxy, mongod):
    proxy = make_proxy(mongod.address)
    office = make_office(server=proxy.address, seen_at=mongod.address)
    (case_id,) = office.submit()
    office.agent("PC-1")
    office.wait_until_told("begun case")

    proxy.blackhole()
    office.open("case")
    office.wait_until_told("done case")
    proxy.cut()
    proxy.clear()

    office.wait_for_status(case_id, "received")
    assert office.attempts(case_id) == [("PC-1", "processed")]


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_claim_whose_reply_is_lost_is_done_once(make_office, make_proxy, mongod, times):
    proxy = make_proxy(mongod.address)
    office = make_office(
        {"Note": application(note_each_run)}, server=proxy.address, seen_at=mongod.address, heartbeat_frequency="1"
    )
    ids = office.submit(["a", "b"], "Note", machine="PC-3")

    lost = proxy.swallow("findAndModify", times=times)
    office.agent("PC-1")

    office.wait_for_all(ids, "processed")
    assert lost.happened.is_set() and sorted(office.told()) == ["a", "b"]
    assert all(case["failures"] == case["losses"] == 0 for case in office.grid.documents())


@pytest.mark.parametrize("times", [1, 2])
def test_a_completion_whose_reply_is_lost_is_done_once(make_office, make_proxy, mongod, times):
    proxy = make_proxy(mongod.address)
    office = make_office(server=proxy.address, seen_at=mongod.address)
    (case_id,) = office.submit(machine="PC-3")
    agent = office.agent("PC-1")
    office.wait_until_told("begun case")

    lost = proxy.swallow("update", times=times)
    office.open("case")

    wait_for(lost.happened.is_set, patience, "the replies are lost")
    agent.wait_for_line(f"case {case_id} ends here: done")
    case = office.case(case_id)
    assert case["status"] == "processed" and office.attempts(case_id) == [("PC-1", "processed")]
    assert office.grid.archives() == sorted([case["input"]["path"], case["result"]["path"]])


def test_a_failure_whose_reply_is_lost_counts_once(make_office, make_proxy, mongod):
    proxy = make_proxy(mongod.address)
    failing = "def process_case(files):\n    say('begun')\n    wait_at('case')\n    raise ValueError('no')\n"
    office = make_office({"Fail": application(failing, attempts="1")}, server=proxy.address, seen_at=mongod.address)
    (case_id,) = office.submit(application="Fail", machine="PC-3")
    agent = office.agent("PC-1")
    office.wait_until_told("begun")

    proxy.swallow("update", times=2)
    office.open("case")

    agent.wait_for_line(f"case {case_id} ends here: failed")
    assert office.case(case_id)["failures"] == 1


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_submission_whose_reply_is_lost_makes_each_case_once(make_office, make_proxy, mongod, times):
    proxy = make_proxy(mongod.address)
    office = make_office(server=proxy.address, seen_at=mongod.address)

    lost = proxy.swallow("insert", times=times)
    ids = office.submit(["a", "b", "c"])

    assert lost.happened.is_set()
    assert [str(case["_id"]) for case in office.grid.documents()] == ids and len(office.grid.archives()) == 3


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_received_whose_reply_is_lost_runs_receive_once(make_office, make_proxy, mongod, times):
    proxy = make_proxy(mongod.address)
    office = make_office({"Copy": copy_application}, server=proxy.address, seen_at=mongod.address)
    (case_id,) = office.submit(application="Copy", machine="PC-3")
    office.agent("PC-1")
    office.wait_for_status(case_id, "processed")

    lost = proxy.swallow("update", times=times)
    receiver = office.agent("PC-3", 0)

    wait_for(lost.happened.is_set, patience, "the replies are lost")
    receiver.wait_for_line("is received")
    assert office.case(case_id)["status"] == "received"
    assert office.grid.receive_log() == ["begun 0-case.out", "done 0-case.out"]
    office.wait_until_empty()


def test_trouble_is_said_once_and_left_without_help(make_office, make_proxy, mongod):
    proxy = make_proxy(mongod.address)
    office = make_office(server=proxy.address, seen_at=mongod.address)
    agent = office.agent("PC-1")
    agent.wait_for_line("Agent of")

    proxy.refuse()
    wait_for(lambda: agent.text.count("does not answer") == 2, patience, lambda: f"both daemons say so:\n{agent.text}")
    proxy.accept()
    office.open("case")
    (case_id,) = office.submit()

    office.wait_for_status(case_id, "received")
    assert agent.text.count("does not answer") == 2 and agent.text.count("answers again") == 2, agent.text


@pytest.fixture
def standalone(tmp_path):
    """A mongod that is no replica set, as the documentation's tutorial starts it: no change streams."""
    port = free_port()
    data = tmp_path / "standalone"
    data.mkdir()
    command = [str(find_mongod()), "--dbpath", str(data), "--port", str(port), "--bind_ip", "127.0.0.1"]
    command += ["--nounixsocket", "--wiredTigerCacheSizeGB", "0.25", "--quiet"]
    with (tmp_path / "standalone.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        with MongoClient("127.0.0.1", port, serverSelectionTimeoutMS=30_000) as client:
            client["gridcompute"].command(
                "createUser", grids.user_group, pwd=grids.password, roles=[{"role": "readWrite", "db": "gridcompute"}]
            )
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        process.kill()
        process.wait()
        shutil.rmtree(data, ignore_errors=True)


def test_without_change_streams_the_database_is_polled(standalone, make_office):
    office = make_office(server=standalone)
    agent = office.agent("PC-1")
    agent.wait_for_line("Agent of")

    (case_id,) = office.submit()
    office.open("case")

    office.wait_for_status(case_id, "received")
    log = (office.home_of("PC-1") / "gridcompute.log").read_text(encoding="utf-8")
    assert "offers no change stream" in log


def test_without_change_streams_a_cancel_is_heard_by_the_next_heartbeat(standalone, make_office):
    office = make_office(server=standalone, heartbeat_frequency="1", heartbeat_dead="10")
    (case_id,) = office.submit()
    agent = office.agent("PC-1")
    office.wait_until_told("begun case")

    assert office.command("cancel", case_id).code == 0

    agent.wait_for_line(f"case {case_id} ends here: lost")
    assert office.case(case_id)["status"] == "cancelled"


@pytest.mark.parametrize("times", [1, 2])
def test_a_claim_whose_reply_a_server_without_retries_loses_is_done_once(standalone, make_proxy, make_office, times):
    proxy = make_proxy(standalone)
    office = make_office({"Note": application(note_each_run)}, server=proxy.address, seen_at=standalone)
    ids = office.submit(["a", "b"], "Note", machine="PC-3")

    lost = proxy.swallow("findAndModify", times=times)
    office.agent("PC-1")

    office.wait_for_all(ids, "processed")
    assert lost.happened.is_set() and sorted(office.told()) == ["a", "b"]
