"""What a machine may process: the applications, the table of machines, and the pins, at one look."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from gridcompute.errors import EnvironmentMissing, SettingsError, ShareAway
from gridcompute.grid import applications, pins, settings
from gridcompute.grid.applications import Application
from gridcompute.grid.pins import Pins
from gridcompute.grid.settings import ApplicationSettings
from gridcompute.grid.shared_folder import SharedFolder
from gridcompute.machine.environments import Head, head_of


@dataclass(frozen=True)
class Allowed:
    """What the share said this machine may process, at one look."""

    applications: dict[str, Application] = field(default_factory=dict)
    shared: frozenset[str] = frozenset()  # applications that another machine may process too
    listed: bool = False  # the CSV names this machine
    pins: Pins = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)  # application -> why its code is not run
    heads: dict[str, Head | str] = field(default_factory=dict)  # of applications with needs of their own
    said: dict[str, ApplicationSettings | str] = field(default_factory=dict)  # application.txt, or why it is no use

    @cached_property
    def needs(self) -> dict[str, int]:
        """Application -> processes for one case, of those that want several."""
        known = ((name, one.processes) for name, one in self.said.items() if isinstance(one, ApplicationSettings))
        return {name: number for name, number in known if number > 1}


def look_at_share(share: SharedFolder, pinned: Pins, machine: str) -> Allowed:
    """What the share and the administrator's pins let `machine` process now.

    Raises ShareAway, and SettingsError for a table that can't be read.
    """
    table = share.read_software()
    mine = settings.software_of(table, machine)
    scan = applications.scan(share.applications_path)
    allowed = {name: one for name, one in scan.applications.items() if one.process and name in (mine or ())}
    others = frozenset(
        name for other, names in table.items() if other.casefold() != machine.casefold() for name in names
    )
    refused = {name: why for name, one in allowed.items() if (why := _refusal(one, pinned))}
    allowed = {name: one for name, one in allowed.items() if name not in refused}
    heads = {name: head for name, one in allowed.items() if (head := _head_of(one)) is not None}
    return Allowed(allowed, others, mine is not None, pinned, refused, heads, _said_of(share, allowed))


def _head_of(application: Application) -> Head | str | None:
    """What process.py declares at its head, or what is wrong with it; None where it has none."""
    try:
        return head_of(application.path)
    except EnvironmentMissing as exc:
        return f"The application '{application.name}' can't be processed: {exc}"
    except OSError as exc:
        raise ShareAway(f"Cannot read the application in {application.path}: {exc}. It is waited for.") from exc


def _refusal(application: Application, pinned: Pins) -> str:
    try:
        return pins.refusal(application.name, application.path, pinned)
    except OSError as exc:
        raise ShareAway(f"Cannot read the application in {application.path}: {exc}. It is waited for.") from exc


def _said_of(share: SharedFolder, names: Iterable[str]) -> dict[str, ApplicationSettings | str]:
    said: dict[str, ApplicationSettings | str] = {}
    for name in names:
        try:
            said[name] = share.read_application_settings(name)
        except SettingsError as exc:  # each of its cases will tell
            said[name] = str(exc)
    return said
