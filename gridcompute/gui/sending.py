"""What the buttons of *Send cases* do."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from tkinter import filedialog
from typing import TYPE_CHECKING, Any

from gridcompute import config
from gridcompute.gui import state, texts
from gridcompute.gui.dialogs import (
    Question,
)
from gridcompute.gui.face import Face, plain

if TYPE_CHECKING:
    pass


log = logging.getLogger(__name__)


class Sending(Face):
    """Adds cases, removes them, submits them."""

    _doubting = False

    def choose_application(self) -> None:
        self._remember(application=self.application.get())
        self.send_cases.show()

    def _ask_files(self) -> Sequence[str]:
        """The file dialog, alone here so that a test can answer it."""
        return self.root.tk.splitlist(
            filedialog.askopenfilename(
                parent=self.root,
                title="Add cases",
                multiple=True,  # type: ignore[call-arg]
                initialdir=self.preferences.get("folder") or str(Path.home()),
            )
        )

    def _ask_folder(self) -> str:
        return filedialog.askdirectory(parent=self.root, title="Add a folder", mustexist=True)

    def add_cases(self) -> None:
        """Let the user select files, and add the cases that the application makes of them."""
        if not self._may_add():
            return
        files = self._ask_files()
        if files:
            self._remember(folder=str(Path(files[0]).parent))
            self.add_files(files)

    def add_folder(self) -> None:
        """As `add_cases` with a folder as the file selected."""
        if self._may_add():
            folder = self._ask_folder()
            if folder:
                self.add_files([folder])

    def _may_add(self) -> bool:
        if self.state.phase != "ready" or not self.application.get():
            return False
        self.show_tab(self.send_cases)
        return self.progress_window is None

    def add_files(self, files: Sequence[str]) -> None:
        """Run send.py on each file beside the event loop; one that fails stands in the list with the reason."""
        if not self._may_add() or self.server is None:
            return
        application = self.application.get()
        self.create_progress_window("determinate", f"Making cases of {application} …", len(files), unit="files")
        self.call(self.long, self._add, list(files), application, then=self._added, failed=self._long_failed)

    def _add(self, files: list[str], application: str) -> list[tuple[str, Exception]]:
        """In the lane: the cases come as events, the files that failed are returned."""
        assert self.server is not None
        self.server.scan_applications()
        failed: list[tuple[str, Exception]] = []
        for number, file in enumerate(files):
            if not self._keep_running:
                break
            self.event_queue.put({"type": "change progress", "value": number, "text": Path(file).name})
            _, errors = self.server.select_cases([file], application, self.is_wanted)
            failed += [(file, error) for error in errors]
        return failed

    def _added(self, failed: list[tuple[str, Exception]]) -> None:
        self.close_progress()
        for file, error in failed:
            said = plain(error)
            self.state.add_failed(self.application.get(), file, said.partition(f"{file}: ")[2] or said)
            self._log_failure(error)

    def remove_selected(self) -> None:
        """Remove the selected cases from the list."""
        self.state.remove_sends([row["id"] for row in self.state.sends.chosen])

    def remove_submitted(self) -> None:
        self.state.remove_sends([row["id"] for row in self.state.of_kind(state.SUBMITTED, state.FAILED)])

    def submit_to_server(self) -> None:
        """Send all cases of the list that are not submitted yet, after a question."""
        names = sorted({row["application"] for row in self.state.of_kind(state.READY)})
        if names and self._may_submit() and not self._doubting:
            self._doubting = True
            self.call(self.short, self._doubts, names, then=self._ask_submit, failed=lambda error: self._ask_submit([]))

    def _may_submit(self) -> bool:
        return self.progress_window is None and self.state.phase == "ready"

    def _doubts(self, applications: list[str]) -> list[str]:
        """In the lane: why the cases may wait for long."""
        assert self.server is not None
        return [doubt for name in applications for doubt in self.server.doubts_about(name)]

    def _ask_submit(self, doubts: list[str]) -> None:
        self._doubting = False
        ready = self.state.of_kind(state.READY)
        if not ready or not self._may_submit():
            return
        names = sorted({row["application"] for row in ready})
        size = texts.size(sum(row["size"] for row in ready))
        question = f"Submit {texts.number(len(ready), 'case')} of {' and '.join(names)} ({size}) to the grid?"
        Question(
            self.root,
            "Submit",
            "\n\n".join([question, *doubts]),
            [("&Cancel", None, "secondary"), ("&Submit", True, "success")],
            lambda yes: self._submit(names) if yes else None,
            icon="exclamation-triangle" if doubts else "send",
            name="confirm",
        )

    def _submit(self, applications: list[str]) -> None:
        application = applications[0]
        cases = self.state.begin_submit(application)
        self.create_progress_window("determinate", f"Submitting {texts.number(len(cases), 'case')} …", 0)
        self.call(
            self.long,
            self._send,
            cases,
            application,
            self._priority(),
            then=lambda result: self._submitted(result, applications[1:]),
            failed=self._submit_failed,
        )

    def _send(self, cases: list[list[str]], application: str, priority: int) -> Any:
        assert self.server is not None
        return self.server.submit_to_server(cases, application, self.is_wanted, priority=priority)

    def _priority(self) -> int:
        try:
            return max(0, min(100, int(self.priority.get())))
        except ValueError:
            return config.default_priority

    def tidy_priority(self) -> None:
        """Show the number that counts: what is no number from 0 to 100 is not used."""
        self.priority.set(str(self._priority()))

    def _submitted(self, result: Any, others: list[str]) -> None:
        self.close_progress()
        number = self.state.end_submit(result.errors, stopped=result.stopped)
        self.state.say("info", f"{texts.number(number, 'case')} submitted.")
        if result.errors:
            self.state.say("error", f"{texts.number(len(result.errors), 'case')} not submitted: {result.errors[0][1]}")
        self.state.stale = True
        if others and not result.stopped:
            self._submit(others)

    def _submit_failed(self, error: Exception) -> None:
        self.close_progress()
        self.state.end_submit([], stopped=False)
        self._show_failure(error)
