"""What the window shows, worked out from events; the views only draw it. No Tk here.

`State.handle` takes one event of `gridcompute.events`. What needs a person or a window (a question, the exit) is left
in `asks`, which the window takes. An event of an unknown type is logged and changes nothing.
"""

from __future__ import annotations

import itertools
import logging
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from gridcompute import clock, config
from gridcompute.gui import columns, texts
from gridcompute.gui.rows import Row, Rows
from gridcompute.machine import environments
from gridcompute.machine.environments import Found

log = logging.getLogger(__name__)

log_lines_kept = 2000

news_gathering, news_pause = 1.0, 60.0
"""Seconds that news wait for others that come with them, and between two notifications at least."""

READY, SENDING, SUBMITTED, FAILED = "ready", "submitting", "submitted", "failed"


@dataclass
class Progress:
    """The progress window: `maximum` 0 while the end is not known."""

    text: str
    maximum: float = 0.0
    value: float = 0.0
    unit: str = ""
    note: str = ""  # what is done at this moment

    @property
    def detail(self) -> str:
        if not self.maximum:
            return self.note
        if self.unit == "B":
            level = f"{texts.size(self.value)} of {texts.size(self.maximum)}"
        else:
            level = f"{self.value:,.0f} of {self.maximum:,.0f} {self.unit}".rstrip()
        return f"{level}  ·  {texts.short(self.note, 40)}" if self.note else level


@dataclass
class Trouble:
    """A named state of the grid that a banner tells."""

    message: str
    since: datetime


@dataclass
class Line:
    """One line of the log pane."""

    when: datetime
    level: str  # info, warning or error
    text: str


@dataclass
class News:
    """What happened to my cases while nobody looked."""

    received: int = 0
    failed: int = 0

    def __bool__(self) -> bool:
        return bool(self.received or self.failed)

    def words(self) -> str:
        parts = []
        if self.received:
            parts.append(f"{texts.number(self.received, 'case')} came back")
        if self.failed:
            parts.append(f"{self.failed:,} failed")
        return ", ".join(parts)


@dataclass
class GridView:
    """What the tab *Grid* shows."""

    machines: Rows = field(default_factory=lambda: Rows(columns.MACHINES, kind=lambda row: row["kind"], sort="machine"))
    queue: Rows = field(default_factory=lambda: Rows(columns.QUEUE, sort="application"))
    history: list[dict[str, Any]] = field(default_factory=list)  # machine, hour (aware datetime), number
    hours: int = 12
    now: datetime | None = None  # the server's moment of the last look
    read: bool = False
    version: int = 0

    def take(self, look: dict[str, Any]) -> None:
        """What `Server.look_at_grid` read."""
        self.machines.replace(
            {
                "id": f"{one['machine']}\n{one['user']}",
                "kind": "gone" if one["age"] is None or one["age"] > 150 else "late" if one["age"] > 60 else "here",
                **one,
            }
            for one in look["machines"]
        )
        self.queue.replace(
            {
                "id": application,
                "application": application,
                "waiting": counts.get("to process", 0),
                "processing": counts.get("processing", 0),
                "processed": counts.get("processed", 0),
                "failed": counts.get("error", 0),
            }
            for application, counts in look["queue"].items()
        )
        self.history, self.now, self.read = look["history"], look["now"], True
        self.version += 1

    def clear(self) -> None:
        self.machines.clear()
        self.queue.clear()
        self.history, self.now, self.read = [], None, False
        self.version += 1

    @property
    def summary(self) -> str:
        """One line over the list."""
        if not self.read:
            return "Reading the grid …"
        here = [row for row in self.machines.values() if row["kind"] != "gone"]
        offered, busy = sum(row["offered"] for row in here), sum(row["busy"] for row in here)
        processes = texts.number(offered, "process", "processes")
        return f"{texts.number(len(here), 'machine')} here, {processes} offered, {busy:,} busy"


class State:
    """All that the window shows. Only the main thread touches it."""

    def __init__(self, machine: str = "", user: str = ""):
        self.machine, self.user = machine, user
        self.phase = "starting"
        """starting, choosing (a grid, the first or another one), connecting, ready, closing."""
        self.connected = False
        """Whether the grid that is named has answered since it was chosen."""
        self.grid_name = self.grid_path = ""
        self.applications: dict[str, str] = {}
        """Applications that can be submitted to, with their descriptions."""
        self.allowed: list[str] = []
        """Applications that this machine may process."""
        self.chosen_application = ""
        self.sends = Rows(columns.SEND, kind=lambda row: row["kind"])
        self.my_cases = Rows(columns.MY_CASES, kind=lambda row: texts.kind(row["status"]))
        self.processes = Rows(columns.PROCESSES, kind=lambda row: row["status"])
        self.grid = GridView()
        self.environments = Rows(columns.ENVIRONMENTS, kind=lambda row: row["state"])
        self.environments_stale = True
        """Something happened to an environment since they were read."""
        self.log: deque[Line] = deque(maxlen=log_lines_kept)
        self.logged = 0
        """How many lines were ever logged."""
        self.notice: Line | None = None
        """The last warning or error, shown until it is dismissed."""
        self.troubles: dict[tuple[str, str], Trouble] = {}
        self.progress: Progress | None = None
        self.asks: list[tuple[Any, ...]] = []
        self.news = News()
        self._untold = False
        self._tell_at: float | None = None
        self._told_until = float("-inf")
        self.in_front = True
        self.lent = 0
        self.resting = ""
        """Why the lending rules let nothing be taken now; empty while they do."""
        self.softgrid = ""
        """How many of the lent processes work for a softgrid, in words; empty while none does."""
        self.to_process = self.to_receive = self.unreceived = 0
        self.refreshed: datetime | None = None
        self.refresh_state = "not read yet"
        self.stale = False
        """Something changed in the database since the last look."""
        self._submitting: list[str] = []
        self._numbers = itertools.count(1)
        self._handlers = {
            "log_file_only": self._log_file_only,
            "warning": lambda event: self.say("warning", event["message"]),
            "info": self._info,
            "error": lambda event: self.say("error", event["message"]),
            "critical": self._critical,
            "change progress max": self._progress_max,
            "change progress": self._progress,
            "close progress": self._close_progress,
            "add case": self._add_case,
            "submitted case": self._submitted_case,
            "terminate process?": lambda event: self.asks.append(("terminate", event["count"])),
            "add my case": lambda event: self.my_cases.put(dict(event["case"])),
            "add my process": self._add_process,
            "remove my process": self._remove_process,
            "change my process": self._change_process,
            "populate": lambda event: self.asks.append(("populate",)),
            "exit": lambda event: self.asks.append(("exit",)),
            "state": self._named_state,
            "case received": self._case_received,
            "case failed": self._case_failed,
            "activity": self._nothing,
            "left to others": self._nothing,  # said by warnings
            "daemon ended": self._daemon_ended,
            "cases changed": self._cases_changed,
            "environments changed": self._environments_changed,
        }

    # Events.

    def handle(self, event: dict[str, Any]) -> None:
        """Take one event; never raises for what an event may hold."""
        handler = self._handlers.get(str(event.get("type")))
        if handler is None:
            log.info("An event of the unknown type %r is left aside.", event.get("type"))
            return
        try:
            handler(event)
        except (KeyError, TypeError, ValueError, AttributeError):
            log.exception("An event of the type %r can't be used", event.get("type"))

    def _nothing(self, event: dict[str, Any]) -> None:
        pass

    def _log_file_only(self, event: dict[str, Any]) -> None:
        log.debug("%s", event["message"])  # the Server wrote it to the log file

    def _info(self, event: dict[str, Any]) -> None:
        self.say("info", event["message"])
        if event.get("box"):
            self.asks.append(("box", event["message"]))

    def _critical(self, event: dict[str, Any]) -> None:
        self.say("error", event["message"])
        self.asks.append(("critical", event["message"]))

    def say(self, level: str, text: str) -> None:
        """A line for the log pane; a warning or error is a notice in the window too."""
        line = Line(datetime.now(timezone.utc), level, text)
        self.log.append(line)
        self.logged += 1
        if level != "info":
            self.notice = line

    def _progress_max(self, event: dict[str, Any]) -> None:
        if self.progress is not None:
            self.progress.maximum, self.progress.unit = event["maximum"], event.get("unit", "")

    def _progress(self, event: dict[str, Any]) -> None:
        if self.progress is not None:
            self.progress.value, self.progress.note = event["value"], event.get("text", "")

    def _close_progress(self, event: dict[str, Any]) -> None:
        self.progress = None

    def _daemon_ended(self, event: dict[str, Any]) -> None:
        self.leave_trouble(event["daemon"])  # the one that comes after it tells its own
        if event["daemon"] == "process":
            self.processes.clear()
            self.resting = self.softgrid = ""
        if not event["expected"]:
            self.say("warning", f"The {event['daemon']} daemon ended unasked and is started again; the log tells more.")

    def _cases_changed(self, event: dict[str, Any]) -> None:
        self.stale = True

    def _environments_changed(self, event: dict[str, Any]) -> None:
        self.environments_stale = True

    def leave_grid(self) -> None:
        """Forget what was told of a grid that is left for another one; the cases to submit stay."""
        self.connected = False
        self.troubles.clear()
        self.processes.clear()
        self.my_cases.clear()
        self.grid.clear()
        self.resting = self.softgrid = ""
        self.to_process = self.to_receive = self.unreceived = 0
        self.refreshed, self.refresh_state = None, "not read yet"

    def quit_question(self, serves: bool = False) -> str:
        """What is asked before the window closes, empty for nothing; `serves`: it runs the database of a team."""
        parts = []
        if len(self.processes):
            parts.append(f"{texts.number(len(self.processes), 'case')} of the grid running on this computer")
        if self.of_kind(SENDING):
            parts.append("a submission")
        if serves:
            parts.append("the database of the grid, which this computer serves")
        unsent = len(self.of_kind(SENDING, READY))
        lost = f"{texts.number(unsent, 'case')} of the list {'is' if unsent == 1 else 'are'} not submitted yet, and"
        if not parts:
            return f"Quit? {lost} the list is not kept." if unsent else ""
        back = "Unfinished cases go back to the grid"
        return f"Quit and end {' and '.join(parts)}? " + (
            f"{back}. {lost} the list is not kept." if unsent else f"{back}, nothing is lost."
        )

    # Sending.

    def _add_case(self, event: dict[str, Any]) -> None:
        row_id = f"send-{next(self._numbers)}"
        self.sends.put(
            {
                "id": row_id,
                "files": list(event["files"]),
                "application": event["application"],
                "size": event.get("size", 0),
                "source": event.get("source", ""),
                "state": "ready to submit",
                "kind": READY,
            }
        )

    def add_failed(self, application: str, source: str, message: str) -> None:
        """A file of which no case could be made stands in the list with the reason."""
        self.sends.put(
            {
                "id": f"send-{next(self._numbers)}",
                "files": [source],
                "application": application,
                "size": 0,
                "source": source,
                "state": message,
                "kind": FAILED,
            }
        )

    def of_kind(self, *kinds: str) -> list[Row]:
        return [row for row in self.sends.values() if row["kind"] in kinds]

    def begin_submit(self, application: str) -> list[list[str]]:
        """Mark the ready cases of an application as being submitted; their files, in order."""
        rows = [row for row in self.of_kind(READY) if row["application"] == application]
        self._submitting = [row["id"] for row in rows]
        for row in rows:
            self.sends.change(row["id"], kind=SENDING, state="being submitted …")
        return [row["files"] for row in rows]

    def _submitted_case(self, event: dict[str, Any]) -> None:
        index = event["index"]
        if 0 <= index < len(self._submitting):
            self.sends.change(self._submitting[index], kind=SUBMITTED, state="submitted", case=event["id"])

    def end_submit(self, errors: Iterable[tuple[int, Exception]], *, stopped: bool) -> int:
        """What became of the cases: errors on their rows, the others ready again; returns the number submitted."""
        for index, error in errors:
            if 0 <= index < len(self._submitting):
                self.sends.change(self._submitting[index], kind=READY, state=f"not submitted: {error}")
        for row in self.of_kind(SENDING):
            self.sends.change(row["id"], kind=READY, state="stopped, ready to submit" if stopped else "ready to submit")
        done = {row["id"] for row in self.of_kind(SUBMITTED)} & set(self._submitting)
        self._submitting = []
        return len(done)

    def remove_sends(self, ids: Sequence[str]) -> None:
        """Take cases off the list; those that are just being submitted stay."""
        self.sends.remove(*(one for one in ids if (row := self.sends.get(one)) and row["kind"] != SENDING))

    # My cases.

    def take_look(self, look: dict[str, Any]) -> None:
        """What `Server.look` read; cases that turned into errors since are news."""
        self.leave_trouble("look")
        before = {row["id"]: texts.kind(row["status"]) for row in self.my_cases.values()} if self.refreshed else None
        self.my_cases.replace(look["rows"])
        self.unreceived = sum(row["status"] != "received" for row in look["rows"])
        self.to_process, self.to_receive = look["to_process"], look["to_receive"]
        self.refreshed, self.refresh_state = datetime.now(timezone.utc), "up to date"
        if before is not None:
            for row in look["rows"]:
                if texts.kind(row["status"]) == "error" and before.get(row["id"]) not in (None, "error"):
                    self._failed(row["application"], row["status"])

    def look_failed(self, message: str, *, away: bool = False) -> None:
        """A look that the database did not answer (`away`) is a trouble, said once, until one succeeds."""
        self.refresh_state = f"could not be read: {texts.first_sentence(message, 90)}"
        if away:
            self.enter_trouble("look", "database away", message)
        else:
            self.leave_trouble("look")

    def _case_received(self, event: dict[str, Any]) -> None:
        self.say("info", f"A case of {event['application']} came back: its results are received.")
        self.stale = True
        if not self.in_front:
            self.news.received += 1
            self._untold = True

    def _case_failed(self, event: dict[str, Any]) -> None:
        self.stale = True
        self._failed(event["application"], event["message"])

    def _failed(self, application: str, message: str) -> None:
        self.say("warning", f"A case of {application} failed: {message.removeprefix('error: ')}")
        if not self.in_front:
            self.news.failed += 1
            self._untold = True

    def come_to_front(self) -> None:
        """A person looks at the window: there is no news any more."""
        self.in_front, self.news = True, News()
        self._untold, self._tell_at, self._told_until = False, None, float("-inf")

    def news_to_tell(self, now: float) -> str:
        """The words of a notification that is due at `now`, empty for none: many cases that come back make few."""
        if not self._untold:
            return ""
        if self._tell_at is None:
            self._tell_at = max(now + news_gathering, self._told_until)
        if now < self._tell_at:
            return ""
        self._untold, self._tell_at, self._told_until = False, None, now + news_pause
        return self.news.words()

    @property
    def title(self) -> str:
        """Begins with the program's name; tells the news."""
        return f"{config.title_windows} - ● {self.news.words()}" if self.news else config.title_windows

    # My processes.

    def _add_process(self, event: dict[str, Any]) -> None:
        row = dict(event["process"])
        row.setdefault("started", datetime.now(timezone.utc))
        row["since"] = clock.monotonic()
        self.processes.put(row)

    def _remove_process(self, event: dict[str, Any]) -> None:
        row = self.processes.get(event["id"])
        if row is not None:
            self.say("info", f"A case of {row['application']} for {row['origin']} ended here: {event['outcome']}.")
        self.processes.remove(event["id"])

    def _change_process(self, event: dict[str, Any]) -> None:
        changes = dict(event["changes"])
        if "fraction" in changes or "text" in changes:
            changes["progress"] = {"fraction": changes.pop("fraction", 0.0), "text": changes.pop("text", "")}
            if (self.processes.get(event["id"]) or {}).get("status") in ("fetch", "unpack"):
                changes["status"] = "run"  # stages that pass in a moment are not told; who reports progress runs
        self.processes.change(event["id"], **changes)

    @property
    def lending(self) -> str:
        """What the lending comes to now: the line below the number."""
        running = len(self.processes)
        paused = sum(row["status"] == "paused" for row in self.processes.values())
        if self.phase != "ready":
            return "Not connected yet."
        if self.resting:
            return f"Nothing is taken: {self.resting}"
        if self.lent == 0:
            return f"{texts.number(running, 'case')} paused." if running else "Raise the number to lend processes."
        for (daemon, name), _ in self.troubles.items():
            if daemon == "process":
                return f"Nothing is taken: {name}."
        if not self.allowed:
            return "Nothing is taken: the grid lists no application for this machine."
        words = f"{running - paused} of {self.lent} at work" if running else "Waiting for cases"
        making = self.environments_of(environments.MAKING)
        words += f", the environment of {making[0]} is being made" if making else ""
        words += f", {paused} paused" if paused else ""
        return words + (f", {self.softgrid}." if self.softgrid else ".")

    def take_environments(self, found: Iterable[Found]) -> None:
        """What `Server.environments` read."""
        self.environments.replace(
            {
                "id": str(one.folder or one.application),
                "application": one.application,
                "state": one.state,
                "words": "made anew soon" if one.asked_anew and one.state != environments.MAKING else one.state,
                "anew": one.asked_anew and one.state != environments.MAKING,
                "message": one.message,
                "packages": one.packages,
                "python": one.python,
                "folder": one.folder,
                "size": one.size,
                "used": one.used,
            }
            for one in found
        )

    def environments_of(self, state: str) -> list[str]:
        """The applications whose environment is in a state of `gridcompute.machine.environments`."""
        return [row["application"] for row in self.environments.values() if row["state"] == state]

    def is_used(self, row: Row) -> bool:
        """Whether a case of an environment's application runs here."""
        return any(one["application"] == row["application"] for one in self.processes.values())

    # Troubles.

    def _named_state(self, event: dict[str, Any]) -> None:
        daemon, name, message = event["daemon"], event["name"], event["message"]
        if name == "resting":
            self.resting = message
        elif name == "softgrid":
            self.softgrid = message
        elif name == "ok":
            for key in [key for key in self.troubles if key[0] == daemon]:
                del self.troubles[key]
            self.say("info", message)
            self.stale = True
        elif event["over"]:
            self.troubles.pop((daemon, event["over"]), None)
            self.say("info", message)
        else:
            self.enter_trouble(daemon, name, message)

    def enter_trouble(self, source: str, name: str, message: str) -> None:
        """A named state began; said once, until it is left."""
        if (source, name) not in self.troubles:
            self.troubles[source, name] = Trouble(message, datetime.now(timezone.utc))
            self.log.append(Line(datetime.now(timezone.utc), "warning", message))
            self.logged += 1

    def leave_trouble(self, source: str) -> None:
        for key in [key for key in self.troubles if key[0] == source]:
            del self.troubles[key]

    @property
    def banner(self) -> str:
        """The words of the banner: what is away and since when; empty while all is well."""
        if not self.troubles:
            return ""
        first: dict[str, Trouble] = {}
        for (_, name), trouble in self.troubles.items():
            if name not in first or trouble.since < first[name].since:
                first[name] = trouble
        words = {
            "database away": "The database can't be reached",
            "database refuses": "The database refuses what it is asked",
            "share away": "The shared folder can't be reached",
            "disk full": "A disk is full",
            "refused": "The database refuses this program",
        }
        parts = [f"{words.get(name, name)} since {texts.moment(trouble.since)}" for name, trouble in first.items()]
        reason = texts.first_sentence(next(iter(first.values())).message, 330)
        return f"{'; '.join(parts)}. The window goes on and tries again by itself.\n{reason}"
