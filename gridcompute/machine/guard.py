"""Ends a server that this program started when this program is gone, however it went: by SIGKILL too."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from typing import IO

__all__ = ["Guard"]

if sys.platform == "win32":
    from gridcompute.machine.windows import Job

    class Guard:
        """A job object: Windows ends what is in it when its only handle closes, however this program ends."""

        pid: int | None = None

        def __init__(self) -> None:
            self._job = Job()

        def watch(self, process: subprocess.Popen[bytes]) -> None:
            """From now on the server ends with this program."""
            self._job.add(int(process._handle))  # type: ignore[attr-defined]

        def dismiss(self) -> None:
            """The server has ended. May be called twice."""
            self._job.close()

else:
    _guard_script = """
    read -r server || exit 0
    read -r dismissed && exit 0
    kill -TERM "$server"
    tries=0
    while kill -0 "$server" 2>/dev/null && [ "$tries" -lt 100 ]; do sleep 0.1; tries=$((tries + 1)); done
    kill -KILL "$server" 2>/dev/null
    """

    class Guard:
        """A shell that ends the server when the pipe from this program breaks, as it does however this program ends.

        Linux's own signal at a parent's death would come when the *thread* that started the server ends, and setting it
        needs Python code between fork and exec, which a program with threads must not run.
        """

        def __init__(self) -> None:
            self._shell = subprocess.Popen(
                ["/bin/sh", "-c", _guard_script],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )

        @property
        def pid(self) -> int | None:
            """The process id of the guard itself, None where the system needs none."""
            return self._shell.pid

        def watch(self, process: subprocess.Popen[bytes]) -> None:
            """From now on the server ends with this program."""
            self._tell(str(process.pid))

        def dismiss(self) -> None:
            """The server has ended, its number may be another process's soon. May be called twice."""
            with contextlib.suppress(OSError, ValueError):
                self._tell("done\ndone")  # once for the number, if it was never told, once for the word
            with contextlib.suppress(OSError):
                self._pipe.close()
            self._shell.wait()

        @property
        def _pipe(self) -> IO[bytes]:
            assert self._shell.stdin is not None
            return self._shell.stdin

        def _tell(self, word: str) -> None:
            self._pipe.write(f"{word}\n".encode())
            self._pipe.flush()
