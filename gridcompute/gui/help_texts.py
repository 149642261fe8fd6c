"""The long texts of the window: help, licences, about, a case's output. No Tk here."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

from gridcompute import config
from gridcompute.gui import texts
from gridcompute.machine import licences, program
from gridcompute.machine.home import Home

Pages = list[tuple[str, str]]


def help_pages(log_path: Path) -> Pages:
    """The help, a page for each thing a person wants to do."""
    return [
        (
            "Send cases",
            "1. Choose an application.\n"
            "2. Add cases: Ctrl+O for files, or a whole folder, or drop files onto the window. The application makes "
            "one or several cases of each file; your files are not changed. A file that it can't use stands in the "
            "list in red with the reason, the others are not lost.\n"
            "3. Submit the list (Ctrl+Return). Cases with a higher priority (0 to 100) go first.\n\n"
            "The window may be closed afterwards: cases are processed without it, and come back when it is open again.",
        ),
        (
            "My cases",
            "The list is live. 'wait #4' is the place in the queue of that application.\n\n"
            "Click a heading to sort, type into the filter (Ctrl+F) to find; Ctrl, Shift and Ctrl+A select several.\n\n"
            "Cancel (Del) ends cases, Retry puts failed or cancelled ones back, Output (Return) shows what the "
            "application printed and its traceback, on whatever machine it ran.\n\n"
            "When its results are received a case turns green and stays for a day: 'Results folder' opens the folder "
            "in which the application put them. Random Counter adds a line to gridcompute_output.txt in your home "
            "folder.",
        ),
        (
            "My processes",
            "The large number at the top is how many cases this computer processes at the same time for everybody.\n\n"
            "Raise it to start or resume cases. Lower it to pause some. At zero you are asked whether what runs is to "
            "be terminated: then the grid gives it to another machine.\n\n"
            "Lending rules say when: only while you are away, between these hours, not on battery, with this much "
            "memory left. Cases of the grid run at low priority and do not disturb your work.\n\n"
            "Environments shows what applications with libraries of their own have on this computer, and why one "
            "can't be made.",
        ),
        (
            "Keys",
            "Ctrl+O        add cases\n"
            "Ctrl+Return   submit the list\n"
            "Ctrl+R        report\n"
            "Ctrl+F        filter my cases\n"
            "Ctrl+L        show or hide the log\n"
            "Ctrl+1 … 4    the tabs\n"
            "F5            refresh\n"
            "Del           remove, cancel or stop what is selected\n"
            "Return        details of the selected row\n"
            "Shift+F10     the menu of the selected row\n"
            "Esc           close a dialog, a notice, the filter\n"
            "F1            this help\n"
            "Ctrl+Q        quit\n"
            "Alt and the underlined letter press a button or open a menu.",
        ),
        (
            "When something is wrong",
            "A banner says what is away and since when; the window goes on by itself when it is back. Nothing needs "
            "to be pressed, and no case is lost.\n\n"
            f"The log file tells everything: {log_path}\n\n"
            "'gridcompute doctor' in a terminal checks the grid and says what to do.",
        ),
    ]


purpose = "Turns the computers of an office or a lab into a grid, with a shared folder and one MongoDB."


def about(grid: str, home: Home, tk: str) -> dict[str, str]:
    """On what the program runs and where it keeps what: name of a fact -> the fact. `tk` is the version of Tk."""
    release = f" {platform.release()}" if platform.system() in ("Windows", "Darwin") else ""
    return {
        "Grid": texts.place(grid) or "none yet",
        "Per-user folder": texts.place(home.path),
        "Log file": texts.place(home.log_path),
        "Runs on": f"Python {platform.python_version()} and Tk {tk} on {platform.system()}{release}",
    }


def licence_pages() -> Pages:
    """The licence of this program, then those of all that is shipped with it, as their authors wrote them."""
    own, others = _own_licence(), licences.parts()
    texts = [f"{'=' * 78}\n{part.title}\n{'=' * 78}\n\n{part.text}" for part in others if part.name != "gridcompute"]
    return [(config.program_name, own), ("Shipped with it", "\n\n".join(texts))]


def _own_licence() -> str:
    head = (
        f"{config.copyright}\n\n{config.program_name} is free software: you can redistribute it and/or modify it under "
        "the terms of the GNU General Public License as published by the Free Software Foundation, version 3 of the "
        "License. It comes WITHOUT ANY WARRANTY.\n\n"
    )
    file = program.folder() / "LICENSE"
    if file.is_file():
        return head + file.read_text("utf-8")
    own = next((part.text for part in licences.parts() if part.name == "gridcompute"), "")
    return head + (own or "See <https://www.gnu.org/licenses/gpl-3.0.html>.")


def case_pages(case: Any) -> Pages:
    """A case's output, its traceback where it has one, and its attempts."""
    error = case.error or {}
    pages: Pages = []
    trouble = "\n".join(part for part in (error.get("message", ""), error.get("traceback", "")) if part)
    if trouble:
        pages.append(("Error", trouble))
    place = case.output_place or {}
    shown = len(case.output.encode("utf-8"))
    head = ""
    if place.get("bytes", 0) > shown:
        head = f"(the end of {texts.size(place['bytes'])}; the whole output is on {place.get('machine')})\n\n"
    pages.append(("Output", head + (case.output or _no_output(case.status))))
    pages.append(("Case", _facts(case)))
    return pages


def _no_output(status: str) -> str:
    if status == "to process":
        return "The case waits: no application has run yet."
    if status == "processing":
        return "The case runs now. What the application prints is here when it has ended."
    return "The application printed nothing."


def _facts(case: Any) -> str:
    files = "\n".join(f"  {name}" for name in case.names)
    more = f"\n  … {case.count} in all" if case.count > len(case.names) else ""
    attempts = "\n".join(
        f"  {one.get('machine', '')} ({one.get('user', '')}): {one.get('outcome') or 'not ended'}"
        for one in case.processors
    )
    return (
        f"Id           {case.id}\n"
        f"Application  {case.application}\n"
        f"Status       {case.status}\n"
        f"Priority     {case.priority}\n"
        f"Submitted    {texts.moment(case.submitted)} by {case.origin_user} on {case.origin_machine}\n"
        f"Input        {texts.size(case.input.size) if case.input else ''}\n{files}{more}\n"
        f"Attempts     {case.attempt}\n{attempts}"
    )
