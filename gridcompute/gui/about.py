"""The window that says which program this is, and where it keeps what."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ttkbootstrap as ttk

from gridcompute import config
from gridcompute.gui import help_texts
from gridcompute.gui.dialogs import Dialog, bind_mnemonic, mnemonic_button
from gridcompute.gui.table import scaled

if TYPE_CHECKING:
    from gridcompute.gui.window import GUI


class About(Dialog):
    """Name, version, copyright and the places, which a person may copy to whoever helps."""

    def __init__(self, gui: GUI):
        super().__init__(gui.root, "About", name="about")
        self._facts = help_texts.about(gui.state.grid_path, gui.home, str(gui.root.tk.call("info", "patchlevel")))
        gap = scaled(self, 8)
        icon = gui.icon(64)
        if icon is not None:
            ttk.Label(self.body, image=icon).grid(row=0, column=0, rowspan=3, sticky="n", padx=(0, 2 * gap))
        ttk.Label(self.body, text=f"{config.program_name} {config.version}", font="GridTitle").grid(
            row=0, column=1, sticky="w"
        )
        ttk.Label(
            self.body,
            name="text",
            text=f"{help_texts.purpose}\n\n{config.copyright}\nLicence: GNU General Public License, version 3",
            wraplength=scaled(self, 460),
            justify="left",
        ).grid(row=1, column=1, sticky="w", pady=gap)
        table = ttk.Frame(self.body, name="facts")
        table.grid(row=2, column=1, sticky="w")
        for row, (name, value) in enumerate(self._facts.items()):
            ttk.Label(table, text=name, bootstyle="secondary").grid(row=row, column=0, sticky="nw", pady=gap // 4)
            ttk.Label(table, text=value, wraplength=scaled(self, 380), justify="left").grid(
                row=row, column=1, sticky="w", padx=(2 * gap, 0)
            )
        self._buttons(gap)

    def _buttons(self, gap: int) -> None:
        row = ttk.Frame(self.body, name="buttons")
        row.grid(row=3, column=0, columnspan=2, sticky="we", pady=(2 * gap, 0))
        copy = mnemonic_button(row, "C&opy", self._copy, name="copy", bootstyle="secondary-outline")
        copy.pack(side="left")
        close = mnemonic_button(row, "&Close", lambda: self.close(None), name="close", bootstyle="primary")
        close.pack(side="right")
        bind_mnemonic(self, "C&opy", copy)
        bind_mnemonic(self, "&Close", close)
        self.show(close)

    def _copy(self) -> None:
        """Put it on the clipboard, for a message to whoever helps."""
        lines = [f"{config.program_name} {config.version}", *(f"{name}: {fact}" for name, fact in self._facts.items())]
        self.clipboard_clear()
        self.clipboard_append("\n".join(lines))
