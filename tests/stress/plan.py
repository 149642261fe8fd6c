"""What a stress run does, derived from its seed alone: the cases, their submits, the faults, and the moments of these.

A fault names its victim by fractions, since who is there to be hit depends on the run.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

MACHINES = {"PC-1": "alice", "PC-2": "bob", "PC-3": "alice"}
"""Machine -> the user of its agent, who also submits there."""

KINDS = (
    "kill agent",
    "kill front end",
    "kill process daemon",
    "kill receive daemon",
    "kill child",
    "kill child",
    "kill keeper",
    "kill helper",
    "kill mongod",
    "pause process daemon",
    "pause computer",
    "quit",
    "lose replies",
    "lose replies",
    "cut",
    "refuse",
    "black hole",
    "delay",
    "clock",
    "clock",
    "share away",
    "share away",
    "cancel",
    "cancel",
    "cancel",
    "cancel",
    "retry",
    "retry",
)
"""A deck of faults; as often as the deck fits into a run, each of them is done."""


@dataclass(frozen=True)
class Fault:
    at: float  # seconds after the first submit
    kind: str
    machine: str
    seconds: float  # how long it lasts, by the measure of its kind, 0 to 1
    choice: float  # which of those that are there, 0 to 1


@dataclass(frozen=True)
class Submit:
    at: float
    machine: str
    cases: tuple[dict[str, Any], ...]  # what the input files say
    killed_after: float | None = None  # seconds


@dataclass(frozen=True)
class Plan:
    seed: int
    submits: tuple[Submit, ...]
    faults: tuple[Fault, ...]
    seconds: float  # how long faults are made

    @property
    def cases(self) -> int:
        return sum(len(submit.cases) for submit in self.submits)


def make_plan(seed: int, *, cases: int, calls: int, seconds: float, faults: int) -> Plan:
    """A run of about `cases` cases in `calls` submits and `faults` faults within `seconds`."""
    chance = random.Random(seed)
    made = tuple(_submits(chance, cases, calls, seconds))
    return Plan(seed, made, tuple(_faults(chance, faults, seconds)), seconds)


def _submits(chance: random.Random, cases: int, calls: int, seconds: float) -> Iterator[Submit]:
    killed = set(chance.sample(range(1, calls), max(1, calls // 8)))
    for number in range(calls):
        orders = tuple(
            _case(chance, f"case-{number:03}-{index:03}.json")
            for index in range(cases * number // calls, cases * (number + 1) // calls)
        )
        yield Submit(
            at=0.0 if number < 2 else round(chance.uniform(0, seconds * 0.7), 2),
            machine=chance.choice(sorted(MACHINES)),
            cases=orders,
            killed_after=round(chance.uniform(0.3, 2.5), 2) if number in killed else None,
        )


def _case(chance: random.Random, name: str) -> dict[str, Any]:
    long = chance.random() < 0.15
    return {
        "name": name,
        "seconds": round(chance.uniform(2.0, 5.0) if long else chance.uniform(0.0, 0.3), 2),
        "failures": chance.choices((0, 1, 2, 3), (80, 12, 5, 3))[0],
        "how": chance.choice(("raise", "exit", "vanish", "kill")),
        "grandchild": chance.random() < 0.1,
        "bytes": chance.choice((0, 100, 10_000, 300_000)),
        "receive_seconds": round(chance.choice((0.0, 0.0, 0.05, 0.3)), 2),
        "receive_failures": chance.choices((0, 1, 3), (94, 5, 1))[0],
        "salt": chance.getrandbits(64),
    }


def _faults(chance: random.Random, number: int, seconds: float) -> Iterator[Fault]:
    deck: list[str] = []
    for step in range(number):
        if not deck:
            deck = list(KINDS)
            chance.shuffle(deck)
        yield Fault(
            at=round((step + chance.uniform(0.2, 1.2)) * seconds / number, 2),
            kind=deck.pop(),
            machine=chance.choice(sorted(MACHINES)),
            seconds=round(chance.random(), 3),
            choice=round(chance.random(), 6),
        )
