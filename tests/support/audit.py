"""The invariants of ``docs/protocol.md`` as functions: each takes the evidence of a run and tells what broke it.

The evidence comes from outside the grid: what the submit calls acknowledged, every change of the collection as a
change stream told it (`History`), the ledger that the application's scripts flushed to disk, the faults that were made,
and what lay on the share, in the homes and in the table of processes at the end. `audit` asks all of them.

Moments are seconds of the computer's monotonic clock, which all its processes share; never the database's clock, which
jumps. A change is heard late while the database is down, so a moment of a change is the latest at which it was made.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from gridcompute.grid import cases

Document = Mapping[str, Any]

ALL_MACHINES = ""
"""The machine of a fault that hits everybody."""

SILENT = frozenset({"kill agent", "kill front end", "kill process daemon", "kill receive daemon", "pause", "stall"})
"""Faults for which a machine may be taken for lost; a quit, an outage, a clock that jumps are none of them."""

OUTAGES = frozenset({"kill mongod", "refuse", "black hole", "lose replies", "cut"})
"""Faults for which the database may not be heard."""

ENDING = SILENT | {"quit", "kill child", "kill keeper", "kill helper"}
"""Faults that may end a running receive.py."""

heard_late = 2.0
"""Seconds after the return of a killed server in which its changes from before are heard."""

just_after = 2.0
"""Seconds between the last line of receive.py and the moment at which the grid has flushed that it is done."""


# --- the evidence -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """A document as one write left it; `document` None: it was deleted."""

    at: float
    document: Document | None


History = list[Change]


@dataclass
class Call:
    """One submit call: file name -> the id that it acknowledged, or None; one that was killed acknowledged nothing."""

    machine: str
    files: dict[str, str | None]
    killed: bool = False


@dataclass
class Fault:
    """Something done to `machine`, from `begin` to `end`; `mark` names the attempt whose process was killed."""

    kind: str
    machine: str
    begin: float
    end: float
    mark: str = ""

    def touches(self, machine: str, begin: float, end: float) -> bool:
        return self.machine in (machine, ALL_MACHINES) and self.begin <= end and begin <= self.end


@dataclass
class Order:
    """A cancel or retry that was acknowledged; `gone` are the moments at which processes of the case were gone."""

    what: str
    case: str
    asked: float
    acknowledged: float
    gone: dict[int, float] = field(default_factory=dict)
    machine: str = ""


@dataclass
class Evidence:
    documents: list[Document] = field(default_factory=list)
    histories: dict[str, History] = field(default_factory=dict)  # by the id as text
    calls: list[Call] = field(default_factory=list)
    ledger: list[dict[str, Any]] = field(default_factory=list)  # what, at, case, name, mark, ...
    faults: list[Fault] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)
    archives: set[str] = field(default_factory=set)  # files on the share, relative
    work: dict[str, str] = field(default_factory=dict)  # a file left in a home -> the id of its case, or ""
    missing_archives: list[str] = field(default_factory=list)  # sentences of who looked during the run and at the end
    input_hashes: dict[str, str] = field(default_factory=dict)  # file name -> sha256 of what was submitted
    received: dict[str, Mapping[str, Any]] = field(default_factory=dict)  # file name -> content of the received file
    survivors: list[str] = field(default_factory=list)
    logs: dict[str, str] = field(default_factory=dict)  # machine -> the text of its log
    attempts: int = 3
    period: float = 0.5  # seconds between two heartbeats
    patience: float = 6.0  # seconds beyond two beats in which a busy computer ends the processes of a cancelled case

    def document(self, case: str) -> Document:
        return next((one for one in self.documents if str(one["_id"]) == case), {})

    def lines(self, what: str, case: str) -> list[dict[str, Any]]:
        """The ledger's lines `what` of one case, oldest first."""
        return self._by_case.get((what, case), [])

    def silence(self, machine: str, begin: float, end: float) -> bool:
        """Whether `machine` was silenced for a moment between `begin` and `end`.

        A quit does it only where the database is away, so that nothing can be given back. What was heard at `begin` may
        have been written before a server was killed that came back just then.
        """
        killed = (fault for fault in self.faults if fault.kind == "kill mongod")
        written = min((one.begin for one in killed if one.begin <= begin <= one.end + heard_late), default=begin)
        return any(
            fault.touches(machine, written, end) and (fault.kind in SILENT or self._unheard_quit(fault))
            for fault in self.faults
        )

    def _unheard_quit(self, fault: Fault) -> bool:
        return fault.kind == "quit" and any(
            other.kind in OUTAGES and other.begin <= fault.end and fault.begin <= other.end for other in self.faults
        )

    @property
    def _by_case(self) -> dict[tuple[str, str], list[dict[str, Any]]]:
        if "_index" not in self.__dict__ or self._indexed != len(self.ledger):
            self._indexed = len(self.ledger)
            self._index: dict[tuple[str, str], list[dict[str, Any]]] = {}
            for line in sorted(self.ledger, key=lambda line: line["at"]):
                self._index.setdefault((line["what"], line["case"]), []).append(line)
        return self._index


@dataclass(frozen=True)
class Complaint:
    """What broke an invariant; `case` is empty where it was no single case."""

    case: str
    words: str


Invariant = Callable[[Evidence], Iterable[Complaint]]


# --- one change of one document ---------------------------------------------------------------------------------------

_NEVER_CHANGED = ("application", "submission", "priority", "format", "user_group", "instance", "input", "input_names")


def _attempts(document: Document) -> list[Document]:
    return list((document.get("processors") or {}).get("processor_list") or ())


def _outcome(document: Document, token: str | None) -> str:
    return next((one.get("outcome", "") for one in _attempts(document) if one.get("token") == token), "")


def _receiver(document: Document) -> Document:
    return document.get("receiver") or {}


def _changed(before: Document, after: Document) -> set[str]:
    return {key for key in {*before, *after} if before.get(key) != after.get(key)}


def _more(before: Document, after: Document, key: str) -> int:
    return after.get(key, 0) - before.get(key, 0)


def transition(before: Document | None, after: Document | None) -> str:
    """The name of the protocol's transition that one write made; ValueError with words if it made none of them."""
    if after is None:
        raise ValueError("the document was deleted")
    if before is None:
        return _submitted(after)
    for key in _NEVER_CHANGED:
        if before.get(key) != after.get(key):
            raise ValueError(f"its {key} changed")
    if not cases.can_follow(before["status"], after["status"]):
        raise ValueError(f"'{before['status']}' was followed by '{after['status']}'")
    name = _named(before, after)
    if not name:
        raise ValueError(
            f"no transition leads from '{before['status']}' to '{after['status']}' by a change of "
            f"{', '.join(sorted(_changed(before, after))) or 'nothing'}"
        )
    return name


def _submitted(after: Document) -> str:
    if after["status"] != cases.TO_PROCESS or after.get("attempt") or after.get("token") or after["files"] != "kept":
        raise ValueError("it was not new when it was inserted")
    return "T1 submit"


def _named(before: Document, after: Document) -> str:
    old, new = cases.kind(before["status"]), cases.kind(after["status"])
    if new == cases.CANCELLED and old != new:
        return _cancelled(before, after)
    if old in (cases.CANCELLED, cases.ERROR, cases.RECEIVED):
        return _after_its_end(before, after, old, new)
    if old == cases.PROCESSED:
        return _receiving(before, after, new)
    if new == cases.PROCESSING:
        return _claimed_or_beaten(before, after, old)
    return _attempt_ended(before, after, old, new)


def _cancelled(before: Document, after: Document) -> str:
    return "" if before.get("receiver") or after.get("token") else "T8 cancel"


def _after_its_end(before: Document, after: Document, old: str, new: str) -> str:
    if old == new:
        step = (before.get("files"), after.get("files"))
        if _changed(before, after) != {"files"}:
            return ""
        if step == ("removing", "removed"):
            return "removed"
        return "T14 remove" if step == ("kept", "removing") and old != cases.RECEIVED else ""
    back = cases.PROCESSED if before.get("result") else cases.TO_PROCESS
    clean = not any(after.get(key) for key in ("failures", "losses", "receive_failures", "avoid", "token", "receiver"))
    return "T13 retry" if new == back and clean and before.get("files") == "kept" else ""


def _claimed_or_beaten(before: Document, after: Document, old: str) -> str:
    token, changed = after.get("token"), _changed(before, after)
    if not token:
        return ""
    if token != before.get("token"):
        fresh = token not in {one.get("token") for one in _attempts(before)}
        last = (_attempts(after) or [{}])[-1]
        claimed = old == cases.TO_PROCESS and _more(before, after, "attempt") == 1 and after.get("beat") == 0
        return "T2 claim" if fresh and claimed and last.get("token") == token else ""
    if changed <= {"progress"}:
        return "progress"
    if bool(before.get("alone")) == bool(after.get("alone")):
        changed -= {"alone"}
    if _more(before, after, "beat") != 1:
        return ""
    if old == cases.PROCESSING:
        return "T3 beat" if changed <= _beaten else ""
    taken_back = _more(before, after, "losses") <= 0
    return "T3 woken" if taken_back and changed <= _beaten | {"status", "lost_on", "losses", "alone"} else ""


_beaten = {"beat", "lease_until", "last_heartbeat"}


def _attempt_ended(before: Document, after: Document, old: str, new: str) -> str:
    token = before.get("token")
    if not token:
        return ""
    outcome = _outcome(after, token)
    failed = _more(before, after, "failures")
    if after.get("token"):
        lost = old == cases.PROCESSING and new == cases.TO_PROCESS and after["token"] == token and outcome == "lost"
        return "T7 expire" if lost and not failed and after["losses"] == len(after["lost_on"]) else ""
    if new == cases.PROCESSED:
        mine = (after.get("result") or {}).get("token") == token
        return "T4 complete" if mine and outcome == "processed" and not failed else ""
    if failed == 1 and outcome == "failed":
        return "T5 failed"
    if failed:
        return ""
    if new == cases.TO_PROCESS and outcome == "handed back":
        return "T6 hand back"
    if new == cases.ERROR and old == cases.PROCESSING and outcome == "lost" and before.get("alone"):
        return "T7 expire"
    return ""


def _receiving(before: Document, after: Document, new: str) -> str:
    mine, now = _receiver(before), _receiver(after)
    if new == cases.PROCESSED:
        if before.get("result") != after.get("result"):
            return ""
        if now:
            return _receiver_changed(mine, now)
        if mine and _more(before, after, "receive_failures") == 1:
            return "T11 receive failed" if after.get("receive_failed_by") == mine["token"] else ""
        return "T9 release" if mine and _changed(before, after) <= {"receiver", "not_before"} else ""
    if not mine or now:
        return ""
    if new == cases.RECEIVED:
        return "T10 received" if after.get("received_by") == mine["token"] and after["files"] == "removing" else ""
    if _more(before, after, "results_lost") == 1:
        return "T12 result lost" if not after.get("result") else ""
    return "T11 receive failed" if new == cases.ERROR and _more(before, after, "receive_failures") == 1 else ""


def _receiver_changed(before: Document, after: Document) -> str:
    if not before:
        return "T9 receive" if after["beat"] == 0 else ""
    if before["token"] == after["token"]:
        return "T9 beat" if after["beat"] == before["beat"] + 1 else ""
    return "T9 take over" if after["beat"] == 0 else ""


def steps(history: History) -> Iterator[tuple[str, Change | None, Change]]:
    """Each change with its transition's name, or why it is none after ``not allowed:``, and the change before it."""
    before: Change | None = None
    for change in history:
        try:
            name = transition(before.document if before else None, change.document)
        except ValueError as exc:
            name = f"not allowed: {exc}"
        yield name, before, change
        before = change


# --- the invariants ---------------------------------------------------------------------------------------------------


def no_lost_case(evidence: Evidence) -> Iterator[Complaint]:
    """Every `_id` that a submit acknowledged exists, and ends received, cancelled or error."""
    there = {str(one["_id"]): one for one in evidence.documents}
    for call in evidence.calls:
        for name, case in call.files.items():
            if case is not None and case not in there:
                yield Complaint(case, f"{name} was acknowledged by a submit on {call.machine}, and is not there")
    for case, document in there.items():
        if cases.kind(document["status"]) not in (cases.RECEIVED, cases.CANCELLED, cases.ERROR):
            yield Complaint(case, f"it ended nowhere: its status is '{document['status']}'")


def no_ghost_case(evidence: Evidence) -> Iterator[Complaint]:
    """Each document belongs to one submit call; documents = cases of the calls."""
    call_of = {name: call for call in evidence.calls for name in call.files}
    seen: dict[str, str] = {}
    submissions: dict[int, str] = {}
    for document in evidence.documents:
        case, name = str(document["_id"]), document["input_names"]["first"][0]
        call = call_of.get(name)
        if call is None:
            yield Complaint(case, f"nobody submitted {name}")
            continue
        if name in seen:
            yield Complaint(case, f"{name} was submitted once and is also case {seen[name]}")
        seen[name] = case
        if not call.killed and call.files[name] != case:
            yield Complaint(case, f"the submit of {name} acknowledged {call.files[name] or 'no case'}")
        if submissions.setdefault(id(call), document["submission"]) != document["submission"]:
            yield Complaint(case, "one submit call made cases of two submissions")


def one_owner(evidence: Evidence) -> Iterator[Complaint]:
    """Tokens of a case's attempts differ; between claim and end one token alone ever matched a write."""
    for case, history in evidence.histories.items():
        claimed: set[str] = set()
        for name, before, change in steps(history):
            after = change.document or {}
            was = (before.document if before else None) or {}
            if name == "T2 claim":
                if after["token"] in claimed:
                    yield Complaint(case, f"the token {after['token']} was claimed twice")
                claimed.add(after["token"])
            elif name.startswith("not allowed") and after.get("token") not in (None, was.get("token")):
                yield Complaint(case, f"{after['token']} wrote while {was.get('token')} held the case: {name}")
            elif name == "T4 complete" and was["token"] not in claimed:
                yield Complaint(case, "the token of its result was never claimed")
            elif name == "T9 take over":
                yield from _taken_over(evidence, case, history, change)


def _taken_over(evidence: Evidence, case: str, history: History, change: Change) -> Iterator[Complaint]:
    machine = (change.document or {})["origin"]["machine"]
    begin = max(
        (at for at, name in _moments(history) if name in ("T9 receive", "T9 take over") and at < change.at), default=0.0
    )
    if not evidence.silence(machine, begin - 1.0, change.at):
        yield Complaint(case, f"its receiver on {machine} was taken over, but neither killed nor paused")


def _moments(history: History) -> list[tuple[float, str]]:
    return [(change.at, name) for name, _, change in steps(history)]


def result_of_the_winner(evidence: Evidence) -> Iterator[Complaint]:
    """`result.token` was claimed; the bytes received are those of its attempt and derive from this input."""
    for document in evidence.documents:
        if document["status"] != cases.RECEIVED:
            continue
        case, name = str(document["_id"]), document["input_names"]["first"][0]
        token = (document.get("result") or {}).get("token", "")
        if token not in {one.get("token") for one in _attempts(document)}:
            yield Complaint(case, "the token of its result is that of no attempt")
        content = evidence.received.get(name)
        if content is None:
            yield Complaint(case, f"it is received, but the result of {name} is not where receive.py puts it")
            continue
        if content.get("input") != evidence.input_hashes.get(name) or not content.get("whole"):
            yield Complaint(case, f"the received result does not derive from {name}: {content}")
        if content.get("case") != case or not str(content.get("mark", "")).endswith(token[:6]):
            yield Complaint(case, f"the received result is of {content.get('mark')}, the winner is {token}")


def received_once(evidence: Evidence) -> Iterator[Complaint]:
    """receive.py ran to its end once for each received case; further starts at most the kills inside it."""
    for document in evidence.documents:
        case, machine = str(document["_id"]), document["origin"]["machine"]
        begun, done = evidence.lines("receive begun", case), evidence.lines("receive done", case)
        if document["status"] == cases.RECEIVED and not done:
            yield Complaint(case, "it is received, but receive.py never came to its end")
        for first, second in itertools.pairwise(begun):
            ended = next((one["at"] for one in done if one["mark"] == first["mark"]), None)
            if ended is None and any(one["mark"] == first["mark"] for one in evidence.lines("receive failed", case)):
                continue
            until = second["at"] if ended is None else min(second["at"], ended + just_after)
            if not any(
                fault.kind in ENDING and fault.touches(machine, first["at"] - 1.0, until) for fault in evidence.faults
            ):
                yield Complaint(
                    case, f"receive.py began again as {second['mark']} though nothing cut {first['mark']} short"
                )


def names_exist(evidence: Evidence) -> Iterator[Complaint]:
    """A processed case has a true result; one to process, processing or processed has its input."""
    for words in evidence.missing_archives:
        yield Complaint("", words)


def no_orphans(evidence: Evidence) -> Iterator[Complaint]:
    """After one sweep no file on the share or in work folders that no case names; none was deleted that one named."""
    named: dict[str, str] = {}
    for document in evidence.documents:
        if document["files"] != "removed":
            for part in (document.get("input"), document.get("result")):
                if part:
                    named[part["path"]] = str(document["_id"])
        if document["files"] == "removing":
            yield Complaint(str(document["_id"]), "its archives were still to be removed after the sweep")
    for path in sorted(evidence.archives - set(named)):
        yield Complaint(_case_in(path, evidence), f"{path} is on the share and no case names it")
    for path in sorted(set(named) - evidence.archives):
        yield Complaint(named[path], f"{path} is named by the case and is not on the share")
    for path, case in sorted(evidence.work.items()):
        yield Complaint(case, f"{path} was left")


def _case_in(path: str, evidence: Evidence) -> str:
    return next((case for case in evidence.histories if case in path), "")


def cancel_holds(evidence: Evidence) -> Iterator[Complaint]:
    """After an acknowledged cancel no receive.py, no change but a retry, its processes gone within two beats."""
    for order in evidence.orders:
        if order.what != "cancel":
            continue
        retried = min(
            (other.asked for other in evidence.orders if _undoes(other, order)),
            default=float("inf"),
        )
        for line in evidence.lines("receive begun", order.case):
            if order.acknowledged < line["at"] < retried:
                yield Complaint(order.case, f"receive.py began {line['at'] - order.acknowledged:.2f} s after a cancel")
        yield from _processes_gone(evidence, order)
    for case, history in evidence.histories.items():
        for name, before, change in steps(history):
            was = (before.document if before else None) or {}
            if was.get("status") == cases.CANCELLED and name not in ("T13 retry", "T14 remove", "removed"):
                yield Complaint(case, f"it was changed after its cancel: {name}")
            elif name == "T13 retry" and not any(
                other.what == "retry" and other.case == case and other.asked <= change.at for other in evidence.orders
            ):
                yield Complaint(case, "it was tried again, and nobody had asked for that")


def _undoes(retry: Order, cancel: Order) -> bool:
    return retry.what == "retry" and retry.case == cancel.case and retry.acknowledged >= cancel.asked


def _processes_gone(evidence: Evidence, order: Order) -> Iterator[Complaint]:
    limit = order.acknowledged + 2 * evidence.period + evidence.patience
    for fault in sorted(evidence.faults, key=lambda fault: fault.begin):
        # Whoever is stopped or cut off hears nothing; it has its two beats when that is over.
        if fault.touches(order.machine, order.asked, limit):
            limit = max(limit, fault.end + 2 * evidence.period + evidence.patience)
    for pid, gone in order.gone.items():
        if gone > limit:
            yield Complaint(
                order.case,
                f"its process {pid} on {order.machine} was there {gone - order.acknowledged:.1f} s after the cancel",
            )


def fair_count(evidence: Evidence) -> Iterator[Complaint]:
    """Failures = failures injected; losses at most machines killed; quits, outages, clock jumps count 0."""
    injected = {line["mark"] for line in evidence.ledger if line["what"] == "process failed"}
    killed = {fault.mark for fault in evidence.faults if fault.kind == "kill child"}
    for case, history in evidence.histories.items():
        counted, claims = 0, {}
        for name, before, change in steps(history):
            after, was = change.document or {}, (before.document if before else None) or {}
            if name == "T2 claim":
                claims[after["token"]] = change.at
            elif name == "T5 failed":
                counted += 1
                mark = _mark(after, was["token"])
                if mark not in injected | killed:
                    yield Complaint(case, f"the attempt {mark} counted as failed: {_reason(after)}")
            elif name == "T4 complete" and _mark(after, was["token"]) in injected:
                yield Complaint(case, f"the attempt {_mark(after, was['token'])} failed and counted as processed")
            elif name == "T7 expire":
                machine = was["holder"]["machine"]
                if not evidence.silence(machine, claims.get(was["token"], 0.0) - 1.0, change.at):
                    yield Complaint(case, f"it was lost on {machine}, which was neither killed nor paused")
            elif name == "T13 retry":
                counted = 0
            if name != "T1 submit" and after.get("failures", 0) != counted:
                yield Complaint(case, f"its failures are {after.get('failures')} after {counted} failed attempts")
                counted = after.get("failures", 0)
        yield from _deserved(evidence, case, history)
    yield from _failed_receives(evidence)


def _mark(document: Document, token: str) -> str:
    """How the scripts know an attempt: case, number, beginning of the token, as its work folder is called."""
    return f"{document['_id']}-{document['attempt']}-{token[:6]}"


def _reason(document: Document) -> str:
    return str((document.get("error") or {}).get("message", ""))[:300]


def _deserved(evidence: Evidence, case: str, history: History) -> Iterator[Complaint]:
    """An error was earned: by so many failures, by losses, or by receive.py."""
    last = history[-1].document or {}
    if cases.kind(str(last.get("status"))) != cases.ERROR:
        return
    lost = last["status"].startswith("error: lost") and last.get("losses", 0) >= 2
    failed = last.get("failures", 0) >= evidence.attempts
    receive = last["status"].startswith("error: receive: ") and last.get("receive_failures", 0) >= 3
    if not (lost or failed or receive):
        yield Complaint(case, f"it ended as '{last['status'][:200]}', which it had not earned")


def _failed_receives(evidence: Evidence) -> Iterator[Complaint]:
    told = {line["mark"] for line in evidence.ledger if line["what"] == "receive failed"}
    killed = {fault.mark for fault in evidence.faults if fault.kind == "kill child"}
    for case, history in evidence.histories.items():
        for name, before, change in steps(history):
            if name != "T11 receive failed":
                continue
            token = _receiver((before.document if before else None) or {})["token"]
            if f"{case}-{token[:6]}" not in told | killed:
                yield Complaint(case, f"receive.py counted as failed: {_reason(change.document or {})}")


def nothing_survives(evidence: Evidence) -> Iterator[Complaint]:
    """No process, lease or receiver left; no daemon ended but those killed; only transitions of the table."""
    for words in evidence.survivors:
        yield Complaint("", f"a process was left: {words}")
    for document in evidence.documents:
        left = [key for key in ("token", "lease_until", "holder", "receiver") if key in document]
        if left:
            yield Complaint(str(document["_id"]), f"it ended and still has {', '.join(left)}")
    for case, history in evidence.histories.items():
        for name, _, _ in steps(history):
            if name.startswith("not allowed"):
                yield Complaint(case, name)
        last = dict(history[-1].document or {})
        if last != dict(evidence.document(case)):
            differing = sorted(_changed(last, evidence.document(case)))
            yield Complaint(case, f"the changes that were heard end elsewhere than the document: {differing}")
    yield from _daemons_ended(evidence)


def _daemons_ended(evidence: Evidence) -> Iterator[Complaint]:
    for machine, text in evidence.logs.items():
        for name in ("process", "receive"):
            ended = text.count(f"The {name} daemon ended unasked")
            killed = sum(one.kind == f"kill {name} daemon" and one.machine == machine for one in evidence.faults)
            if ended > killed:
                yield Complaint("", f"the {name} daemon on {machine} ended {ended} times and was killed {killed} times")
        for mistake in _mistake.finditer(text):
            yield Complaint("", f"a mistake of the program on {machine}: {text[mistake.start() :][:4000]}")


_mistake = re.compile(r"^\S+ \S+ ERROR +(process|receive)\[\d+\] (?!.*helper that starts the processes)", re.MULTILINE)
"""A line of the log by which a daemon tells that something happened that it did not expect."""


INVARIANTS: dict[str, Invariant] = {
    "no-lost-case": no_lost_case,
    "no-ghost-case": no_ghost_case,
    "one-owner": one_owner,
    "result-of-the-winner": result_of_the_winner,
    "received-once": received_once,
    "names-exist": names_exist,
    "no-orphans": no_orphans,
    "cancel-holds": cancel_holds,
    "fair-count": fair_count,
    "nothing-survives": nothing_survives,
}


# --- what a reader sees -----------------------------------------------------------------------------------------------


def audit(evidence: Evidence, *, shown: int = 5) -> None:
    """Ask every invariant; AssertionError names those that do not hold, the cases and their histories."""
    broken: list[str] = []
    for name, holds in INVARIANTS.items():
        complaints = list(holds(evidence))
        if complaints:
            told = "\n".join(describe(one, evidence) for one in complaints[:shown])
            broken.append(f"{name} does not hold ({len(complaints)} times):\n{told}")
    if broken:
        raise AssertionError("\n\n".join(broken))


def describe(complaint: Complaint, evidence: Evidence) -> str:
    """A complaint, and all that happened to its case."""
    if not complaint.case:
        return f"  {complaint.words}"
    return f"  case {complaint.case}: {complaint.words}\n" + "\n".join(
        f"    {line}" for line in story(complaint.case, evidence)
    )


def story(case: str, evidence: Evidence) -> list[str]:
    """Everything that is known of a case, in the order of time: changes, lines of the ledger, orders, faults around."""
    told: list[tuple[float, str]] = []
    for name, _, change in steps(evidence.histories.get(case, [])):
        if name not in ("T3 beat", "T9 beat", "progress"):
            told.append((change.at, f"{name}: {_brief(change.document)}"))
    for line in evidence.ledger:
        if line["case"] == case:
            told.append((line["at"], f"{line['what']} as {line['mark']} (process {line['pid']})"))
    for order in evidence.orders:
        if order.case == case:
            told.append((order.acknowledged, f"{order.what} acknowledged, asked {order.asked:.2f}, gone {order.gone}"))
    if told:
        first, last = min(told)[0] - 3.0, max(told)[0] + 3.0
        told += [
            (one.begin, f"fault: {one.kind} on {one.machine or 'all'} until {one.end:.2f} {one.mark}")
            for one in evidence.faults
            if first <= one.end and one.begin <= last
        ]
    return [f"{at:.2f} {words}" for at, words in sorted(told)] or ["nothing was heard of it"]


def _brief(document: Document | None) -> str:
    if document is None:
        return "deleted"
    parts = [document["status"][:80], f"attempt {document.get('attempt')}"]
    if document.get("token"):
        parts.append(f"token {document['token'][:6]} of {(document.get('holder') or {}).get('machine')}")
    if document.get("receiver"):
        parts.append(f"receiver {document['receiver']['token'][:6]}")
    if document.get("result"):
        parts.append(f"result of {document['result']['token'][:6]}")
    parts += [f"{key} {document[key]}" for key in ("failures", "losses", "receive_failures") if document.get(key)]
    parts.append(f"files {document.get('files')}")
    return ", ".join(parts)
