"""The commands on cases that are in the grid: list, cancel, retry, remove, log, report."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gridcompute.commands.connecting import connected
from gridcompute.commands.terminal import DONE, complain, print_json
from gridcompute.commands.words import number_of
from gridcompute.errors import UsageError
from gridcompute.gui import texts

if TYPE_CHECKING:
    from gridcompute.grid.cases import Case

log = logging.getLogger(__name__)


def show(options: argparse.Namespace) -> int:
    """Print the user's cases, or the group's."""
    with connected(options) as server:
        if options.json:
            print_json({"cases": server.rows(everybody=options.all)})
        else:
            _print_table(server.cases(everybody=options.all), everybody=options.all)
    return DONE


def _print_table(found: Sequence[Case], *, everybody: bool) -> None:
    if not found:
        print("No case of the group yet." if everybody else "All your cases are received.")
        return
    rows = [("ID", "SUBMITTED", "APPLICATION", "STATUS", "PROCESSOR", "ATTEMPT", "USER", "FILES")]
    for case in found:
        submitted = case.submitted.astimezone().strftime("%Y-%m-%d %H:%M:%S") if case.submitted else ""
        more = f" and {case.count - 1} more" if case.count > 1 else ""
        first = f"{case.names[0]}{more}" if case.names else ""
        status = _status(case)
        rows.append(
            (
                str(case.id),
                submitted,
                case.application,
                texts.one_line(status),
                case.processor_machine,
                str(case.attempt),
                case.origin_user,
                texts.one_line(first),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _status(case: Case) -> str:
    """The status in at most 60 characters, while a case runs with what its application says of its progress."""
    status = case.status
    if status == "processing" and case.progress:
        status = f"{status} {case.progress.get('fraction', 0):.0%} {case.progress.get('text', '')}".rstrip()
    return status if len(status) < 60 else status[:57] + "..."


def cancel(options: argparse.Namespace) -> int:
    """Cancel each of the cases; 2 if one could not be, as for the next two."""
    with connected(options) as server:
        return _on_each(options.ids, server.cancel, "is cancelled")


def retry(options: argparse.Namespace) -> int:
    with connected(options) as server:
        return _on_each(options.ids, server.retry, "is tried again")


def remove(options: argparse.Namespace) -> int:
    with connected(options) as server:
        return _on_each(options.ids, server.remove, "is given up")


def _on_each(ids: Sequence[str], act: Callable[[str], Case], said: str) -> int:
    code = DONE
    for beginning in ids:
        try:
            print(f"{act(beginning).id} {said}")
        except UsageError as exc:
            log.error("%s", exc)
            code = complain(str(exc))
    return code


def show_log(options: argparse.Namespace) -> int:
    """Print what a case's application said, and the error that ended the case."""
    with connected(options) as server:
        case = server.case_log(options.id)
        place = case.output_place or {}
        whole = server.home.output / f"{case.id}-{case.attempt}.txt"
        if whole.exists():
            output = whole.read_text(encoding="utf-8", errors="replace")
        else:
            output = case.output
            size = place.get("bytes", 0)
            if size > len(output.encode("utf-8")):
                complain(
                    f"the end of {size:,} bytes follows; all of it is on {place.get('machine')}, in the folder "
                    f"'output' beside the program's log: {whole.name}"
                )
        print(output, end="" if not output or output.endswith("\n") else "\n")
        error = case.error or {}
        if error.get("message"):
            print(error["message"])
        if error.get("traceback"):
            print(error["traceback"].rstrip())
        if not output and not error:
            complain(f"Case {case.id} ({case.status}): its application printed nothing.")
    return DONE


def report(options: argparse.Namespace) -> int:
    """Write the table of the group's cases to a file."""
    with connected(options) as server:
        number = server.create_report(options.file)
        print(f"{number_of(number, 'case')} written to {Path(options.file).absolute()}")
    return DONE
