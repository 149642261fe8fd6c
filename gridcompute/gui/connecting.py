"""Connecting to a grid, and choosing one."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gridcompute import clock
from gridcompute.errors import (
    AlreadyRunning,
    DatabaseAway,
    FolderMissing,
    NoGridError,
    ShareAway,
    UsageError,
    VersionRefused,
)
from gridcompute.gui import texts
from gridcompute.gui.face import Face, plain
from gridcompute.gui.first_run import NewGrid, demo_grid

if TYPE_CHECKING:
    from gridcompute.server import Server


log = logging.getLogger(__name__)

offer_interval = 15.0
"""Seconds between two looks at the applications of the grid."""

named_at_start = "The grid was named when the program was started: start it without that to choose another."


def _instance(settings: dict[str, str]) -> str:
    """The instance, where it is not the usual one."""
    name = settings["instance"]
    return f", instance {texts.short(name, 12)}" if name != "0" else ""


class Connecting(Face):
    """From the first screen to a grid that is connected."""

    # Connecting.

    def start(self) -> None:
        """Connect beside the event loop; the splash says what is tried."""
        self.state.phase = "connecting"
        self.state.progress = None
        self.splash.begin("Connecting to the grid …")
        self.call(self.long, self._connect, then=self._connected, failed=self._not_connected)

    def _connect(self) -> dict[str, Any]:
        """In the lane: make a Server, connect it, start its daemons."""
        if self.server is None:
            self.link_server(self._new_server(self.event_queue, self._lent))
        server = self.server
        assert server is not None
        server.open()
        self.own_server.start_for(server.server_path, server.settings)
        if self.own_server.running:
            server.allow_this_version()
        server.connect()
        server.watched = True
        server.lending_rules = self.rules.document()
        server.create_daemons()
        server.create_doorbell()
        return self._read_applications()

    def _read_applications(self, *, anew: bool = False) -> dict[str, Any]:
        """In the lane: what the grid offers."""
        server = self.server
        assert server is not None
        if anew:
            server.scan_applications()
            server.get_software_allowed_to_run()
        with_send = server.applications_with_send()
        return {
            "grid": f"{server.server_path.name}  ·  {server.settings['user group']}{_instance(server.settings)}",
            "path": str(server.server_path),
            "machine": server.machine,
            "user": server.party.user,
            "applications": {name: server.description(name) for name in sorted(with_send)},
            "allowed": sorted(server.software_allowed_to_run & set(server.applications_with_process())),
        }

    def link_server(self, server: Server) -> None:
        """Associate the window with a Server."""
        self.server = server

    def _connected(self, offered: dict[str, Any]) -> None:
        self._take_offer(offered)
        self.state.connected = True
        self.state.leave_trouble("window")
        self.event_queue.put({"type": "populate"})
        log.info("Connected to %s (%s).", offered["path"], offered["grid"])
        self.state.say("info", f"Connected to {offered['grid']}.")
        self._next_offer = clock.monotonic() + offer_interval
        self._restore_lending()

    def _take_offer(self, offered: dict[str, Any]) -> None:
        current = self.state
        current.grid_path = offered["path"]
        current.grid_name, current.machine, current.user = offered["grid"], offered["machine"], offered["user"]
        current.applications, current.allowed = offered["applications"], offered["allowed"]
        if self.application.get() not in current.applications:
            self.application.set(next(iter(current.applications), ""))

    def _read_offer_if_due(self) -> None:
        """Applications come and go on the share, and so does what this machine may process."""
        now = clock.monotonic()
        if self.server is not None and self.state.phase == "ready" and now >= self._next_offer:
            self._next_offer = now + offer_interval
            self.call(
                self.short,
                self._read_applications,
                anew=True,
                then=self._take_offer,
                failed=lambda error: log.info("The applications of the grid could not be read: %s", error),
            )

    def _restore_lending(self) -> None:
        """The number of the last time; 0 at the first start."""
        number = self.preferences.get("processes", 0)
        self.dedicated_process.set(str(number if isinstance(number, int) else 0))
        self.lend()

    def _not_connected(self, error: Exception) -> None:
        if isinstance(error, NoGridError) and not isinstance(error, FolderMissing):
            self.state.phase = "choosing"
            self.splash.choose()
        elif isinstance(error, VersionRefused | AlreadyRunning):
            self.event_queue.put({"type": "critical", "message": str(error)})
        else:
            self._log_failure(error)
            passing = isinstance(error, DatabaseAway | ShareAway | FolderMissing)
            pause = self._retries.next() if passing else 15.0
            self.splash.trouble(str(error), pause)

    def try_again(self) -> None:
        self.start()

    # Choosing a grid.

    def choose_grid(self) -> None:
        """Let the user choose another grid; the present one stays until that."""
        if self._fixed_grid:
            self.warning(named_at_start)
            return
        self.content.pack_forget()
        self.splash.pack(fill="both", expand=True)
        self.choose_another()

    def choose_another(self) -> None:
        """The choice on the first screen, with a way back to the present grid, which may not answer yet."""
        self.state.phase = "choosing"
        self.splash.choose(back=True)

    def back_to_grid(self) -> None:
        """Leave the choice: for the window, or for another attempt to connect."""
        if self.state.connected:
            self.populate()
        elif self.splash.offers_back:
            self.start()

    def join_grid(self, folder: Path) -> None:
        """Use the grid with this shared folder, and remember it."""
        self._change_grid("Looking at the shared folder …", self._remember_grid, folder)

    def create_grid(self, wanted: NewGrid) -> None:
        """Make a grid, start its server where this computer is it, and use it."""
        self._change_grid("Making the grid …", self._make_new_grid, wanted, False)

    def try_demo(self) -> None:
        """Use a small grid on this computer alone, made at the first time."""
        self._change_grid("Starting the demo grid …", self._make_demo)

    def _change_grid(self, text: str, function: Callable[..., None], *arguments: Any) -> None:
        self.splash.begin(text)
        self.call(
            self.long,
            self._leave_grid_for,
            function,
            *arguments,
            then=lambda value: self._start_anew(),
            failed=self._grid_refused,
        )

    def _start_anew(self) -> None:
        self.state.leave_grid()
        self.start()

    def _leave_grid_for(self, function: Callable[..., None], *arguments: Any) -> None:
        """In the lane: only when the new grid is there is the present one left."""
        from gridcompute.server import check_choice

        if self._fixed_grid:
            raise UsageError(named_at_start)
        check_choice()
        function(*arguments)
        if self.server is not None:
            self.server.close()
            self.server = None

    def _grid_refused(self, error: Exception) -> None:
        self._log_failure(error)
        self.splash.choose(plain(error), back=self.splash.offers_back)

    def _remember_grid(self, folder: Path) -> None:
        from gridcompute.server import check_grid

        check_grid(folder)
        self.preferences = self.home.preferences.update(**{"shared folder": str(folder)})

    def _make_new_grid(self, wanted: NewGrid, alone: bool) -> None:
        machine = self.state.machine or self._machine_name()
        if alone or not wanted.address:
            self.own_server.make(wanted, self._make_grid, machine, alone=alone)
        else:
            self._make_grid(
                wanted.folder,
                mongodb_server=wanted.address,
                user_group=wanted.user_group,
                password=wanted.password,
                machine=machine,
            )
        self._remember_grid(wanted.folder)

    def _make_demo(self) -> None:
        wanted = demo_grid(self.home)
        if wanted.folder.is_dir():
            self._remember_grid(wanted.folder)
        else:
            self._make_new_grid(wanted, True)

    @staticmethod
    def _machine_name() -> str:
        from gridcompute.server import machine_name

        return machine_name()
