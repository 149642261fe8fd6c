"""The environments that this machine's applications need, made beside the daemon's loop, one thread each."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from gridcompute import clock, events
from gridcompute.errors import EnvironmentMissing
from gridcompute.machine import environments
from gridcompute.machine.environments import Environment, Head

log = logging.getLogger(__name__)

retry_time = 600.0
"""Seconds after which an environment that could not be made is tried again."""


class Environments:
    """Knows for each application whether its environment is there, and has missing ones made.

    `tell` gives an event to the face, `changed` is called when one was made; both from other threads too.
    """

    def __init__(self, home: Path, tell: Callable[[events.Event], None], changed: Callable[[], None]):
        self._home, self._tell, self._changed = home, tell, changed
        self._lock = threading.Lock()
        self._wanted: dict[str, Environment] = {}
        self._ready: dict[Path, str] = {}
        self._busy: set[Path] = set()
        self._retry: dict[Path, float] = {}  # monotonic moment
        self._said: dict[str, str] = {}  # application -> what is wrong with its head
        self._tidied: set[Path] = set()
        self._awaited: set[Path] = set()  # asked for anew, as soon as no case runs in it

    def want(self, heads: Mapping[str, Head | str], running: Collection[str] = ()) -> None:
        """The applications with a head, as the share has them now; a text says what is wrong with one's head.

        `running` are those of which a case runs: what it runs in is not removed below it.
        """
        for application, said in heads.items():
            if isinstance(said, str) and self._said.get(application) != said:
                self._warn(said)
        with self._lock:
            before = (self._said, self._wanted)
            self._said = {name: said for name, said in heads.items() if isinstance(said, str)}
            self._wanted = {
                name: Environment.of(name, head, self._home) for name, head in heads.items() if isinstance(head, Head)
            }
            for one in self._wanted.values():
                if one.folder not in self._busy:
                    self._see_to(one, one.application in running)
            changed = (self._said, self._wanted) != before
        if changed:
            self._tell(events.environments_changed())

    def _see_to(self, one: Environment, runs: bool) -> None:
        """Have it made where it is due; what is earlier or asked for anew waits for the cases that run in it."""
        asked = one.asked_anew
        self._awaited.discard(one.folder)
        if asked and runs:
            self._awaited.add(one.folder)  # no case begins in it
            return
        if asked:
            self._ready.pop(one.folder, None)
        if one.folder in self._ready:
            if not runs and one.folder not in self._tidied:
                self._tidied.add(one.folder)
                one.remove_earlier()
        elif asked or clock.monotonic() >= self._retry.get(one.folder, 0.0):
            self._busy.add(one.folder)
            threading.Thread(target=self._make, args=(one,), name="environment", daemon=True).start()

    def ready(self, application: str) -> bool:
        """Whether cases of the application may run here: it needs no environment, or has it."""
        with self._lock:
            one = self._wanted.get(application)
            if application in self._said:
                return False
            return one is None or (one.folder in self._ready and one.folder not in self._awaited)

    def failed(self) -> set[str]:
        """The applications whose environment can't be made now; those that are being made are none of them."""
        with self._lock:
            now = clock.monotonic()
            failing = {name for name, one in self._wanted.items() if now < self._retry.get(one.folder, 0.0)}
            return failing | set(self._said)

    def python(self, application: str) -> str | None:
        """The Python that runs its process.py; None for our own. A case that begins there is a use of it."""
        with self._lock:
            one = self._wanted.get(application)
            if one is None or one.folder not in self._ready:
                return None
            one.note_use()
            return self._ready[one.folder]

    def close(self) -> None:
        """End what is being made."""
        environments.stop_making()

    def _make(self, one: Environment) -> None:
        try:
            if one.made is None or one.asked_anew:
                self._tell(events.environments_changed())
                log.info("The environment of the application '%s' is being made in %s.", one.application, one.folder)
                self._tell(
                    events.info(
                        f"The environment of '{one.application}' is being made; its cases wait until it is there."
                    )
                )
                one.make()
                self._tell(events.info(f"The environment of '{one.application}' is there."))
            with self._lock:
                self._ready[one.folder] = str(one.python)
                self._retry.pop(one.folder, None)
        except EnvironmentMissing as exc:
            with self._lock:
                self._retry[one.folder] = clock.monotonic() + retry_time
            self._warn(str(exc))
        except Exception as exc:
            log.exception("The environment of '%s' could not be made", one.application)
            with self._lock:
                self._retry[one.folder] = clock.monotonic() + retry_time
            self._tell(events.warning(f"The environment of '{one.application}' could not be made: {exc}."))
        finally:
            with self._lock:
                self._busy.discard(one.folder)
            self._tell(events.environments_changed())
            self._changed()

    def _warn(self, message: str) -> None:
        log.warning("%s", message)
        self._tell(events.warning(message))
