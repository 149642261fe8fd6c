"""``gridcompute submit``: files to an application, and with ``--wait`` their results home."""

from __future__ import annotations

import argparse
import contextlib
import queue
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gridcompute import clock
from gridcompute.commands.connecting import connected, drain
from gridcompute.commands.terminal import DONE, FAILED, STOPPED, complain, print_json, say_problem, write_down
from gridcompute.commands.words import number_of
from gridcompute.errors import DatabaseAway, GridComputeError, UsageError
from gridcompute.gui import texts

if TYPE_CHECKING:
    from gridcompute.server import Server
    from gridcompute.submission import Submitted


def run(options: argparse.Namespace) -> int:
    """Submit the files and print the cases made of them; returns the exit code."""
    for file in options.files:
        if not file:  # as a path it would be the current folder
            raise UsageError("One of the files has an empty name. Check what fills it in. Nothing was submitted.")
        if not Path(file).exists():
            raise UsageError(f"There is no file {Path(file).absolute()}. Check its name. Nothing was submitted.")
    with connected(options) as server:
        selected, errors = server.select_cases(options.files, options.application)
        drain(server)
        if not selected and not errors:
            raise UsageError(f"send.py of '{options.application}' made no case of these files. Nothing was submitted.")
        if selected:
            for doubt in server.doubts_about(options.application):
                complain(f"warning: {doubt}")
        result = _submit_with_bar(server, selected, options)
        errors += [exc for _, exc in result.errors]
        for exc in errors[:10]:
            write_down(exc)
            complain(str(exc))
        if len(errors) > 10:
            complain(f"and {len(errors) - 10} more errors like these")
        submitted = {one: files for one, files in zip(result.ids, selected, strict=True) if one is not None}
        return _see_home(server, submitted, options, errors, stopped=result.stopped, doubtful=len(result.doubtful))


def _see_home(
    server: Server,
    submitted: dict[str, list[str]],
    options: argparse.Namespace,
    errors: Sequence[GridComputeError],
    *,
    stopped: bool,
    doubtful: int,
) -> int:
    """Print what was submitted, wait for it if told to, and decide on the exit code."""
    if not options.json:
        for case_id, files in submitted.items():
            print(f"{case_id}  {texts.one_line(Path(files[0]).name)}", flush=True)
    statuses = dict.fromkeys(submitted, "to process")
    if options.wait and submitted and not stopped:
        _say_if_nobody_lends(server, options.application)
        try:
            _wait_until_received(server, statuses)
        except KeyboardInterrupt:
            stopped = True
    if options.json:
        _print_submitted(submitted, statuses, options.application, errors)
    if stopped:
        more = "They go on: 'gridcompute cases' shows them." if submitted else "Nothing is left of the others."
        were = "was" if len(submitted) == 1 else "were"
        return complain(f"stopped; {number_of(len(submitted), 'case')} {were} submitted. {more}", STOPPED)
    if doubtful:
        return complain(
            f"{len(submitted)} cases were submitted to {options.application}; of {doubtful} it is not known."
        )
    if not submitted:
        return complain(f"Nothing was submitted to {options.application}.")
    failed = options.wait and _say_failed(statuses)
    return FAILED if errors or failed else DONE


def _say_if_nobody_lends(server: Server, application: str) -> None:
    with contextlib.suppress(DatabaseAway):  # it is said while the cases are waited for
        if not server.lenders(application):
            complain(
                f"warning: No computer lends a process for '{application}' at present: its cases wait until a window "
                "or 'gridcompute agent' on one that may process it does."
            )


def _say_failed(statuses: dict[str, str]) -> bool:
    """Say which cases did not come home; whether there is one."""
    failed = {one: status for one, status in statuses.items() if status != "received"}
    for case_id, status in failed.items():
        complain(f"case {case_id}: {status.rstrip('.')}. 'gridcompute log {case_id}' shows what the application said.")
    return bool(failed)


def _submit_with_bar(server: Server, selected: list[list[str]], options: argparse.Namespace) -> Submitted:
    """Submit beside a progress bar of the bytes copied (one case) or of the cases; Ctrl+C undoes what is not in yet."""
    from tqdm import tqdm

    results: queue.SimpleQueue[Any] = queue.SimpleQueue()
    stop = threading.Event()

    def work() -> None:
        try:
            results.put(
                server.submit_to_server(
                    selected, options.application, lambda: not stop.is_set(), priority=options.priority
                )
            )
        except BaseException as exc:  # noqa: BLE001 - raised again in the main thread
            results.put(exc)
        server.event_queue.put({"type": "end of submit"})

    by_cases = len(selected) > 20
    thread = threading.Thread(target=work, name="submit", daemon=True)
    with tqdm(total=0, disable=None, leave=False, unit_scale=not by_cases, unit=" cases" if by_cases else "B") as bar:
        bar.total = len(selected)
        thread.start()
        while True:
            try:
                event = server.event_queue.get()
            except KeyboardInterrupt:
                if stop.is_set():
                    raise  # asked twice: the journal tells the next start what was cut off
                stop.set()
                continue
            kind = event["type"]
            if kind == "end of submit":
                break
            if kind == "change progress max" and not by_cases:
                bar.total = event["maximum"]
            elif kind == "change progress" and not by_cases:
                bar.update(event["value"] - bar.n)
            elif kind == "submitted case" and by_cases:
                bar.update()
    thread.join()
    result = results.get()
    if isinstance(result, BaseException):
        raise result
    return result


def _wait_until_received(server: Server, statuses: dict[str, str]) -> None:
    """Wait until each case is received, an error or cancelled, receiving ourselves where nobody else does.

    `statuses`, by id, is brought up to date all the while. The receive daemon of another program of the same user and
    machine goes first; ours waits for its turn.
    """
    from tqdm import tqdm

    server.create_daemons(process=False)
    pauses = clock.Backoff(0.05, 1.0, factor=1.2)
    away = False
    with tqdm(total=len(statuses), disable=None, leave=False, unit=" cases") as bar:
        while True:
            try:
                found = server.statuses(list(statuses))
                statuses.update({one: found.get(one, "gone") for one in statuses})
                away = False
            except DatabaseAway as exc:
                if not away:
                    complain(f"{exc} Waiting for it.")
                away = True
            ended = sum(map(_has_ended, statuses.values()))
            if ended > bar.n:
                pauses.reset()
                bar.update(ended - bar.n)
            if ended == len(statuses):
                return
            _wait_for_news(server, pauses.next())


def _has_ended(status: str) -> bool:
    return status in ("received", "cancelled", "gone") or status.startswith("error:")


def _wait_for_news(server: Server, seconds: float) -> None:
    """Wait for events at most `seconds`; a received case ends the wait at once."""
    deadline = clock.monotonic() + seconds
    while True:
        try:
            event = server.event_queue.get(timeout=max(0.001, deadline - clock.monotonic()))
        except queue.Empty:
            return
        say_problem(event)
        if event["type"] in ("case received", "case failed"):
            return


def _print_submitted(
    submitted: dict[str, list[str]],
    statuses: dict[str, str],
    application: str,
    errors: Sequence[GridComputeError],
) -> None:
    rows = [
        {"id": case_id, "application": application, "status": statuses[case_id], "files": [str(file) for file in files]}
        for case_id, files in submitted.items()
    ]
    print_json({"cases": rows, **({"errors": [str(exc) for exc in errors]} if errors else {})})
