"""send.py of an application, run on a file: the cases that it makes of it."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gridcompute import clock, config
from gridcompute.daemons.outputs import tail_of
from gridcompute.errors import ApplicationError, ApplicationRefused
from gridcompute.grid.applications import Application
from gridcompute.grid.pins import Pins
from gridcompute.machine.home import Home
from gridcompute.machine.processes import Child, Children, describe_end, remove_tree

log = logging.getLogger(__name__)


class SendRunner:
    """Runs send.py in child processes: a script that hangs or kills itself harms nobody."""

    def __init__(self, home: Home):
        self._home = home
        self._heard = threading.Event()
        self._children: Children | None = None

    def run(self, application: Application, path: Path, pinned: Pins, is_wanted: Callable[[], bool]) -> list[list[str]]:
        """The cases that send.py of `application` makes of the file `path`: one list of files each.

        Raises ApplicationError for a script that fails, takes longer than `config.send_time_limit`, or is no longer
        wanted, and ApplicationRefused for one that is not as `pinned`.
        """
        if self._children is None:
            self._children = Children(work=self._home.work / "send", on_message=self._heard.set)
        job: dict[str, Any] = {"mode": "send", "application_path": str(application.path), "file": str(path)}
        if pinned:
            job["pinned"] = pinned.get(application.name)
        child = self._children.start(job)
        deadline = clock.monotonic() + config.send_time_limit
        outcome: dict[str, Any] = {}
        why = ""
        while True:
            self._heard.wait(0.2)
            self._heard.clear()
            for who, message in self._children.poll():
                if who is not child:
                    continue
                if message["kind"] == "outcome":
                    outcome = message
                elif message["kind"] == "ended":
                    return self._sent(application, path, child, outcome, message, why)
            if not why and (clock.monotonic() > deadline or not is_wanted()):
                why = "was stopped" if clock.monotonic() <= deadline else "took too long and was ended"
                child.end(0.5)

    def _sent(
        self,
        application: Application,
        path: Path,
        child: Child,
        outcome: dict[str, Any],
        ended: dict[str, Any],
        why: str,
    ) -> list[list[str]]:
        """What the end of the child means."""
        output, _ = tail_of(child.output_path)
        with contextlib.suppress(OSError):
            child.output_path.unlink(missing_ok=True)
            remove_tree(Path(child.job["work"]))
        if output:
            log.info("send.py of %s printed:\n%s", application.name, output)
        if outcome.get("outcome") == "done":
            return [list(files) for files in outcome["cases"]]
        if outcome.get("outcome") == "refused":
            raise ApplicationRefused(outcome["message"])
        message = outcome.get("message") or f"its process ended: {describe_end(ended.get('exit'), ended.get('signal'))}"
        # An exception is how scripts refuse a file too; whether it is that or a mistake of theirs, only its words tell.
        file_first = "If the file is at fault, correct it, otherwise its" if " failed with " in message else "Its"
        raise ApplicationError(
            f"The application '{application.name}' could not make cases of {path}: {(why or message).rstrip('.')}. "
            f"{file_first} author corrects send.py; the log has what it said: {self._home.log_path}",
            traceback=outcome.get("traceback", ""),
            output=output,
        )

    def close(self) -> None:
        """End what still runs; may be called twice, and scripts may be run again."""
        if self._children is not None:
            self._children.close()
            self._children = None
