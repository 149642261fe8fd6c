"""Spans in which a machine makes room for a case that needs several processes, and spans for all others."""

from __future__ import annotations

from gridcompute.daemons.room import Room, first_span, patience


def spans(room: Room, head: str, until: float) -> list[tuple[bool, float]]:
    """Whether room is made, and since when, second by second."""
    found: list[tuple[bool, float]] = []
    now = 0.0
    while now < until:
        made = room.is_made({"large"}, lambda: head, now)
        if not found or found[-1][0] != made:
            found.append((made, now))
        now += 1.0
    return found


def test_spans_grow_and_others_run_as_long_in_between():
    one, two = first_span, 2 * first_span
    begins = [patience, patience + one, patience + 2 * one, patience + 2 * one + two, patience + 2 * one + 2 * two]
    assert spans(Room(), "large", 10 * first_span)[:6] == [
        (False, 0.0),
        (True, begins[0]),
        (False, begins[1]),
        (True, begins[2]),
        (False, begins[3]),
        (True, begins[4]),
    ]


def test_no_room_is_made_while_another_case_stands_first():
    assert spans(Room(), "small", 300.0) == [(False, 0.0)]


def test_the_wait_begins_anew_once_the_large_case_is_gone():
    room = Room()
    assert spans(room, "large", 8.0) == [(False, 0.0), (True, patience)]
    assert not room.is_made({"large"}, lambda: "small", 20.0)
    assert not room.is_made({"large"}, lambda: "large", 23.0)
    assert not room.is_made({"large"}, lambda: "large", 23.0 + patience - 1)
    assert room.is_made({"large"}, lambda: "large", 23.0 + patience + 1)


def test_nobody_is_asked_where_all_cases_fit():
    def head() -> str:
        raise AssertionError("a query too many")

    assert not Room().is_made([], head, 0.0)
