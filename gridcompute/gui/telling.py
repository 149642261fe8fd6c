"""The report, the log, help, licence and about."""

from __future__ import annotations

import logging
from pathlib import Path
from tkinter import filedialog
from typing import TYPE_CHECKING

from gridcompute.gui import help_texts, texts
from gridcompute.gui.about import About
from gridcompute.gui.dialogs import (
    Reading,
)
from gridcompute.gui.face import Face

if TYPE_CHECKING:
    pass


log = logging.getLogger(__name__)


class Telling(Face):
    """What the menus tell."""

    def _ask_report(self) -> str:
        return filedialog.asksaveasfilename(
            parent=self.root,
            title="Report of all cases of the group",
            defaultextension=".xlsx",
            initialfile="GridCompute report.xlsx",
            filetypes=[("Excel workbook", ".xlsx"), ("CSV", ".csv"), ("Text with tabs", ".txt")],
        )

    def create_report(self) -> None:
        """Write one row for each case of the group to a file that the user names."""
        if self.state.phase != "ready" or self.progress_window is not None or self.server is None:
            return
        file = self._ask_report()
        if file:
            self.create_progress_window("indeterminate", f"Writing the report {Path(file).name} …")
            self.call(
                self.long,
                self.server.create_report,
                file,
                self.is_wanted,
                then=lambda number: self._reported(file, number),
                failed=self._long_failed,
            )

    def _reported(self, file: str, number: int) -> None:
        self.close_progress()
        self.info(f"{texts.number(number, 'case')} written to {file}")

    def open_help(self) -> None:
        """Say how the program is used."""
        pages = help_texts.help_pages(self.home.log_path)
        Reading(self.root, "Help", pages, name="help", first=self.shown_tab())

    def open_license(self) -> None:
        """Show the licences of the program and of all that it ships with."""
        self.call(
            self.short,
            help_texts.licence_pages,
            then=lambda pages: Reading(self.root, "Licence", pages, name="licence"),
        )

    def open_about(self) -> None:
        """Say which program this is."""
        About(self)  # type: ignore[arg-type]
