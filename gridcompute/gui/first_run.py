"""The first screen of somebody who has no grid: join one, make one, or try the demo. Not an error."""

from __future__ import annotations

import logging
import secrets
import tkinter as tk
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tkinter import filedialog
from typing import TYPE_CHECKING, Any

import ttkbootstrap as ttk

from gridcompute import config
from gridcompute.errors import UsageError
from gridcompute.gui.dialogs import Dialog, bind_mnemonic, mnemonic_button
from gridcompute.gui.table import scaled
from gridcompute.machine.home import Home

if TYPE_CHECKING:
    from gridcompute.gui.window import GUI
    from gridcompute.machine.mongod import PrivateMongod

log = logging.getLogger(__name__)

MakeGrid = Callable[..., None]
"""``make_grid(folder, mongodb_server=, user_group=, password=, machine=)``: what *gridcompute init* does."""

team_port = 27017


@dataclass(frozen=True)
class NewGrid:
    """What somebody wants of a new grid; `address` empty: this computer is the server."""

    folder: Path
    user_group: str
    password: str
    address: str = ""


class OwnServer:
    """The MongoDB that this window runs for a grid whose server is this computer; it ends with the window.

    Which grid that is, is remembered beside the preferences; group and password stand in the grid's settings.txt.
    """

    def __init__(self, home: Home):
        self.home = home
        self._server: PrivateMongod | None = None

    @property
    def running(self) -> bool:
        return self._server is not None and self._server.alive

    def start_for(self, folder: Path, settings: dict[str, str]) -> None:
        """Start the server that the grid in `folder` needs, if this computer is it; `settings` are the documented."""
        known = self.home.preferences.load().get("own server") or {}
        if known.get("folder") != str(folder):
            known = self._known_demo(folder, settings)
        if known and not self.running:
            self._start(known, settings["user group"], settings["password"])

    def _known_demo(self, folder: Path, settings: dict[str, str]) -> dict[str, Any]:
        """What is remembered of the demo grid, for when the preferences are lost: its settings tell the port."""
        port = settings["mongodb server"].rpartition(":")[2]
        if folder != demo_folder(self.home) or not port.isdecimal():
            return {}
        return self._note(folder, int(port), alone=True)

    def _note(self, folder: Path, port: int, *, alone: bool) -> dict[str, Any]:
        data, host = ("demo-mongodb", "127.0.0.1") if alone else ("mongodb", "0.0.0.0")
        return {"folder": str(folder), "data": str(self.home.path / data), "host": host, "port": port}

    def _start(self, known: dict[str, Any], user_group: str, password: str) -> None:
        from gridcompute.machine.mongod import PrivateMongod

        self.stop()
        data, host, port = Path(known["data"]), str(known["host"]), int(known["port"])
        self._server = PrivateMongod(data, host, port, user_group=user_group, password=password)
        self._server.start()

    def make(self, wanted: NewGrid, make_grid: MakeGrid, machine: str, *, alone: bool) -> None:
        """Start a server and make a grid on it; `alone` listens on this computer only."""
        from gridcompute.machine.mongod import free_port, is_free

        port = free_port() if alone or not is_free(team_port) else team_port
        known = self._note(wanted.folder, port, alone=alone)
        self._start(known, wanted.user_group, wanted.password)
        assert self._server is not None
        address = self._server.address if alone else self._server.team_address
        make_grid(
            wanted.folder,
            mongodb_server=address,
            user_group=wanted.user_group,
            password=wanted.password,
            machine=machine,
        )
        self.home.preferences.update(**{"own server": known})

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()
            self._server = None


def demo_grid(home: Home) -> NewGrid:
    """A grid of this person's own, on this computer alone."""
    return NewGrid(demo_folder(home), "demo", secrets.token_urlsafe(12))


def demo_folder(home: Home) -> Path:
    return home.path / "demo" / "Shared_Folder"


class Choice(ttk.Frame):
    """Three ways to a grid, as cards side by side."""

    def __init__(self, master: tk.Misc, gui: GUI):
        super().__init__(master, name="choice")
        self.gui = gui
        gap = scaled(self, 12)
        ttk.Label(self, text=f"Welcome to {config.program_name}", font="GridTitle").pack()
        ttk.Label(
            self,
            text="A grid is a shared folder and a MongoDB database: everybody who knows the folder sends cases to it, "
            "and lends processes to it.",
            wraplength=scaled(self, 620),
            justify="center",
        ).pack(pady=gap)
        row = ttk.Frame(self, name="cards")
        row.pack()
        self.first = self._card(
            row, "join", "people", "Join a grid", "Your team has one: choose its shared folder.", "Ch&oose …"
        )
        self._card(row, "create", "hdd-network", "Create a grid", "Make a shared folder for your team.", "C&reate …")
        self._card(row, "demo", "play-circle", "Try the demo", "A small grid on this computer alone.", "&Try it")
        self.complaint = ttk.Label(self, name="complaint", bootstyle="danger", wraplength=scaled(self, 620))
        self.complaint.pack(pady=gap)
        self.back = gui.button(self, "&Back", gui.back_to_grid, name="back", bootstyle="secondary")

    def _card(self, master: tk.Misc, name: str, icon: str, title: str, text: str, button: str) -> ttk.Button:
        gap = scaled(self, 10)
        card = ttk.Frame(master, name=name, padding=2 * gap, borderwidth=1, style="Card.TFrame")
        column = len(master.grid_slaves())
        card.grid(row=0, column=column, sticky="nsew", padx=gap, pady=gap)
        master.grid_columnconfigure(column, weight=1, uniform="cards")
        ttk.Label(card, icon=icon, icon_size=36, bootstyle="primary").pack()
        ttk.Label(card, text=title, font="GridHeading").pack(pady=gap)
        ttk.Label(card, text=text, wraplength=scaled(self, 165), justify="center", bootstyle="secondary").pack()
        made = self.gui.button(
            card, button, getattr(self, f"_{name}"), name="go", bootstyle="primary" if name == "join" else "secondary"
        )
        made.pack(side="bottom", pady=(gap, 0))
        return made

    def complain(self, message: str) -> None:
        self.complaint.configure(text=message)

    def _join(self) -> None:
        folder = filedialog.askdirectory(
            parent=self.gui.root, title="The grid's shared folder (it holds Settings, Cases and Results)"
        )
        if folder:
            self.gui.join_grid(Path(folder))

    def _create(self) -> None:
        CreateWindow(self.gui.root, self.gui.create_grid)

    def _demo(self) -> None:
        self.gui.try_demo()


class CreateWindow(Dialog):
    """What a new grid needs to know."""

    def __init__(self, master: tk.Misc, then: Callable[[NewGrid], None]):
        super().__init__(master, "Create a grid", name="create")
        self._then = then
        self._gap = scaled(self, 8)
        self.folder, self.team = tk.StringVar(self), tk.StringVar(self)
        self.password, self.address = tk.StringVar(self), tk.StringVar(self)
        self.here = tk.BooleanVar(self, True)
        first = self._entry(0, "Shared &folder", self.folder, "folder")
        browse = mnemonic_button(self.body, "&Browse …", self._browse, name="browse", bootstyle="secondary-outline")
        browse.grid(row=0, column=2, padx=(self._gap, 0))
        bind_mnemonic(self, "&Browse …", browse)
        self._note(1, "A new or empty folder that everybody of the team may read and write.")
        self._entry(2, "User &group", self.team, "group")
        self._entry(3, "&Password", self.password, "password", show="•")
        self._note(4, "Both stand in Settings/settings.txt, where whoever uses the grid reads them.")
        box = ttk.Checkbutton(
            self.body,
            name="here",
            text="This computer is the server: run the database here while this window is open",
            variable=self.here,
            command=self._arrange,
        )
        box.grid(row=5, column=0, columnspan=3, sticky="w", pady=(self._gap, 0))
        self.server = self._entry(6, "&MongoDB", self.address, "address")
        self._note(7, "host:port, or a whole mongodb:// address.")
        self.complaint = ttk.Label(self.body, name="complaint", bootstyle="danger", wraplength=scaled(self, 440))
        self.complaint.grid(row=8, column=0, columnspan=3, sticky="w")
        row = ttk.Frame(self.body, name="buttons")
        row.grid(row=9, column=0, columnspan=3, sticky="e", pady=(self._gap, 0))
        for text, command, name, style in (
            ("&Create", self._accept, "ok", "primary"),
            ("C&ancel", lambda: self.close(None), "cancel", "secondary"),
        ):
            button = mnemonic_button(row, text, command, name=name, bootstyle=style)
            button.pack(side="right", padx=(self._gap, 0))
            bind_mnemonic(self, text, button)
        self.bind("<Return>", lambda event: self._accept())
        self._arrange()
        self.show(first)

    def _entry(self, row: int, text: str, variable: tk.StringVar, name: str, **options: Any) -> ttk.Entry:
        place = text.find("&")
        label = ttk.Label(self.body, text=text.replace("&", ""), underline=place)
        label.grid(row=row, column=0, sticky="w", padx=(0, self._gap), pady=self._gap // 2)
        entry = ttk.Entry(self.body, name=name, textvariable=variable, width=44, **options)
        entry.grid(row=row, column=1, sticky="we")
        self.bind(f"<Alt-{text[place + 1].lower()}>", lambda event: entry.focus_set())
        return entry

    def _note(self, row: int, text: str) -> None:
        ttk.Label(self.body, text=text, bootstyle="secondary").grid(row=row, column=1, columnspan=2, sticky="w")

    def _browse(self) -> None:
        folder = filedialog.askdirectory(parent=self, title="A new or empty folder")
        if folder:
            self.folder.set(folder)

    def _arrange(self) -> None:
        self.server.configure(state="disabled" if self.here.get() else "normal")

    def _accept(self) -> None:
        try:
            wanted = self._read()
        except UsageError as exc:
            self.complaint.configure(text=str(exc))
            return
        self.close(None)
        self._then(wanted)

    def _read(self) -> NewGrid:
        folder, group, password = self.folder.get().strip(), self.team.get().strip(), self.password.get()
        address = "" if self.here.get() else self.address.get().strip()
        for value, what in ((folder, "the shared folder"), (group, "a user group"), (password, "a password")):
            if not value.strip():
                raise UsageError(f"Write {what}.")
        if not self.here.get() and not address:
            raise UsageError("Write the address of the MongoDB, or let this computer be the server.")
        return NewGrid(Path(folder).expanduser().absolute(), group, password, address)
