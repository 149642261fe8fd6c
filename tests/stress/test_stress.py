"""Some hundred cases over several machines in a storm of faults; then every invariant of the protocol is audited.

The seed is printed and is given by the variable GRIDCOMPUTE_STRESS_SEED: the plan follows from it alone, the run
from the plan and the computer's mood. With GRIDCOMPUTE_STRESS_STORIES=1 a good run, too, leaves what happened to every
case in ``stories.txt``.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from pymongo.errors import PyMongoError

from gridcompute.grid import cases
from gridcompute.machine.mongod import find_mongod
from tests.stress.plan import MACHINES, Fault, Plan, Submit, make_plan
from tests.stress.recorder import Recorder
from tests.support import processes
from tests.support.audit import Evidence, audit, story
from tests.support.chaos import Arena, set_clock
from tests.support.commands import agents
from tests.support.services import missing
from tests.support.waiting import wait_for

FAKETIME = (
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
)
frequency, dead = 0.5, 2.0  # seconds
scripts = Path(__file__).parent / "application"


@pytest.fixture
def wrong_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that sets the clock of the MongoDB servers started from now on."""
    library = next((path for path in FAKETIME if Path(path).exists()), None)
    if library is None:
        missing("libfaketime is not installed")
    folder, clock = tmp_path / "bin", tmp_path / "clock"
    folder.mkdir()
    set_clock(clock, 0)
    settings = f"FAKETIME_TIMESTAMP_FILE='{clock}' FAKETIME_NO_CACHE=1 DONT_FAKE_MONOTONIC=1"
    wrapper = folder / "mongod"
    wrapper.write_text(f"#!/bin/sh\nLD_PRELOAD={library} {settings} exec '{find_mongod()}' \"$@\"\n")
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return clock


@pytest.fixture
def open_arena(tmp_path, wrong_clock, own_mongod, make_proxy, make_grid) -> Iterator[Callable[[], tuple]]:
    """Makes the arena of three machines and two users, and the recorder of all that happens to its cases."""
    opened: list[Arena | Recorder] = []

    def make() -> tuple[Arena, Recorder]:
        server = own_mongod()
        proxy = make_proxy(server.address)
        texts = {path.name: path.read_text("utf-8") for path in scripts.glob("*.py")}
        # One application a user: a machine is benched only where the cases of two people fail.
        names = [f"Stress {user}" for user in sorted(set(MACHINES.values()))]
        lines = {"heartbeat_frequency": str(frequency), "heartbeat_dead": str(dead)}
        grid = make_grid(dict.fromkeys(names, texts), list(MACHINES), server=proxy.address, **lines)
        recorder = Recorder(server.url)
        recorder.start()
        opened.append(recorder)
        assert recorder.ready.wait(30), recorder.trouble
        arena = Arena(tmp_path, grid, server, proxy, wrong_clock, start, lease=dead)
        opened.append(arena)
        arena.open(MACHINES)
        return arena, recorder

    with agents(tmp_path) as start:
        yield make
        for one in reversed(opened):
            one.close() if isinstance(one, Arena) else one.stop()


@pytest.mark.timeout(400)
def test_every_invariant_holds_after_a_storm_of_faults(open_arena, capsys):
    run(make_plan(seed(), cases=150, calls=8, seconds=24.0, faults=28), *open_arena(), capsys)


@pytest.mark.long
@pytest.mark.timeout(3000)
def test_every_invariant_holds_after_a_long_storm(open_arena, capsys):
    run(make_plan(seed(), cases=1200, calls=50, seconds=420.0, faults=320), *open_arena(), capsys)


def seed() -> int:
    """One plan for every ordinary run; ``GRIDCOMPUTE_STRESS_SEED=random`` draws another, a number repeats one."""
    given = os.environ.get("GRIDCOMPUTE_STRESS_SEED", "1")
    return random.SystemRandom().randrange(1_000_000) if given == "random" else int(given)


def run(plan: Plan, arena: Arena, recorder: Recorder, capsys: pytest.CaptureFixture[str]) -> None:
    """Carry out a plan, let the grid come to rest, and audit it."""
    with capsys.disabled():
        print(f" GRIDCOMPUTE_STRESS_SEED={plan.seed}", end=" ", flush=True)
    moments = [time.monotonic()]
    left_out = storm(plan, arena)
    moments.append(time.monotonic())
    arena.calm()
    wait_for(lambda: at_rest(arena), 240, lambda: not_at_rest(arena, recorder))
    moments.append(time.monotonic())
    arena.quit_all()
    arena.sweep()
    moments.append(time.monotonic())
    evidence = gather(arena, recorder)
    told = summary(plan, evidence, arena, left_out, moments)
    print(told)
    (arena.folder.parent / "summary.txt").write_text(told)
    assert not arena.kept.complaints, "\n".join(arena.kept.complaints)
    if os.environ.get("GRIDCOMPUTE_STRESS_STORIES"):
        write_stories(evidence, arena.folder / "stories.txt")
    assert arena.kept.looks > 3, "the archives were hardly ever looked at"
    try:
        audit(evidence)
    except AssertionError as exc:
        place = write_stories(evidence, arena.folder / "stories.txt")
        raise AssertionError(f"GRIDCOMPUTE_STRESS_SEED={plan.seed}\n{told}\n{exc}\nAll cases: {place}") from None


def storm(plan: Plan, arena: Arena) -> list[str]:
    """Submit and disturb, each at its moment, or soon after it if nobody can be hit then; the faults left out."""
    coming = sorted([*plan.submits, *plan.faults], key=lambda one: one.at)
    waiting: list[Fault] = []
    begin = next_try = time.monotonic()
    while coming or (waiting and time.monotonic() - begin < plan.seconds + 12.0):
        arena.turn()
        if time.monotonic() >= next_try:
            next_try = time.monotonic() + 0.5
            waiting = [one for one in waiting if not arena.do(one.kind, one.machine, one.seconds, one.choice)]
        while coming and time.monotonic() - begin >= coming[0].at:
            one = coming.pop(0)
            if isinstance(one, Submit):
                arena.submit(one.machine, one.cases, one.killed_after)
            elif not arena.do(one.kind, one.machine, one.seconds, one.choice):
                waiting.append(one)
        time.sleep(0.02)
    return [one.kind for one in waiting]


def at_rest(arena: Arena) -> bool:
    """Whether all cases have ended and what is to be removed is removed."""
    arena.turn()
    return not open_cases(arena)


def open_cases(arena: Arena) -> list[dict]:
    try:
        return [one for one in arena.documents() if not ended(one)]
    except PyMongoError as exc:
        return [{"_id": "", "status": f"the database does not answer: {exc}"}]


def ended(document: dict) -> bool:
    return cases.kind(document["status"]) in (cases.ERROR, cases.CANCELLED) or document["files"] == "removed"


def not_at_rest(arena: Arena, recorder: Recorder) -> str:
    evidence = Evidence(histories=recorder.histories, ledger=arena.ledger(), faults=arena.kept.faults)
    left = open_cases(arena)
    told = "\n".join("\n  ".join([brief(one), *story(str(one["_id"]), evidence)]) for one in left[:3])
    agents = "\n".join(f"{one.name}: {one.agent.text[-1500:]}" for one in arena.machines.values())
    return f"no-lost-case does not hold: {len(left)} cases come to no end:\n{told}\n{agents}\n"


def brief(document: dict) -> str:
    return str({key: value for key, value in document.items() if key not in ("input", "error", "processors")})


def gather(arena: Arena, recorder: Recorder) -> Evidence:
    """All that is known at the end, when nothing runs any more."""
    documents = arena.documents()  # without the output, which is long and read by nobody here

    def heard() -> bool:
        return all(_last(recorder, str(one["_id"])) == {**one, "output": None} for one in documents)

    for _ in range(100):
        if heard():
            break
        time.sleep(0.1)
    recorder.stop()
    kept, folder = arena.kept, arena.folder
    named = {str(one["_id"]) for one in documents if one["files"] != "removed"}
    return Evidence(
        documents=[{**one, "output": None} for one in documents],
        histories={
            case: [type(change)(change.at, change.document and {**change.document, "output": None}) for change in one]
            for case, one in recorder.histories.items()
        },
        calls=kept.calls,
        ledger=arena.ledger(),
        faults=kept.faults,
        orders=kept.orders,
        archives=set(arena.grid.archives()),
        work={
            path: case
            for path, case in arena.left_in_homes()
            if not (case in named and path.endswith(".marks")) and "application-" not in path
        },
        missing_archives=kept.missing_archives,
        input_hashes={path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (folder / "in").iterdir()},
        received={path.stem: content_of(path, folder) for path in (folder / "received").glob("*.out")},
        survivors=survivors(arena),
        logs=arena.logs(),
        period=frequency,
    )


def _last(recorder: Recorder, case: str) -> dict:
    history = recorder.histories.get(case)
    return {**(history[-1].document or {}), "output": None} if history else {}


def content_of(path: Path, folder: Path) -> dict:
    """What process.py wrote at the beginning of a result; `whole`: the rest derives from the input too."""
    head, _, body = path.read_bytes().partition(b"\n")
    content = json.loads(head)
    source = (folder / "in" / content["name"]).read_bytes()
    content["whole"] = body == hashlib.shake_256(source).digest(json.loads(source)["bytes"])
    return content


def survivors(arena: Arena) -> list[str]:
    """Processes that the run has started and that run now, the server apart."""
    mine = os.environ[processes.marker]

    def left() -> list[str]:
        found = []
        for process in psutil.process_iter():
            try:
                if process.pid in arena.mongod.process_ids or process.pid == os.getpid():
                    continue
                if process.environ().get(processes.marker) == mine and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(f"{process.pid}: {' '.join(process.cmdline())}")
            except (psutil.Error, OSError):
                continue
        return found

    for _ in range(50):
        if not left():
            return []
        time.sleep(0.1)
    return left()


def write_stories(evidence: Evidence, place: Path) -> Path:
    """All that happened to every case, for whoever looks for the cause."""
    told = ("\n  ".join([f"case {case}", *story(case, evidence)]) for case in evidence.histories)
    place.write_text("\n".join(told), encoding="utf-8")
    return place


def summary(plan: Plan, evidence: Evidence, arena: Arena, left_out: list[str], moments: list[float]) -> str:
    """The run in a few lines: what was done, how the cases ended, how long it took."""
    ends = Counter(cases.kind(document["status"]) for document in evidence.documents)
    faults = Counter(fault.kind for fault in evidence.faults)
    orders = Counter(order.what for order in evidence.orders)
    storm, rest, end = (round(later - earlier) for earlier, later in itertools.pairwise(moments))
    return (
        f"seed {plan.seed}: {len(evidence.documents)} of {plan.cases} cases: {dict(ends)}\n"
        f"faults {dict(faults)}; left out {left_out}; orders {dict(orders)}; looked {arena.kept.looks} times\n"
        f"{storm} s of storm, {rest} s until all was at rest, {end} s to quit and sweep"
    )
