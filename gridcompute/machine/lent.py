"""How many of this computer's processes work for a softgrid, told between the programs of one user.

Who joins a grid holds a lock beside a small file with the number; the system releases the lock with the process,
however that ends, so a number is never left behind. The process daemon takes so many cases fewer.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

log = logging.getLogger(__name__)


@contextmanager
def hold(folder: Path, processes: int) -> Iterator[None]:
    """While this context lasts, `processes` of this computer count as lent to a softgrid.

    `folder` is `Home.softgrid`. Where the number can't be written the log says so and nothing is counted.
    """
    lock = filelock.FileLock(folder / f"{secrets.token_hex(8)}.lock", thread_local=False)
    note = Path(lock.lock_file).with_suffix(".number")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock.acquire(timeout=10.0)
        note.write_text(str(processes), encoding="ascii")
    except (OSError, filelock.Timeout) as exc:
        log.warning("The %d processes lent to a softgrid are not counted: cannot write %s: %s", processes, note, exc)
    try:
        yield
    finally:
        _remove(note)
        lock.release()
        _remove(Path(lock.lock_file))


def held(folder: Path) -> int:
    """How many processes work for softgrids now; clears away what a killed program left."""
    total = 0
    for note in folder.glob("*.number"):
        lock = note.with_suffix(".lock")
        try:
            with filelock.FileLock(lock, timeout=0.0):
                _remove(note)
            _remove(lock)
        except filelock.Timeout:
            with contextlib.suppress(OSError, ValueError):  # it ends at this moment, or is not written yet
                total += int(note.read_text(encoding="ascii"))
        except OSError as exc:
            log.debug("Cannot look at %s: %s", lock, exc)
    return total


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
