"""T6 and T8: a cancel of a running case is heard at once and holds; a quit gives back and counts nothing."""

from __future__ import annotations

import time

from tests.faults.conftest import is_gone, patience
from tests.faults.doors import application
from tests.support.waiting import wait_for


def solver_of(office) -> int:
    office.wait_until_told("solver")
    return int(next(line for line in office.told() if line.startswith("solver")).split()[1])


def test_a_cancel_of_a_running_case_ends_its_processes_quickly_and_holds(make_office):
    office = make_office()  # heartbeats every 15 s: it is the change stream that tells
    (case_id,) = office.submit()
    agent = office.agent("PC-1")
    solver = solver_of(office)

    assert office.command("cancel", case_id).code == 0

    wait_for(lambda: is_gone(solver), 5.0, "the solver of the cancelled case ends")
    agent.wait_for_line(f"case {case_id} ends here: lost")
    office.open("case")
    (after,) = office.submit(["after"])
    office.open("after")
    office.wait_for_status(after, "received")
    case = office.case(case_id)
    assert case["status"] == "cancelled" and "result" not in case and "token" not in case
    assert office.grid.receive_log() == ["begun after.out", "done after.out"]
    wait_for(lambda: office.grid.archives() == [case["input"]["path"]], patience, "its input alone stays for a retry")


def test_a_cancelled_case_is_done_after_a_retry(make_office):
    office = make_office()
    (case_id,) = office.submit()
    office.open("case")

    assert office.command("cancel", case_id).code == 0
    office.agent("PC-1")
    assert office.command("retry", case_id).code == 0

    office.wait_for_status(case_id, "received")


def test_a_cancel_is_refused_once_the_results_are_being_received(make_office):
    from tests.faults.doors import process_behind_door, receive_behind_door, send_each_file

    office = make_office(
        {"Door": {"send": send_each_file, "process": process_behind_door, "receive": receive_behind_door}}
    )
    (case_id,) = office.submit()
    office.open("case")
    office.agent("PC-1")
    office.wait_until_told("begun case.out", log="receive.log")

    refused = office.command("cancel", case_id)

    assert refused.code == 2 and "being received" in refused.err
    office.open("receive case.out")
    office.wait_for_status(case_id, "received")


def test_a_quit_hands_back_within_10_s_and_counts_nothing(make_office):
    office = make_office()
    ids = office.submit(["one", "two"])
    agent = office.agent("PC-1", 2)
    office.wait_until_told("begun", 2)

    began = time.monotonic()
    assert agent.stop() == 0
    assert time.monotonic() - began < 10

    for one in ids:
        case = office.case(one)
        assert case["status"] == "to process" and case["failures"] == case["losses"] == 0
        assert "token" not in case and office.attempts(one) == [("PC-1", "handed back")]


def test_a_quit_ends_a_case_that_is_deaf_to_sigterm(make_office):
    deaf = """
import signal
def process_case(input_files):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    say(f"begun {os.getpid()}")
    wait_at("never")
"""
    office = make_office({"Deaf": application(deaf)})
    (case_id,) = office.submit(application="Deaf")
    agent = office.agent("PC-1")
    office.wait_until_told("begun")
    pid = int(office.told()[0].split()[1])

    began = time.monotonic()
    assert agent.stop() == 0

    assert time.monotonic() - began < 10 and is_gone(pid)
    assert office.case(case_id)["status"] == "to process" and office.case(case_id)["failures"] == 0


def test_a_quit_while_the_database_is_away_takes_at_most_10_s_and_the_case_goes_back_later(
    make_proxy, mongod, make_office
):
    proxy = make_proxy(mongod.address)
    office = make_office(server=proxy.address, seen_at=mongod.address)
    (case_id,) = office.submit(machine="PC-3")
    agent = office.agent("PC-1")
    solver = solver_of(office)

    proxy.refuse()
    began = time.monotonic()
    assert agent.stop(30) == 0

    assert time.monotonic() - began < 10
    assert is_gone(solver)
    proxy.accept()
    office.open("case")
    office.agent("PC-1")
    case = office.wait_for_status(case_id, "processed")
    assert case["failures"] == case["losses"] == 0


def test_a_quit_of_an_agent_that_never_reached_the_database_takes_at_most_10_s(make_proxy, mongod, make_office):
    proxy = make_proxy(mongod.address)
    office = make_office(server=proxy.address, seen_at=mongod.address)
    proxy.refuse()
    agent = office.agent("PC-1")
    agent.wait_for_line("Waiting for it")

    began = time.monotonic()
    assert agent.stop(30) == 0

    assert time.monotonic() - began < 10


def test_a_quit_while_the_database_hangs_takes_at_most_10_s(make_proxy, mongod, make_office):
    proxy = make_proxy(mongod.address)
    office = make_office(server=proxy.address, seen_at=mongod.address)
    office.submit(machine="PC-3")
    agent = office.agent("PC-1")
    solver = solver_of(office)

    proxy.blackhole()
    began = time.monotonic()
    assert agent.stop(30) == 0

    assert time.monotonic() - began < 10
    assert is_gone(solver)
