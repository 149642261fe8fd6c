"""Which processes a test started, its children's children and those whose parent has ended too."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import psutil

from tests.support.waiting import wait_for

marker = "GRIDCOMPUTE_TEST"
"""Variable that every process inherits that a test starts, however many parents lie between."""

_pythons_own = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")  # they end with the test program


class Watch:
    """Notices processes that live longer than the test that started them.

    `shared` are the process ids of servers that serve several tests.
    """

    def __init__(self, name: str, shared: set[int]):
        self.name, self.shared = name, shared
        self._before = {process.pid for process in psutil.Process().children(recursive=True)}
        self._value = f"{os.getpid()}:{name}"

    @contextlib.contextmanager
    def marked(self) -> Iterator[None]:
        """Whatever is started meanwhile carries the mark of this test."""
        before = os.environ.get(marker)
        os.environ[marker] = self._value
        try:
            yield
        finally:
            if before is None:
                os.environ.pop(marker, None)
            else:
                os.environ[marker] = before

    def survivors(self) -> list[psutil.Process]:
        """The processes of this test that run now; zombies have ended."""
        descendants = {process.pid for process in psutil.Process().children(recursive=True)} - self._before
        return [process for process in psutil.process_iter() if self._is_ours(process, descendants)]

    def _is_ours(self, process: psutil.Process, descendants: set[int]) -> bool:
        if process.pid in self.shared or process.pid == os.getpid():
            return False
        with contextlib.suppress(psutil.Error, OSError):
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            if process.pid not in descendants and process.environ().get(marker) != self._value:
                return False
            return not any(own in " ".join(process.cmdline()) for own in _pythons_own)
        return False

    def check(self, timeout: float = 5.0) -> None:
        """Wait until no process of this test is left; else end those there are and fail with their names."""
        try:
            wait_for(lambda: not self.survivors(), timeout)
        except AssertionError:
            left = [(process, _describe(process)) for process in self.survivors()]
            for process, _ in left:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            lines = "\n".join(f"  {text}" for _, text in left)
            raise AssertionError(f"{self.name} left processes behind:\n{lines}") from None


def _describe(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return f"{process.pid}: {' '.join(process.cmdline()) or process.name()}"
    return f"{process.pid}: ended meanwhile"
