"""The daemons turn by turn, on a real MongoDB, at times that the test chooses; no process is started."""

from __future__ import annotations

import os
import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gridcompute import config
from gridcompute.daemons.leases import ObservedLeases
from gridcompute.daemons.loop import Orders
from gridcompute.daemons.process import ProcessDaemon
from gridcompute.daemons.receive import ReceiveDaemon
from gridcompute.daemons.trouble import DATABASE_AWAY, DATABASE_REFUSES, SHARE_AWAY
from gridcompute.errors import DatabaseAway
from gridcompute.grid.cases import Archive, Party, new_token
from gridcompute.grid.database import Database, Observed, object_id
from gridcompute.machine import lent
from gridcompute.machine.home import Home
from gridcompute.server import Server
from tests.support.grids import Grid, copy_application
from tests.support.waiting import wait_for

OTHER = Party("PC-2", "ben", "installation-ben", "agent-ben")


class FakeChild:
    def __init__(self, job: dict[str, Any]):
        self.job, self.pid, self.output_path = job, None, None
        self.calls: list[str] = []

    def pause(self) -> None:
        self.calls.append("pause")

    def resume(self) -> None:
        self.calls.append("resume")

    def end(self, grace: float = 0.0) -> None:
        self.calls.append("end")


class FakeChildren:
    """Children that do what the test says: `says` has the messages for the next `poll`."""

    def __init__(self) -> None:
        self.started: list[FakeChild] = []
        self.says: list[tuple[FakeChild, dict[str, Any]]] = []

    def start(self, job: dict[str, Any]) -> FakeChild:
        self.started.append(FakeChild(job))
        return self.started[-1]

    def poll(self) -> list[tuple[FakeChild, dict[str, Any]]]:
        said, self.says = self.says, []
        return said

    def close(self, grace: float = 0.0) -> None:
        pass


class Told:
    """The daemon's end of the pipe to its front end; `events` is what came through."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def send(self, event: dict[str, Any]) -> None:
        self.events.append(event)


@pytest.fixture
def grid(request, make_grid) -> Grid:
    return make_grid(heartbeat_frequency="1", heartbeat_dead="4", **getattr(request, "param", {}))


@pytest.fixture
def database(grid):
    made = Database(grid.settings)
    yield made
    made.close()


@pytest.fixture
def submit(grid, tmp_path):
    """Submits one case, of *Copy* unless told otherwise, as the person at PC-3; its id."""

    def make(name: str = "case", application: str = "Copy", **options: Any) -> str:
        file = tmp_path / name
        file.write_text(name)
        with Server(folder=str(grid.root), machine="PC-3", home=Home(tmp_path / "home of PC-3")) as server:
            server.connect()
            (case_id,) = server.submit_to_server([[file]], application, **options).ids
        assert case_id is not None
        return case_id

    return make


@pytest.fixture
def make_daemon(grid, tmp_path):
    """Makes a process or receive daemon with children that the test plays; it tells its events to `told`."""
    made = []

    def make(kind, machine: str = "PC-1", processes: int = 1):
        home = Home(tmp_path / f"home of {machine}")
        server = Server(folder=str(grid.root), machine=machine, home=home)
        orders = Orders(str(grid.root), grid.settings, server.party, str(home.path), processes)
        pipe = Told()
        daemon = kind(orders, pipe, children=FakeChildren())
        daemon.told = pipe.events
        made.append(daemon)
        return daemon

    yield make
    for daemon in made:
        daemon._pool.shutdown(wait=True)
        daemon._removing.shutdown(wait=True)
        daemon.database.close()


class Clock:
    """Turns a daemon at chosen moments."""

    def __init__(self, daemon, now: float = 1000.0):
        self.daemon, self.now = daemon, now

    def turn(self, seconds: float = 0.05) -> None:
        self.now += seconds
        self.daemon._safe_turn(self.now)

    def until(self, condition, what: str) -> None:
        def done() -> bool:
            self.turn()
            return bool(condition())

        wait_for(done, 20.0, what)


def status(database: Database, case_id: str) -> str:
    return database.case(object_id(case_id)).status


def states(daemon) -> list[str]:
    return [event["name"] for event in daemon.told if event["type"] == "state"]


def test_a_claimed_case_becomes_a_job_and_its_fields_name_the_owner(submit, make_daemon, database):
    case_id = submit()
    daemon = make_daemon(ProcessDaemon)
    clock = Clock(daemon)

    clock.until(lambda: daemon.children.started, "a child is started")

    (child,) = daemon.children.started
    assert child.job["case"] == case_id and child.job["mode"] == "process"
    case = database.case(object_id(case_id))
    assert case.status == "processing" and case.token in daemon.attempts
    assert (Path(child.job["work"]) / "journal.jsonl").exists(), "the journal was written before the child began"


def test_a_claim_that_was_answered_too_late_begins_no_work_for_which_another_has_the_lease(
    submit, make_daemon, database, monkeypatch
):
    """Hard case 3: the lease counts from the moment at which the claim was sent."""
    case_id = submit()
    daemon = make_daemon(ProcessDaemon)
    claim = daemon.database.claim

    def answered_late(*arguments, **options):
        case = claim(*arguments, **options)
        if case is not None:
            monkeypatch.setattr(daemon, "_lease_may_be_over", lambda sent: True)
            database.hand_back(case.id, arguments[2])  # as an observer does who saw no sign, in fewer steps
            assert database.claim(Party("PC-2", "ben", "i2", "a2"), ["Copy"], "of another", alone=True)
        return case

    monkeypatch.setattr(daemon.database, "claim", answered_late)

    Clock(daemon).until(lambda: database.case(object_id(case_id)).token == "of another", "another has the case")

    assert daemon.attempts == {} and daemon.children.started == []


def test_a_claim_whose_reply_was_lost_is_given_back_if_its_application_went_away_meanwhile(
    submit, make_daemon, database, monkeypatch
):
    case_id = submit()
    daemon = make_daemon(ProcessDaemon)
    claim = daemon.database.claim

    def without_a_reply(*arguments, **options):
        claimed = claim(*arguments, **options)
        if claimed is None:
            return None
        daemon.allowed = replace(daemon.allowed, applications={})
        raise DatabaseAway("Cannot claim a case: the reply was lost.")

    monkeypatch.setattr(daemon.database, "claim", without_a_reply)
    clock = Clock(daemon)
    clock.until(lambda: status(database, case_id) == "processing", "the case is claimed")
    monkeypatch.undo()

    clock.until(lambda: status(database, case_id) == "to process", "it goes back")

    assert daemon.children.started == [] and "log_file_only" not in [one["type"] for one in daemon.told]


def test_a_journal_on_a_full_disk_loses_no_message_of_a_child(submit, make_daemon, database, tmp_path):
    case_id = submit()
    daemon = make_daemon(ProcessDaemon)
    clock = Clock(daemon)
    clock.until(lambda: daemon.children.started, "a child is started")
    (child,) = daemon.children.started
    journal = Path(child.job["work"]) / "journal.jsonl"
    journal.unlink()
    journal.mkdir()  # no line can be added, as on a disk without space

    said = [
        {"kind": "stage", "stage": "fetch"},
        {"kind": "outcome", "outcome": "failed", "message": "it failed", "traceback": ""},
        {"kind": "ended", "exit": 0, "signal": None},
    ]
    daemon.children.says += [(child, message) for message in said]

    clock.until(lambda: not daemon.attempts, "the attempt is settled")
    assert database.case(object_id(case_id)).failures == 1


def test_progress_waits_for_the_progress_before_it_and_the_newest_is_written(submit, make_daemon, database):
    """A share that hangs holds up the threads beside the loop; what is put off there must not pile up."""
    case_id = submit()
    daemon = make_daemon(ProcessDaemon)
    clock = Clock(daemon)
    clock.until(lambda: daemon.children.started, "a child is started")
    (child,) = daemon.children.started
    shares = threading.Event()
    hanging = [daemon.work(shares.wait) for _ in range(4)]

    for tenth in range(1, 10):
        daemon.children.says.append((child, {"kind": "progress", "fraction": tenth / 10, "text": f"{tenth} of 10"}))
        clock.turn(3.0)
    waiting = daemon._pool._work_queue.qsize()
    shares.set()

    assert waiting <= 3, "one progress, one sign of life, one look at the share"
    assert all(one.result(20.0) for one in hanging)
    clock.until(lambda: (database.case(object_id(case_id)).progress or {}).get("text") == "9 of 10", "it is written")


def test_a_work_folder_that_takes_long_to_remove_keeps_no_command_waiting(submit, make_daemon, monkeypatch):
    submit()
    daemon = make_daemon(ProcessDaemon)
    clock = Clock(daemon)
    clock.until(lambda: daemon.children.started, "a child is started")
    (child,) = daemon.children.started
    door, remove, removing = threading.Event(), shutil.rmtree, threading.Event()

    def remove_at_the_door(path, **options):
        removing.set()
        assert door.wait(10.0), "nobody heard the command that opens the door"
        remove(path, **options)

    monkeypatch.setattr(shutil, "rmtree", remove_at_the_door)
    daemon.children.says += [(child, {"kind": "outcome", "outcome": "failed", "message": "no"})]
    daemon.children.says += [(child, {"kind": "ended", "exit": 0, "signal": None})]

    clock.until(removing.is_set, "the folder is being removed")
    daemon.hear_commands([("processes", 3)])
    clock.turn()
    assert daemon.wanted == 3
    door.set()

    wait_for(lambda: not Path(child.job["work"]).exists(), 10.0, "the folder is gone")


@pytest.mark.skipif(os.name == "nt", reason="a file that nobody can read to its end needs a pipe with a name")
@pytest.mark.timeout(60)
def test_a_share_that_hangs_while_a_case_is_claimed_keeps_no_command_waiting(submit, make_daemon, grid):
    submit()
    daemon = make_daemon(ProcessDaemon, processes=0)
    clock = Clock(daemon)
    clock.until(lambda: daemon._seen_share, "the share was looked at")
    daemon._next_share_look = float("inf")
    settings = grid.root / "Settings" / "Applications" / "Copy" / "application.txt"
    settings.unlink(missing_ok=True)
    os.mkfifo(settings)

    daemon.wanted = 1
    daemon.look_soon()
    clock.until(lambda: daemon.children.started, "the child, which may wait for the share, is started")


def test_no_more_cases_are_claimed_than_processes_are_lent(submit, make_daemon):
    for name in ("a", "b", "c"):
        submit(name)
    daemon = make_daemon(ProcessDaemon, processes=2)
    clock = Clock(daemon)
    clock.until(lambda: len(daemon.children.started) == 2, "two cases run")

    for _ in range(5):
        clock.turn(11.0)

    assert len(daemon.children.started) == 2


def test_a_lowered_number_pauses_the_newest_and_a_raised_one_resumes_it(submit, make_daemon):
    for name in ("a", "b"):
        submit(name)
    daemon = make_daemon(ProcessDaemon, processes=2)
    clock = Clock(daemon)
    clock.until(lambda: len(daemon.children.started) == 2, "two cases run")
    first, second = daemon.children.started

    daemon.wanted = 1
    clock.turn()
    assert (first.calls, second.calls) == ([], ["pause"])
    daemon.wanted = 2
    clock.turn()
    assert (first.calls, second.calls) == ([], ["pause", "resume"])
    daemon.wanted = 0
    clock.turn()
    assert [event["count"] for event in daemon.told if event["type"] == "terminate process?"] == [2]


def test_the_time_limit_counts_running_time_and_not_pauses(submit, make_daemon, grid, database):
    grid.write_application("Copy", {"application.txt": "time limit: 100\nattempts: 1\n"})
    case_id = submit()
    daemon = make_daemon(ProcessDaemon)
    clock = Clock(daemon)
    clock.until(lambda: daemon.children.started, "a child is started")
    (child,) = daemon.children.started
    daemon.children.says.append((child, {"kind": "stage", "stage": "run"}))
    clock.turn()

    clock.turn(60.0)
    daemon.wanted = 0
    clock.turn()
    clock.turn(1000.0)
    daemon.wanted = 1
    clock.turn()
    clock.turn(30.0)
    assert "end" not in child.calls
    clock.turn(11.0)
    assert child.calls[-1] == "end"
    daemon.children.says.append((child, {"kind": "ended", "exit": None, "signal": 15}))
    clock.until(lambda: not daemon.attempts, "the attempt is settled")
    assert "time limit of 100 s" in status(database, case_id)


def test_the_machine_that_is_not_listed_says_so_once_and_processes_nothing(submit, make_daemon, grid):
    submit()
    daemon = make_daemon(ProcessDaemon, machine="PC-9")
    clock = Clock(daemon)
    clock.until(lambda: any(event["type"] == "warning" for event in daemon.told), "a warning")
    for _ in range(5):
        clock.turn(11.0)
    assert [("PC-9" in event["message"]) for event in daemon.told if event["type"] == "warning"] == [True]
    assert not daemon.children.started


# Cases that take several of a machine's processes.


@pytest.fixture
def wide(grid):
    """Makes the application *Wide*, whose cases take so many processes."""

    def make(processes: str) -> None:
        grid.write_application("Wide", {**copy_application, "application.txt": f"processes: {processes}\n"})
        grid.write_machines({machine: ["Copy", "Wide"] for machine in ("PC-1", "PC-2")})

    return make


def names_of(daemon) -> list[str]:
    """The applications whose cases the daemon's children were started for, in order."""
    return [child.job["application"] for child in daemon.children.started]


def end(daemon, clock: Clock, child: FakeChild) -> None:
    """Let a case fail for good, which frees what it held."""
    outcome = {"kind": "outcome", "outcome": "failed", "message": "an end", "traceback": ""}
    daemon.children.says += [(child, outcome), (child, {"kind": "ended", "exit": 0, "signal": None})]
    held = len(daemon.attempts)
    clock.until(lambda: len(daemon.attempts) < held or len(daemon.children.started) > held, "the case is settled")


def busy(daemon) -> int:
    return daemon.wanted - daemon._free()


def test_a_case_of_three_processes_leaves_room_for_no_more_than_the_rest(submit, make_daemon, wide, database):
    wide("3")
    submit("wide", "Wide", priority=90)
    for name in ("a", "b"):
        submit(name)
    daemon = make_daemon(ProcessDaemon, processes=4)
    clock = Clock(daemon)
    clock.until(lambda: len(daemon.children.started) == 2, "the wide case and one beside it run")
    clock.turn(11.0)

    assert names_of(daemon) == ["Wide", "Copy"] and busy(daemon) == 4
    assert [child.job["processes"] for child in daemon.children.started] == [3, 1]
    clock.until(lambda: presence(database, daemon.party) == (4, 4), "others are told")


def presence(database: Database, party: Party) -> tuple[int, int] | None:
    """How many processes everybody's window shows as offered and busy."""
    found = [one for one in database.present() if one["machine"] == party.machine]
    return (found[0]["offered"], found[0]["busy"]) if found else None


@pytest.mark.parametrize(("said", "lent", "takes"), [("all", 3, 3), ("8", 2, 2), ("2", 0, 0)])
def test_a_case_never_takes_more_processes_than_the_machine_lends(submit, make_daemon, wide, said, lent, takes):
    wide(said)
    submit("wide", "Wide", priority=90)
    submit("a")
    daemon = make_daemon(ProcessDaemon, processes=lent)
    clock = Clock(daemon)
    clock.until(lambda: daemon._seen_share, "the share is read")
    for _ in range(3):
        clock.turn(11.0)

    assert [child.job["processes"] for child in daemon.children.started] == ([takes] if takes else [])


def test_a_large_case_waits_its_turn_and_is_not_starved_by_small_ones(submit, make_daemon, wide):
    wide("all")
    submit("a", priority=90)
    submit("b", priority=90)
    submit("wide", "Wide", priority=70)
    for name in "cdef":
        submit(name)
    daemon = make_daemon(ProcessDaemon, processes=2)
    clock = Clock(daemon)
    clock.until(lambda: len(daemon.children.started) == 2, "the first two cases run")
    end(daemon, clock, daemon.children.started[0])
    clock.until(lambda: len(daemon.children.started) == 3, "a small one takes the place for the moment")

    for _ in range(4):
        clock.turn(2.5)  # the large one stands first by now
    end(daemon, clock, daemon.children.started[1])
    clock.turn(2.5)
    assert names_of(daemon) == ["Copy"] * 3, "room is being made"
    end(daemon, clock, daemon.children.started[2])
    clock.until(lambda: len(daemon.children.started) == 4, "the large case begins")

    assert names_of(daemon)[-1] == "Wide" and len(daemon.attempts) == 1


def test_small_cases_go_on_where_room_is_not_made_in_time(submit, make_daemon, wide):
    """A case of an hour on one process must not keep the others from working for that hour."""
    wide("2")
    submit("long", priority=90)
    submit("wide", "Wide", priority=70)
    daemon = make_daemon(ProcessDaemon, processes=2)
    clock = Clock(daemon)
    clock.until(lambda: daemon.children.started, "the long case runs")
    for _ in range(4):
        clock.turn(2.5)
    submit("small")
    clock.turn(11.0)
    assert names_of(daemon) == ["Copy"], "room is being made for the large one"

    clock.turn(60.0)
    clock.until(lambda: len(daemon.children.started) == 2, "others run in between")

    assert names_of(daemon) == ["Copy", "Copy"]


def test_a_lowered_number_pauses_a_large_case_as_a_whole_and_others_run(submit, make_daemon, wide):
    wide("3")
    submit("wide", "Wide")
    daemon = make_daemon(ProcessDaemon, processes=4)
    clock = Clock(daemon)
    clock.until(lambda: daemon.children.started, "the large case runs")
    submit("small")
    clock.until(lambda: len(daemon.children.started) == 2, "a small case runs beside it")
    large, small = daemon.children.started

    daemon.wanted = 2
    clock.turn()
    assert (large.calls, small.calls) == (["pause"], [])
    daemon.wanted = 3
    clock.turn()
    assert (large.calls, small.calls) == (["pause", "resume"], ["pause"])


def test_a_large_case_that_can_never_go_on_here_goes_back_after_a_while(submit, make_daemon, wide):
    wide("3")
    submit("wide", "Wide")
    daemon = make_daemon(ProcessDaemon, processes=3)
    clock = Clock(daemon)
    clock.until(lambda: daemon.children.started, "the large case runs")
    (child,) = daemon.children.started

    daemon.wanted = 2
    clock.turn()
    clock.turn(config.rest_limit - 1)
    assert child.calls == ["pause"]
    clock.turn(2.0)
    assert child.calls == ["pause", "end"]
    daemon.children.says.append((child, {"kind": "ended", "exit": None, "signal": 15}))
    clock.until(lambda: len(daemon.children.started) == 2, "it begins anew with what there is")
    assert daemon.children.started[1].job["processes"] == 2


def test_what_a_softgrid_holds_is_taken_from_the_same_number(submit, make_daemon, database):
    for name in "abc":
        submit(name)
    daemon = make_daemon(ProcessDaemon, processes=3)
    clock = Clock(daemon)
    clock.until(lambda: len(daemon.children.started) == 3, "three cases run")

    with lent.hold(daemon._softgrid_folder, 2):
        clock.turn(2.5)
        assert [child.calls for child in daemon.children.started] == [[], ["pause"], ["pause"]]
        end(daemon, clock, daemon.children.started[0])
        submit("d")
        clock.turn(2.5)
        assert daemon.children.started[1].calls == ["pause", "resume"] and len(daemon.children.started) == 3
    clock.turn(2.5)
    assert daemon.children.started[2].calls == ["pause", "resume"]
    clock.until(lambda: len(daemon.children.started) == 4, "a further case is taken")

    said = [one["message"] for one in daemon.told if one["type"] == "state" and one["name"] == "softgrid"]
    assert said == ["2 of 3 lent to a softgrid", ""]


def test_grids_without_large_cases_are_asked_nothing_more(submit, make_daemon, monkeypatch):
    submit("a")
    submit("b")
    daemon = make_daemon(ProcessDaemon)
    monkeypatch.setattr(daemon.database, "next_application", lambda *_: pytest.fail("a query too many"))
    clock = Clock(daemon)
    clock.until(lambda: daemon.children.started, "a case runs")
    for _ in range(5):
        clock.turn(11.0)


# T7: the lease proposes, the observer decides.


@pytest.fixture
def silent(submit, database) -> str:
    """A case whose owner gave no sign since its lease ran out."""
    case_id = submit()
    assert database.claim(OTHER, ["Copy"], new_token(), alone=True) is not None
    run_out(database, case_id)
    return case_id


def run_out(database: Database, case_id: str) -> None:
    """Move the lease's end back, in place of waiting for it."""
    past = [{"$set": {"lease_until": {"$subtract": ["$$NOW", 60_000]}}}]
    database._cases.update_one({"_id": object_id(case_id)}, past)


@pytest.fixture
def observer(make_daemon):
    """A daemon that may claim nothing and has seen the share."""
    return make_daemon(ProcessDaemon, processes=0)


def test_a_silent_case_is_taken_back_after_two_periods_of_the_observers_own_clock(silent, observer, database):
    clock = Clock(observer)
    for _ in range(4):
        clock.turn(0.6)
        assert status(database, silent) == "processing"
    clock.turn(0.6)
    assert status(database, silent) == "to process"


def test_a_beat_in_between_begins_the_observation_anew(silent, observer, database):
    clock = Clock(observer)
    for _ in range(3):
        clock.turn(0.6)
    database.beat([database.case(object_id(silent)).token])
    run_out(database, silent)
    for _ in range(4):
        clock.turn(0.6)
        assert status(database, silent) == "processing"
    clock.turn(0.6)
    assert status(database, silent) == "to process"


def test_a_failed_read_begins_the_observation_anew(silent, observer, database, monkeypatch):
    clock = Clock(observer)
    for _ in range(3):
        clock.turn(0.6)

    def away(*_):
        raise DatabaseAway("away")

    with monkeypatch.context() as patch:
        patch.setattr(observer.database, "expired", away)
        clock.turn(0.6)
    assert DATABASE_AWAY in observer.trouble
    clock.turn(0.7)
    for _ in range(3):
        clock.turn(0.6)
        assert status(database, silent) == "processing"
    clock.turn(0.6)
    clock.turn(0.6)
    assert status(database, silent) == "to process"


def test_an_observer_that_slept_begins_anew(silent, observer, database):
    clock = Clock(observer)
    clock.turn(0.6)
    clock.turn(3600.0)
    assert status(database, silent) == "processing"


def test_observed_leases_forget_who_gave_a_sign():
    leases, seen = ObservedLeases(period=1.0), Observed("case", "token", 1)
    assert leases.look([seen], 10.0) == leases.look([seen], 11.0) == []
    assert leases.look([], 11.5) == []
    assert leases.look([seen], 12.5) == leases.look([seen], 14.0) == []
    assert leases.look([seen], 14.5) == [seen]


# Named states.


def test_a_state_is_said_once_when_entered_and_once_when_left(make_daemon, monkeypatch):
    daemon = make_daemon(ProcessDaemon)
    clock = Clock(daemon)
    clock.until(lambda: daemon._seen_share, "the share is read")

    def away(*_, **__):
        raise DatabaseAway("Cannot look: away.")

    with monkeypatch.context() as patch:
        for name in ("expired", "claim", "claimed", "under_name_of", "check_version"):
            patch.setattr(daemon.database, name, away)
        for _ in range(5):
            clock.turn(20.0)
    assert states(daemon) == [DATABASE_AWAY]
    for _ in range(3):
        clock.turn(20.0)
    assert states(daemon) == [DATABASE_AWAY, "ok"]


@pytest.fixture
def rights(mongod):
    """Gives the user of the grid below a role in its database; the first call makes it."""
    with mongod._client() as client:
        verbs = iter(["createUser"])

        def give(role: str) -> None:
            roles = [{"role": role, "db": config.database_name}]
            client[config.database_name].command(next(verbs, "updateUser"), "narrow", pwd="narrow", roles=roles)

        yield give
        client[config.database_name].command("dropUser", "narrow")


@pytest.mark.parametrize("grid", [{"user_group": "narrow", "password": "narrow"}], indirect=True)
def test_a_refusal_is_said_once_until_what_was_refused_is_allowed(submit, make_daemon, rights, database):
    """Reading goes on meanwhile, and tells nothing of writing."""
    rights("readWrite")
    case_id = submit()
    daemon = make_daemon(ProcessDaemon)
    clock = Clock(daemon)
    clock.until(lambda: daemon.children.started, "the case runs")
    (child,) = daemon.children.started
    rights("read")

    outcome = {"kind": "outcome", "outcome": "failed", "message": "an end", "traceback": ""}
    daemon.children.says += [(child, outcome), (child, {"kind": "ended", "exit": 0, "signal": None})]
    clock.until(lambda: states(daemon), "the refusal is told")
    for _ in range(10):
        clock.turn(3.0)
    assert states(daemon) == [DATABASE_REFUSES]
    (said,) = [one["message"] for one in daemon.told if one["type"] == "state"]
    assert "report a failed case" in said and "role readWrite" in said
    rights("readWrite")

    clock.until(lambda: "ok" in states(daemon), "it is over")
    assert states(daemon) == [DATABASE_REFUSES, "ok"] and database.case(object_id(case_id)).failures == 1


def test_a_mistake_of_our_own_ends_no_daemon(make_daemon, monkeypatch, submit):
    daemon = make_daemon(ProcessDaemon)
    clock = Clock(daemon)
    with monkeypatch.context() as patch:
        patch.setattr(daemon, "_read_share", lambda now: 1 / 0)
        clock.turn()
    assert [event["type"] for event in daemon.told] == ["log_file_only"]
    submit()
    clock.until(lambda: daemon.children.started, "work goes on")


def test_a_result_cut_off_while_the_share_is_away_is_removed_when_it_is_back(submit, make_daemon, database, grid):
    """The case goes back at once, the part on the share is not forgotten: no-orphans of the stress test."""
    case_id = submit()
    daemon = make_daemon(ProcessDaemon)
    clock = Clock(daemon)
    clock.until(lambda: daemon.children.started, "a child is started")
    (child,) = daemon.children.started
    result = child.job["result"]
    part = grid.root / "Results" / result["user"] / result["machine"] / f"{result['stem']}.part"
    part.parent.mkdir(parents=True)
    part.write_text("half of it")
    away = grid.root.with_name("away")

    grid.root.rename(away)
    said = {"kind": "outcome", "outcome": "share", "message": "the share is away"}
    daemon.children.says += [(child, said), (child, {"kind": "ended", "exit": 0, "signal": None})]
    clock.until(lambda: status(database, case_id) == "to process", "it goes back")
    away.rename(grid.root)

    clock.until(lambda: not part.exists(), "the part is removed")


# The receive daemon.


@pytest.fixture
def processed(submit, database) -> str:
    """A processed case of the person at PC-3, whose result is not looked at."""
    case_id, token = submit(), new_token()
    assert database.claim(OTHER, ["Copy"], token, alone=True) is not None
    assert database.complete(object_id(case_id), token, Archive("Results/result.zip", 7, "ab" * 32))
    return case_id


def test_a_result_is_claimed_by_its_origin_alone(processed, make_daemon, database):
    stranger = make_daemon(ReceiveDaemon, machine="PC-1")
    Clock(stranger).turn()
    assert not stranger.children.started

    daemon = make_daemon(ReceiveDaemon, machine="PC-3")
    Clock(daemon).until(lambda: daemon.children.started, "a child is started")
    assert database.case(object_id(processed)).receiver["token"] in daemon.held


def test_what_is_done_on_disk_is_reported_whatever_the_child_said(processed, make_daemon, database):
    daemon = make_daemon(ReceiveDaemon, machine="PC-3")
    clock = Clock(daemon)
    clock.until(lambda: daemon.children.started, "a child is started")
    (child,) = daemon.children.started

    Path(child.job["marks"]).write_text("begun\ndone\n")
    daemon.children.says.append((child, {"kind": "ended", "exit": None, "signal": 9}))

    clock.until(lambda: not daemon.held, "it is settled")
    assert status(database, processed) == "received"
    assert not Path(child.job["marks"]).exists()


def test_what_a_receiver_remembers_of_received_cases_is_forgotten_at_the_next_start(processed, make_daemon, database):
    """It was killed after the database knew and before it forgot: no-orphans of the stress test."""
    first = make_daemon(ReceiveDaemon, machine="PC-3")
    Clock(first).until(lambda: first.children.started, "a child is started")
    marks = Path(first.children.started[0].job["marks"])
    marks.write_text("begun\ndone\n")
    token = database.case(object_id(processed)).receiver["token"]
    assert database.received(object_id(processed), token)

    clock = Clock(make_daemon(ReceiveDaemon, machine="PC-3"))

    clock.until(lambda: not marks.exists(), "it forgets")


def test_a_receiver_that_lost_its_claim_ends_the_child_and_writes_nothing(processed, make_daemon, database):
    daemon = make_daemon(ReceiveDaemon, machine="PC-3")
    clock = Clock(daemon)
    clock.until(lambda: daemon.children.started, "a child is started")
    (child,) = daemon.children.started
    token = database.case(object_id(processed)).receiver["token"]
    database._cases.update_one({"_id": object_id(processed)}, {"$set": {"receiver.token": "another's"}})

    daemon.send_heartbeats()
    clock.turn()

    assert child.calls == ["end"]
    daemon.children.says.append((child, {"kind": "ended", "exit": None, "signal": 9}))
    clock.until(lambda: token not in daemon.held, "it is settled")
    case = database.case(object_id(processed))
    assert case.status == "processed" and case.receiver["token"] == "another's" and case.receive_failures == 0


def test_a_failure_of_receiving_what_another_receives_by_now_is_not_told(processed, make_daemon, database):
    daemon = make_daemon(ReceiveDaemon, machine="PC-3")
    clock = Clock(daemon)
    clock.until(lambda: daemon.children.started, "a child is started")
    (child,) = daemon.children.started
    database._cases.update_one({"_id": object_id(processed)}, {"$set": {"receiver.token": "another's"}})

    outcome = {"kind": "outcome", "outcome": "failed", "message": "no room", "traceback": ""}
    daemon.children.says += [(child, outcome), (child, {"kind": "ended", "exit": 0, "signal": None})]

    clock.until(lambda: not daemon.held, "it is settled")
    assert [one for one in daemon.told if one["type"] == "case failed"] == []


def test_nothing_is_taken_over_while_the_share_is_away(processed, make_daemon, database):
    daemon = make_daemon(ReceiveDaemon, machine="PC-3")
    other = make_daemon(ReceiveDaemon, machine="PC-3")
    assert database.claim_result(other.party, "of a receiver that is gone") is not None
    past = [{"$set": {"receiver.lease_until": {"$subtract": ["$$NOW", 60_000]}}}]
    database._cases.update_one({"_id": object_id(processed)}, past)
    clock = Clock(daemon)
    away = daemon.share.root.with_name("away")

    daemon.share.root.rename(away)
    daemon.trouble.enter(SHARE_AWAY, "The shared folder is away.", clock.now)
    for _ in range(6):
        clock.turn(0.6)
    assert daemon.children.started == [] and SHARE_AWAY in daemon.trouble
    away.rename(daemon.share.root)

    clock.until(lambda: daemon.children.started, "it is taken over")
