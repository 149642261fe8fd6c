"""Every documented event has its function, its keys and its line in docs/events.md."""

from __future__ import annotations

import inspect
import json
import queue
import re
from pathlib import Path

import pytest

from gridcompute import events
from gridcompute.machine.home import Home
from gridcompute.server import Server

documented = {
    "log_file_only": (events.log_file_only("m"), {"message"}),
    "warning": (events.warning("m"), {"message"}),
    "info": (events.info("m"), {"message", "box"}),
    "error": (events.error("m"), {"message", "details"}),
    "critical": (events.critical("m"), {"message", "details"}),
    "change progress max": (events.change_progress_max(10), {"maximum", "unit"}),
    "change progress": (events.change_progress(3), {"value", "text"}),
    "close progress": (events.close_progress(), set()),
    "add case": (events.add_case("A", ["a.inp"]), {"application", "files", "source", "size"}),
    "submitted case": (events.submitted_case(0, "id"), {"index", "id"}),
    "terminate process?": (events.terminate_process(2), {"count"}),
    "add my case": (events.add_my_case({"id": "id"}), {"case"}),
    "add my process": (events.add_my_process({"id": "id"}), {"process"}),
    "remove my process": (events.remove_my_process("id", "done"), {"id", "outcome"}),
    "change my process": (events.change_my_process("id", status="paused"), {"id", "changes"}),
    "populate": (events.populate(), set()),
    "exit": (events.exit_(), set()),
}
"""Chapter 1.5.3, `handle_next_event`: each type, what its function makes, and the keys that a reader finds."""

ours = {
    "state": (events.state("process", "ok", "m"), {"daemon", "name", "message", "over"}),
    "case received": (events.case_received("id", "A"), {"id", "application"}),
    "case failed": (events.case_failed("id", "A", "m"), {"id", "application", "message"}),
    "left to others": (events.left_to_others(["Copy"]), {"applications"}),
    "activity": (events.activity("process", running=1, waiting=0), {"daemon", "running", "waiting", "claimed"}),
    "cases changed": (events.cases_changed(), set()),
    "environments changed": (events.environments_changed(), set()),
    "daemon ended": (events.daemon_ended("process", True), {"daemon", "expected"}),
}

page = Path(__file__).parents[2] / "docs" / "events.md"


def functions() -> set[str]:
    return {
        name
        for name, member in inspect.getmembers(events, inspect.isfunction)
        if not name.startswith("_") and member.__module__ == events.__name__
    }


@pytest.mark.parametrize("kind", documented | ours)
def test_an_event_has_its_type_and_its_keys(kind):
    event, keys = (documented | ours)[kind]
    assert event["type"] == kind
    assert keys <= event.keys() - {"type"}


def test_events_are_plain_values():
    """They cross from process to process; whoever keeps one must not see it change."""
    files = ["a.inp"]
    event = events.add_case("A", files)
    files.append("b.inp")

    assert event["files"] == ["a.inp"]
    for made, _ in (documented | ours).values():
        assert json.loads(json.dumps(made)) == made


def test_every_function_makes_one_event_and_each_says_what_it_tells():
    assert len(functions()) >= len(documented | ours)
    for name in functions():
        assert inspect.signature(getattr(events, name)).return_annotation == "Event", name


def test_the_page_has_every_type_with_its_keys():
    rows = dict(re.findall(r"^\| `([^`]+)` \| ([^|]*) \|", page.read_text(encoding="utf-8"), re.MULTILINE))
    for kind, (_, keys) in (documented | ours).items():
        assert set(re.findall(r"`(\w+)`", rows[kind])) >= keys, f"docs/events.md tells other keys of '{kind}'"


def test_a_reader_passes_on_what_it_does_not_know(tmp_path):
    """A newer daemon may say more than this program understands, in type or in keys."""
    heard: queue.Queue[events.Event] = queue.Queue()
    server = Server(heard, home=Home(tmp_path))
    told = [{"type": "a type of next year", "x": 1}, {**events.warning("m"), "colour": "red"}, {"no": "type"}]

    for event in told:
        server.hear(event)

    assert [heard.get_nowait() for _ in told] == told
