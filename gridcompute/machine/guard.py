"""Ends a server that this program started when this program is gone, however it went: by SIGKILL too."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from typing import IO

__all__ = ["Guard"]

if sys.platform == "win32":
    import ctypes
    from ctypes import wintypes

    class _JobLimits(ctypes.Structure):
        """JOBOBJECT_EXTENDED_LIMIT_INFORMATION."""

        _fields_ = [
            ("PerProcessUserTimeLimit", ctypes.c_int64),
            ("PerJobUserTimeLimit", ctypes.c_int64),
            ("LimitFlags", wintypes.DWORD),
            ("MinimumWorkingSetSize", ctypes.c_size_t),
            ("MaximumWorkingSetSize", ctypes.c_size_t),
            ("ActiveProcessLimit", wintypes.DWORD),
            ("Affinity", ctypes.c_size_t),
            ("PriorityClass", wintypes.DWORD),
            ("SchedulingClass", wintypes.DWORD),
            ("IoInfo", ctypes.c_uint64 * 6),
            ("ProcessMemoryLimit", ctypes.c_size_t),
            ("JobMemoryLimit", ctypes.c_size_t),
            ("PeakProcessMemoryUsed", ctypes.c_size_t),
            ("PeakJobMemoryUsed", ctypes.c_size_t),
        ]

    class Guard:
        """A job object: Windows ends what is in it when its only handle closes, however this program ends."""

        _kill_on_close, _extended_limits = 0x2000, 9

        pid: int | None = None

        def __init__(self) -> None:
            self._kernel = ctypes.WinDLL("kernel32", use_last_error=True)
            self._kernel.CreateJobObjectW.restype = wintypes.HANDLE
            self._job: int | None = self._kernel.CreateJobObjectW(None, None)
            limits = _JobLimits(LimitFlags=self._kill_on_close)
            self._kernel.SetInformationJobObject(
                wintypes.HANDLE(self._job), self._extended_limits, ctypes.byref(limits), ctypes.sizeof(limits)
            )

        def watch(self, process: subprocess.Popen[bytes]) -> None:
            """From now on the server ends with this program."""
            handle = int(process._handle)  # type: ignore[attr-defined]
            if not self._kernel.AssignProcessToJobObject(wintypes.HANDLE(self._job), wintypes.HANDLE(handle)):
                raise ctypes.WinError(ctypes.get_last_error())

        def dismiss(self) -> None:
            """The server has ended. May be called twice."""
            job, self._job = self._job, None
            if job is not None:
                self._kernel.CloseHandle(wintypes.HANDLE(job))

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
