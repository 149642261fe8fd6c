"""Rules 3 to 5: machines that race, crash, sleep and wake; no case is lost, none is done twice, nothing outlives."""

from __future__ import annotations

import os
import signal

from tests.faults.conftest import daemon_of, is_gone, own_processes, patience, short_lease, stop_tree, wake_up
from tests.faults.doors import application
from tests.support.grids import copy_application
from tests.support.waiting import wait_for


def solver_of(office, number: int = 0) -> int:
    """The process id of the solver that a case of *Door* started."""
    office.wait_until_told("solver", number + 1)
    return int([line for line in office.told() if line.startswith("solver")][number].split()[1])


note_each_run = """
def process_case(input_files):
    file = Path(input_files[0])
    say(file.name)
    return result(file.name, file.read_bytes())
"""


def test_two_agents_race_for_300_cases_and_each_is_processed_once(make_office):
    office = make_office({"Note": application(note_each_run)})
    ids = office.submit([f"{number:03}" for number in range(300)], "Note", machine="PC-3")

    office.agent("PC-1", 2)
    office.agent("PC-2", 2)

    office.wait_for_all(ids, "processed", timeout=100)
    assert sorted(office.told()) == [f"{number:03}" for number in range(300)]
    assert all(case["attempt"] == 1 and len(office.attempts(str(case["_id"]))) == 1 for case in office.grid.documents())
    machines = [machine for one in ids for machine, _ in office.attempts(one)]
    assert min(machines.count("PC-1"), machines.count("PC-2")) > 30, "both took their part"
    assert len(office.grid.archives()) == 600, "an input and a result for each, and nothing else"


def test_an_agent_killed_in_mid_case_loses_nothing_and_its_solver_ends(make_office):
    office = make_office(**short_lease)
    (case_id,) = office.submit(machine="PC-3")
    killed = office.agent("PC-1")
    solver = solver_of(office)

    killed.kill()

    wait_for(lambda: is_gone(solver), 3.0, "the solver of the killed agent ends within 3 s")
    office.open("case")
    office.agent("PC-2")
    receiver = office.agent("PC-3", 0)
    office.wait_for_status(case_id, "received")
    receiver.wait_for_line("is received")
    assert office.attempts(case_id) == [("PC-1", "lost"), ("PC-2", "processed")]
    case = office.case(case_id)
    assert [one["outcome"] for one in case["processors"]["processor_list"]] == ["lost", "processed"]
    assert case["failures"] == case["losses"] == 0, "an attempt that ends, ends the count"
    assert office.grid.receive_log() == ["begun case.out", "done case.out"]
    office.wait_until_empty()


def test_a_killed_agent_that_starts_again_gives_its_case_back_uncounted(make_office):
    office = make_office()  # with a lease of a minute: nobody else takes the case
    (case_id,) = office.submit()
    agent = office.agent("PC-1")
    office.wait_until_told("begun case")

    agent.kill()
    office.open("case")
    office.agent("PC-1")

    case = office.wait_for_status(case_id, "received")
    assert case["losses"] == case["failures"] == 0
    assert [outcome for _, outcome in office.attempts(case_id)] == ["handed back", "processed"]
    assert not list((office.home_of("PC-1") / "work" / "process").glob("*/")), "no work folder is left"


def test_a_process_daemon_killed_alone_is_started_again_and_the_case_is_done(make_office):
    office = make_office()
    (case_id,) = office.submit()
    agent = office.agent("PC-1")
    solver = solver_of(office)

    daemon_of(agent, "process").kill()

    wait_for(lambda: is_gone(solver), 3.0, "the solver of the killed daemon ends within 3 s")
    office.open("case")
    case = office.wait_for_status(case_id, "received")
    assert case["losses"] == case["failures"] == 0


def test_an_agent_stopped_past_its_lease_changes_nothing_when_it_wakes(make_office):
    office = make_office(**short_lease)
    (case_id,) = office.submit(machine="PC-3")
    sleeper = office.agent("PC-1")
    office.wait_until_told("begun case")

    asleep = stop_tree(sleeper)
    office.agent("PC-2")
    office.wait_until_told("begun case", 2)
    office.open("case")
    done = office.wait_for_status(case_id, "processed")
    wake_up(asleep)

    sleeper.wait_for_line(f"case {case_id} ends here: lost")
    assert office.case(case_id) == done, "the sleeper changed nothing"
    assert office.grid.archives() == sorted([done["input"]["path"], done["result"]["path"]])
    office.agent("PC-3", 0)
    office.wait_for_status(case_id, "received")
    assert office.grid.receive_log() == ["begun case.out", "done case.out"]


def test_a_result_finished_while_its_daemons_slept_is_thrown_away_with_its_archive(make_office):
    office = make_office(**short_lease)
    (case_id,) = office.submit(machine="PC-3")
    sleeper = office.agent("PC-1")
    office.wait_until_told("begun case")

    asleep = stop_tree(sleeper, children=False)
    office.open("case")
    wait_for(lambda: any(path.endswith(".part") for path in office.grid.archives()), patience, "a result lies aside")
    office.agent("PC-2")
    done = office.wait_for_status(case_id, "processed")
    wake_up(asleep)

    sleeper.wait_for_line(f"case {case_id} ends here: lost")
    assert office.case(case_id) == done, "the sleeper changed nothing"
    assert office.attempts(case_id) == [("PC-1", "lost"), ("PC-2", "processed")]
    assert office.grid.archives() == sorted([done["input"]["path"], done["result"]["path"]])


def test_a_sleeper_who_wakes_before_the_next_claim_goes_on(make_office):
    office = make_office(machines={"PC-1": ["Door"], "PC-2": []}, **short_lease)
    (case_id,) = office.submit(machine="PC-3")
    sleeper = office.agent("PC-1")
    office.wait_until_told("begun case")

    asleep = stop_tree(sleeper)
    office.agent("PC-2")  # may process nothing, but sees that the case is lost
    office.wait_for_status(case_id, "to process")
    wake_up(asleep)
    office.wait_for_status(case_id, "processing")
    office.open("case")

    case = office.wait_for_status(case_id, "processed")
    assert case["attempt"] == 1 and office.attempts(case_id) == [("PC-1", "processed")]
    assert case["losses"] == 0, "a machine that came back is no loss"


def test_a_result_finished_before_a_crash_is_delivered_by_the_next_start(make_office, make_proxy, mongod):
    proxy = make_proxy(mongod.address)
    office = make_office(server=proxy.address, seen_at=mongod.address)
    (case_id,) = office.submit(machine="PC-3")
    agent = office.agent("PC-1")
    office.wait_until_told("begun case")

    proxy.refuse()
    office.open("case")
    work = office.home_of("PC-1") / "work" / "process"
    wait_for(
        lambda: any('"prepared"' in path.read_text() for path in work.glob("*/journal.jsonl")),
        patience,
        "the result is finished and remembered",
    )
    agent.kill()
    proxy.accept()
    office.agent("PC-1")

    case = office.wait_for_status(case_id, "processed")
    assert case["attempt"] == 1 and [line.split()[0] for line in office.told()].count("begun") == 1
    wait_for(lambda: not list(work.glob("*/")), patience, "the work folder is removed")
    assert office.grid.archives() == sorted([case["input"]["path"], case["result"]["path"]])


def test_after_two_losses_a_case_runs_alone_and_a_third_loss_is_an_error(make_office):
    machines = ("PC-1", "PC-2", "PC-3")
    office = make_office(machines=machines, **short_lease)
    (case_id,) = office.submit(["killer"], machine="PC-4")
    office.agent("PC-4", 0)

    for number, machine in enumerate(machines[:2], 1):
        agent = office.agent(machine)
        office.wait_until_told("begun killer", number)
        agent.kill()
        office.wait_for_status(case_id, "to process")
    assert office.case(case_id)["alone"] is True

    busy = office.agent("PC-3", 2)
    office.wait_until_told("begun killer", 3)
    office.submit(["neighbour"], machine="PC-4")
    wait_for(lambda: len(office.grid.documents(status="to process")) == 1, patience, "the neighbour waits")
    busy.kill()

    case = office.wait_for_status(case_id, "error: lost")
    assert case["losses"] == 3 and case["failures"] == 0
    assert "PC-3" in case["status"] and "retry" in case["status"]
    neighbour = office.grid.documents(application="Door")[-1]
    assert neighbour["status"] == "to process" and neighbour["losses"] == 0, "nothing is charged to its neighbour"


def test_an_attempt_that_ends_ends_the_count_of_losses(make_office):
    failing = "def process_case(files):\n    say('begun')\n    wait_at('x')\n    raise ValueError('no')\n"
    office = make_office({"Fail": application(failing)}, **short_lease)
    (case_id,) = office.submit(application="Fail", machine="PC-4")
    agent = office.agent("PC-1")
    office.wait_until_told("begun")
    agent.kill()
    office.agent("PC-2")
    office.wait_until_told("begun", 2)
    assert office.case(case_id)["losses"] == 1

    office.open("x")

    wait_for(lambda: office.case(case_id)["failures"] >= 1, patience, "a failure is counted")
    assert office.case(case_id)["losses"] == 0


def test_killing_the_agent_alone_ends_its_daemons_and_gives_the_case_back(make_office):
    office = make_office()
    (case_id,) = office.submit()
    agent = office.agent("PC-1")
    solver = solver_of(office)
    daemons = own_processes(agent)[1:]

    os.kill(agent.process.pid, signal.SIGKILL)
    agent.process.wait(10)

    office.wait_for_status(case_id, "to process")
    wait_for(lambda: is_gone(solver) and not any(one.is_running() for one in daemons), patience, "all are gone")
    assert office.attempts(case_id) == [("PC-1", "handed back")]


def test_copies_of_one_name_race_without_harm(make_office):
    """Two agents with one machine name are two owners: a name is a label, not a token."""
    office = make_office({"Copy": copy_application}, ["PC-1"])
    ids = office.submit([f"f{number}" for number in range(20)], "Copy", machine="PC-3")

    office.agent("PC-1", home=office.folder / "one")
    office.agent("PC-1", home=office.folder / "other")

    office.wait_for_all(ids, "processed")
    assert all(case["attempt"] == 1 for case in office.grid.documents())
