"""What applications print: the end of it for the database, the whole of it beside the log."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path
from typing import Any

from gridcompute import config

log = logging.getLogger(__name__)


def tail_of(path: Path | None) -> tuple[str, int]:
    """The end of the output file `path` as text, at most `config.output_tail_bytes`, and the file's size in bytes."""
    if path is None:
        return "", 0
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - config.output_tail_bytes))
            return file.read().decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}"), size
    except FileNotFoundError:
        return "", 0
    except OSError as exc:
        log.warning("Cannot read the output in %s: %s", path, exc)
        return "", 0


def output_file(folder: Path, case_id: Any, attempt: int) -> Path:
    """Where the whole output of an attempt is kept on the machine that ran it."""
    return folder / f"{case_id}-{attempt}.txt"


def keep_output(source: Path | None, target: Path) -> None:
    """Keep the whole output beside the log; a failure is logged, the tail in the database remains."""
    if source is None:
        return
    try:
        if source.stat().st_size:
            target.parent.mkdir(parents=True, exist_ok=True)
            source.replace(target)
    except FileNotFoundError:
        return
    except OSError as exc:
        log.warning("Cannot keep the output %s as %s: %s", source, target, exc)


def prune_outputs(folder: Path, *, days: float, bytes_kept: int, now: float) -> None:
    """Remove the oldest outputs in `folder`: those older than `days` before `now` (seconds of the file system's
    clock), and those beyond `bytes_kept` in all.
    """
    with contextlib.suppress(OSError):
        files = sorted(folder.glob("*.txt"), key=lambda path: path.stat().st_mtime, reverse=True)
        total = 0
        for path in files:
            state = path.stat()
            total += state.st_size
            if total > bytes_kept or now - state.st_mtime > days * 86_400:
                path.unlink(missing_ok=True)
