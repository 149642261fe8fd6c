"""The audit itself: it is silent about a good run, and each invariant notices the forged history that breaks it."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.stress.application.ledger import note, whole_lines
from tests.stress.plan import KINDS, MACHINES, make_plan
from tests.stress.recorder import apply
from tests.support.audit import INVARIANTS, Call, Change, Evidence, Fault, Order, audit, transition

CASE = "a" * 24
FIRST, SECOND, RECEIVER, OTHER = "first0token", "second0token", "receiver0token", "other0token"


class Forger:
    """Writes the history of one case, a second for each change; what it should not do it does as well."""

    def __init__(self) -> None:
        self.at = 100.0
        self.history: list[Change] = []
        self.ledger: list[dict[str, Any]] = []
        self.document: dict[str, Any] = {
            "_id": CASE,
            "status": "to process",
            "application": "App",
            "submission": "s",
            "priority": 50,
            "format": 1,
            "user_group": "g",
            "instance": "0",
            "input": {"path": "Cases/in.zip", "size": 1, "sha256": "1"},
            "input_names": {"first": ["in.json"], "count": 1},
            "origin": {"machine": "PC-1", "user": "alice"},
            "processors": {"processor_list": []},
            "files": "kept",
            "attempt": 0,
            "beat": 0,
            "failures": 0,
            "losses": 0,
            "receive_failures": 0,
        }
        self.write()

    def write(self, *left: str, **changes: Any) -> Forger:
        self.document = {**copy.deepcopy(self.document), **changes}
        for key in left:
            self.document.pop(key, None)
        self.at += 1.0
        self.history.append(Change(self.at, self.document))
        return self

    def note(self, what: str, mark: str) -> Forger:
        self.ledger.append({"what": what, "case": CASE, "name": "in.json", "mark": mark, "pid": 7, "at": self.at + 0.1})
        return self

    def attempts(self, token: str, outcome: str) -> dict[str, Any]:
        listed = [dict(one) for one in self.document["processors"]["processor_list"]]
        for one in listed:
            if one["token"] == token:
                one["outcome"] = outcome
        return {"processor_list": listed}

    def claim(self, token: str, machine: str = "PC-2") -> Forger:
        listed = [*self.document["processors"]["processor_list"], {"token": token, "machine": machine}]
        return self.write(
            status="processing",
            token=token,
            beat=0,
            attempt=self.document["attempt"] + 1,
            lease_until=1,
            holder={"machine": machine},
            processors={"processor_list": listed},
        )

    def beat(self) -> Forger:
        return self.write(status="processing", beat=self.document["beat"] + 1)

    def lose(self) -> Forger:
        lost = sorted({*self.document.get("lost_on", ()), self.document["holder"]["machine"]})
        outcome = self.attempts(self.document["token"], "lost")
        return self.write("lease_until", status="to process", lost_on=lost, losses=len(lost), processors=outcome)

    def end(self, outcome: str, **changes: Any) -> Forger:
        attempts = self.attempts(self.document["token"], outcome)
        return self.write("token", "lease_until", "holder", processors=attempts, **changes)

    def complete(self) -> Forger:
        result = {"path": "Results/out.zip", "size": 2, "sha256": "2", "token": self.document["token"]}
        return self.end("processed", status="processed", result=result)

    def fail(self) -> Forger:
        self.note("process failed", self.mark)
        return self.end("failed", status="to process", failures=self.document["failures"] + 1)

    @property
    def mark(self) -> str:
        return f"{CASE}-{self.document['attempt']}-{self.document['token'][:6]}"

    def hand_back(self) -> Forger:
        return self.end("handed back", status="to process")

    def cancel(self) -> Forger:
        return self.end("cancelled", status="cancelled")

    def receive(self, token: str = RECEIVER) -> Forger:
        self.write(receiver={"token": token, "beat": 0})
        return self.note("receive begun", f"{CASE}-{token[:6]}")

    def received(self) -> Forger:
        token = self.document["receiver"]["token"]
        self.note("receive done", f"{CASE}-{token[:6]}")
        return self.write("receiver", status="received", received_by=token, files="removing")

    def removed(self) -> Forger:
        return self.write(files="removed")

    def go_home(self, token: str = FIRST) -> Forger:
        return self.claim(token).beat().complete().receive().received().removed()

    def evidence(self, **changes: Any) -> Evidence:
        winner = (self.document.get("result") or {}).get("token", "")
        content = {"input": "hash", "whole": True, "case": CASE, "mark": f"{CASE}-1-{winner[:6]}"}
        return Evidence(
            **{
                "documents": [self.document],
                "histories": {CASE: self.history},
                "calls": [Call("PC-1", {"in.json": CASE})],
                "ledger": self.ledger,
                "archives": set() if self.document["files"] == "removed" else {"Cases/in.zip"},
                "input_hashes": {"in.json": "hash"},
                "received": {"in.json": content} if winner else {},
                **changes,
            }
        )


def broken(evidence: Evidence) -> dict[str, str]:
    """Invariant -> its first complaint."""
    found = {name: list(holds(evidence)) for name, holds in INVARIANTS.items()}
    return {name: complaints[0].words for name, complaints in found.items() if complaints}


# A good run.


def test_a_case_that_goes_home_at_once_breaks_nothing():
    audit(Forger().go_home().evidence())


def test_a_case_that_fails_is_handed_back_lost_taken_over_and_tried_again_breaks_nothing():
    case = Forger().claim(FIRST).fail().claim(SECOND).hand_back()
    case.claim("third0token").lose().beat().complete()
    case.write(receiver={"token": RECEIVER, "beat": 0}).write(receiver={"token": OTHER, "beat": 0})
    case.note("receive begun", f"{CASE}-{OTHER[:6]}").received().removed()
    kills = [Fault("kill agent", "PC-2", 105.0, 107.0), Fault("pause", "PC-1", 108.0, 112.0)]
    audit(case.evidence(faults=kills))


def test_a_case_cancelled_while_it_runs_and_tried_again_breaks_nothing():
    case = Forger().claim(FIRST).cancel()
    orders = [Order("cancel", CASE, case.at - 0.5, case.at + 0.5, {7: case.at + 1}, "PC-2")]
    orders.append(Order("retry", CASE, case.at + 0.9, case.at + 1.1))
    case.write(status="to process").go_home(SECOND)
    audit(case.evidence(orders=orders))


def test_a_submit_that_was_killed_may_have_submitted_some_of_its_files():
    evidence = Forger().go_home().evidence(calls=[Call("PC-1", {"in.json": None, "other.json": None}, killed=True)])
    audit(evidence)


# Each invariant, broken.


def test_no_lost_case_misses_a_case_that_was_acknowledged():
    evidence = Forger().go_home().evidence(documents=[], histories={})
    assert "is not there" in broken(evidence)["no-lost-case"]


def test_no_lost_case_misses_the_end_of_a_case():
    assert "it ended nowhere" in broken(Forger().claim(FIRST).evidence())["no-lost-case"]


def test_no_ghost_case_sees_a_case_that_nobody_submitted():
    assert "nobody submitted" in broken(Forger().go_home().evidence(calls=[]))["no-ghost-case"]


def test_no_ghost_case_sees_a_second_case_of_one_file():
    case = Forger().go_home()
    twin = {**case.document, "_id": "b" * 24}
    assert "is also case" in broken(case.evidence(documents=[case.document, twin]))["no-ghost-case"]


def test_no_ghost_case_sees_a_case_that_its_call_did_not_acknowledge():
    assert (
        "acknowledged no case"
        in broken(Forger().go_home().evidence(calls=[Call("PC-1", {"in.json": None})]))["no-ghost-case"]
    )


def test_one_owner_sees_a_second_one_write():
    case = Forger().claim(FIRST).write(token=SECOND, beat=1)
    assert "wrote while first0token held" in broken(case.evidence())["one-owner"]


def test_one_owner_sees_a_token_that_comes_again():
    case = Forger().claim(FIRST).hand_back().claim(FIRST)
    assert "one-owner" in broken(case.evidence())


def test_one_owner_sees_a_result_by_a_token_that_never_claimed():
    case = Forger().claim(FIRST)
    case.end("processed", status="processed", result={"path": "r", "token": OTHER})
    assert "no transition" in broken(case.evidence())["nothing-survives"]


def test_one_owner_sees_a_receiver_that_was_taken_over_alive():
    case = Forger().claim(FIRST).complete().receive().write(receiver={"token": OTHER, "beat": 0})
    assert "neither killed nor paused" in broken(case.evidence())["one-owner"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({}, "is not where receive.py puts it"),
        ({"in.json": {"input": "another", "whole": True}}, "does not derive from"),
        ({"in.json": {"input": "hash", "whole": False}}, "does not derive from"),
        (
            {"in.json": {"input": "hash", "whole": True, "case": CASE, "mark": "of-another"}},
            "the winner is first0token",
        ),
    ],
)
def test_result_of_the_winner_sees_other_bytes(content, words):
    assert words in broken(Forger().go_home().evidence(received=content))["result-of-the-winner"]


def test_received_once_sees_a_second_run():
    case = Forger().claim(FIRST).complete().receive().note("receive done", f"{CASE}-{RECEIVER[:6]}")
    case.at += 1.0
    case.note("receive begun", f"{CASE}-{OTHER[:6]}").received().removed()
    assert "nothing cut" in broken(case.evidence())["received-once"]
    assert "received-once" not in broken(case.evidence(faults=[Fault("kill agent", "PC-1", case.at - 2.0, case.at)]))


def test_received_once_sees_a_case_received_without_its_script():
    case = Forger().claim(FIRST).complete().receive().received().removed()
    case.ledger.clear()
    assert "never came to its end" in broken(case.evidence())["received-once"]


def test_names_exist_tells_what_those_who_looked_saw():
    evidence = Forger().go_home().evidence(missing_archives=["case 1 (processed): its result is not there"])
    assert "its result is not there" in broken(evidence)["names-exist"]


def test_no_orphans_sees_files_that_no_case_names_and_cases_without_files():
    case = Forger().go_home()
    assert "no case names it" in broken(case.evidence(archives={"Results/x.zip"}))["no-orphans"]
    assert "was left" in broken(case.evidence(work={"home/work/x": CASE}))["no-orphans"]
    kept = Forger().claim(FIRST).cancel()
    assert "is not on the share" in broken(kept.evidence(archives=set()))["no-orphans"]
    removing = Forger().claim(FIRST).complete().receive().received()
    assert (
        "still to be removed" in broken(removing.evidence(archives={"Cases/in.zip", "Results/out.zip"}))["no-orphans"]
    )


def test_cancel_holds_sees_a_script_that_begins_a_change_and_a_process_that_stays():
    case = Forger().claim(FIRST).cancel()
    order = Order("cancel", CASE, case.at, case.at, {}, "PC-2")
    case.at += 1.0
    case.note("receive begun", "mark")
    assert "s after a cancel" in broken(case.evidence(orders=[order]))["cancel-holds"]
    order = Order("cancel", CASE, case.at, case.at, {7: case.at + 30.0}, "PC-2")
    assert "its process 7" in broken(case.evidence(orders=[order], ledger=[]))["cancel-holds"]
    paused = [Fault("pause", "PC-2", case.at, case.at + 29.0)]
    assert "cancel-holds" not in broken(case.evidence(orders=[order], ledger=[], faults=paused))
    assert (
        "nobody had asked"
        in broken(Forger().claim(FIRST).cancel().write(status="to process").evidence())["cancel-holds"]
    )
    changed = Forger().claim(FIRST).cancel().write(status="cancelled", token=SECOND)
    assert "changed after its cancel" in broken(changed.evidence())["cancel-holds"]


def test_fair_count_sees_failures_that_nobody_injected():
    case = Forger().claim(FIRST).fail()
    case.ledger.clear()
    assert "counted as failed" in broken(case.evidence())["fair-count"]
    assert "fair-count" not in broken(case.evidence(faults=[Fault("kill child", "PC-2", 1, 2, f"{CASE}-1-first0")]))


def test_fair_count_sees_a_failure_that_counted_as_done_and_a_wrong_sum():
    case = Forger().claim(FIRST)
    case.note("process failed", case.mark).complete()
    assert "counted as processed" in broken(case.evidence())["fair-count"]
    case = Forger().claim(FIRST).write(failures=2)
    assert "after 0 failed attempts" in broken(case.evidence())["fair-count"]


def test_what_is_heard_after_an_outage_may_have_been_written_before_it():
    case = Forger().claim(FIRST).lose()
    killed = [Fault("kill process daemon", "PC-2", 95.0, 96.0)]
    away = [Fault("kill mongod", "", 94.0, 101.0)]
    assert "neither killed nor paused" in broken(case.evidence(faults=killed))["fair-count"]
    assert "fair-count" not in broken(case.evidence(faults=killed + away))


@pytest.mark.parametrize("kind", ["quit", "kill mongod", "refuse", "clock", "share away"])
def test_fair_count_sees_a_loss_that_no_machine_deserved(kind):
    case = Forger().claim(FIRST).lose()
    assert "neither killed nor paused" in broken(case.evidence(faults=[Fault(kind, "", 100.0, 110.0)]))["fair-count"]


def test_who_quits_while_the_database_is_away_may_be_taken_for_lost():
    case = Forger().claim(FIRST).lose()
    faults = [Fault("quit", "PC-2", 101.0, 103.0), Fault("kill mongod", "", 100.0, 110.0)]
    assert "fair-count" not in broken(case.evidence(faults=faults))
    assert "fair-count" in broken(case.evidence(faults=faults[:1]))


def test_a_sleeper_that_wakes_takes_its_loss_back():
    case = Forger().claim(FIRST).lose()
    awake = {"status": "processing", "beat": 1, "lease_until": 2, "lost_on": [], "losses": 0}
    assert transition(case.document, {**case.document, **awake}) == "T3 woken"
    with pytest.raises(ValueError):
        transition(case.document, {**case.document, **awake, "losses": 2})


def test_fair_count_sees_an_error_that_was_not_earned():
    case = Forger().claim(FIRST)
    case.note("process failed", case.mark).end("failed", status="error: it broke", failures=1)
    assert "had not earned" in broken(case.evidence())["fair-count"]


def test_fair_count_sees_a_failed_receive_that_nobody_injected():
    case = Forger().claim(FIRST).complete().receive()
    case.write("receiver", receive_failures=1, receive_failed_by=RECEIVER)
    assert "receive.py counted as failed" in broken(case.evidence())["fair-count"]


def test_nothing_survives_sees_processes_leases_and_daemons_that_ended():
    case = Forger().go_home()
    assert "a process was left" in broken(case.evidence(survivors=["7: sleep"]))["nothing-survives"]
    assert "still has token" in broken(Forger().claim(FIRST).evidence())["nothing-survives"]
    ended = {"PC-1": "x ERROR agent[7] The process daemon ended unasked (exit code 1); it is started again."}
    assert "ended 1 times and was killed 0 times" in broken(case.evidence(logs=ended))["nothing-survives"]
    kill = [Fault("kill process daemon", "PC-1", 1, 2)]
    assert "nothing-survives" not in broken(case.evidence(logs=ended, faults=kill))
    mistake = {"PC-1": "2026-01-01 00:00:00.000+00:00 ERROR   process[7] A turn of the process daemon failed"}
    assert "a mistake of the program" in broken(case.evidence(logs=mistake))["nothing-survives"]


def test_nothing_survives_sees_a_history_that_ends_elsewhere_than_the_document():
    case = Forger().go_home()
    evidence = case.evidence(documents=[{**case.document, "files": "kept"}])
    assert "end elsewhere than the document" in broken(evidence)["nothing-survives"]


@pytest.mark.parametrize(
    "change",
    [
        {"status": "received"},
        {"status": "error: x"},
        {"status": "unheard of"},
        {"application": "Other"},
        {"token": SECOND},
        {"beat": 5},
        {"failures": 1},
        {"status": "to process"},
        {"files": "removed"},
    ],
)
def test_a_change_that_is_no_transition_is_named(change):
    case = Forger().claim(FIRST).write(**change)
    assert "nothing-survives" in broken(case.evidence())
    with pytest.raises(ValueError):
        transition(case.history[-2].document, case.history[-1].document)


def test_the_audit_names_the_invariant_the_case_and_its_history():
    case = Forger().claim(FIRST).lose()
    with pytest.raises(AssertionError) as told:
        audit(case.evidence())
    text = str(told.value)
    assert "fair-count does not hold" in text and "no-lost-case does not hold" in text
    assert f"case {CASE}" in text and "T2 claim: processing" in text and "T7 expire" in text


# The plan and the recorder.


def test_a_plan_follows_from_its_seed_and_has_each_kind_of_fault():
    plan = make_plan(7, cases=150, calls=8, seconds=24.0, faults=len(KINDS))
    assert plan == make_plan(7, cases=150, calls=8, seconds=24.0, faults=len(KINDS))
    assert plan != make_plan(8, cases=150, calls=8, seconds=24.0, faults=len(KINDS))
    assert plan.cases == 150 and {fault.kind for fault in plan.faults} == set(KINDS)
    names = [case["name"] for submit in plan.submits for case in submit.cases]
    assert len(set(names)) == 150 and {submit.machine for submit in plan.submits} <= set(MACHINES)


def test_an_update_is_applied_as_a_change_stream_describes_it():
    before = {"a": 1, "b": {"c": [{"x": 1}, 2, 3]}, "d": 4}
    after = apply(
        before,
        {
            "updatedFields": {"a": 2, "b.c.0.x": 5, "b.c.2": 6, "e": {"f": 1}},
            "removedFields": ["d"],
            "truncatedArrays": [{"field": "b.c", "newSize": 2}],
        },
    )
    assert after == {"a": 2, "b": {"c": [{"x": 5}, 2, 6]}, "e": {"f": 1}}
    assert before["b"]["c"] == [{"x": 1}, 2, 3]


def test_a_line_of_the_ledger_that_is_cut_off_spoils_no_other(tmp_path, monkeypatch):
    monkeypatch.setenv("GRIDCOMPUTE_STRESS", str(tmp_path))
    monkeypatch.setenv("GRIDCOMPUTE_CASE", CASE)
    ledger = tmp_path / "ledger.jsonl"
    note("receive begun", "in.json")
    whole = ledger.read_bytes()

    with ledger.open("ab") as file:
        file.write(whole[:50])
    assert [line["what"] for line in whole_lines(ledger)] == ["receive begun"], "somebody is just writing"
    note("receive done", "in.json")

    assert [line["what"] for line in whole_lines(ledger)] == ["receive begun", "receive done"]
