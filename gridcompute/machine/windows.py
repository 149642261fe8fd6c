"""Job objects: how Windows keeps the processes of a case together and ends them with their owner.

A process in a job has all its descendants in it, whatever they do. When the last handle to the job closes, as it does
however its owner ends, Windows ends them all.
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Any

priority_flags = 0x00004000 | 0x08000000 | 0x00000004
"""For CreateProcess: BELOW_NORMAL_PRIORITY_CLASS, CREATE_NO_WINDOW, CREATE_SUSPENDED (until it is in its job)."""

_kill_on_close = 0x2000  # JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE
_extended_limits, _accounting, _process_list = 9, 1, 3  # JOBOBJECTINFOCLASS
_list_length = 4096
_more_data = 234  # ERROR_MORE_DATA: the list is longer than the room for it, and filled as far as it goes


class _Limits(ctypes.Structure):
    """JOBOBJECT_EXTENDED_LIMIT_INFORMATION."""

    _fields_ = [
        ("PerProcessUserTimeLimit", ctypes.c_int64),
        ("PerJobUserTimeLimit", ctypes.c_int64),
        ("LimitFlags", ctypes.c_uint32),
        ("MinimumWorkingSetSize", ctypes.c_size_t),
        ("MaximumWorkingSetSize", ctypes.c_size_t),
        ("ActiveProcessLimit", ctypes.c_uint32),
        ("Affinity", ctypes.c_size_t),
        ("PriorityClass", ctypes.c_uint32),
        ("SchedulingClass", ctypes.c_uint32),
        ("IoInfo", ctypes.c_uint64 * 6),
        ("ProcessMemoryLimit", ctypes.c_size_t),
        ("JobMemoryLimit", ctypes.c_size_t),
        ("PeakProcessMemoryUsed", ctypes.c_size_t),
        ("PeakJobMemoryUsed", ctypes.c_size_t),
    ]


class _Accounting(ctypes.Structure):
    """JOBOBJECT_BASIC_ACCOUNTING_INFORMATION."""

    _fields_ = [
        ("TotalUserTime", ctypes.c_int64),
        ("TotalKernelTime", ctypes.c_int64),
        ("ThisPeriodTotalUserTime", ctypes.c_int64),
        ("ThisPeriodTotalKernelTime", ctypes.c_int64),
        ("TotalPageFaultCount", ctypes.c_uint32),
        ("TotalProcesses", ctypes.c_uint32),
        ("ActiveProcesses", ctypes.c_uint32),
        ("TotalTerminatedProcesses", ctypes.c_uint32),
    ]


class _ProcessList(ctypes.Structure):
    """JOBOBJECT_BASIC_PROCESS_ID_LIST."""

    _fields_ = [
        ("NumberOfAssignedProcesses", ctypes.c_uint32),
        ("NumberOfProcessIdsInList", ctypes.c_uint32),
        ("ProcessIdList", ctypes.c_size_t * _list_length),
    ]


def _kernel32() -> Any:
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)  # type: ignore[attr-defined]
    kernel.CreateJobObjectW.restype = ctypes.c_void_p  # a handle has 64 bits, ctypes' default 32
    return kernel


class Job:
    """One job object. Raises `OSError` where Windows refuses; `kernel` is a test's stand-in for kernel32."""

    def __init__(self, kernel: Any = None):
        self._kernel = kernel or _kernel32()
        self._handle: int | None = self._kernel.CreateJobObjectW(None, None)
        if not self._handle:
            raise self._error("CreateJobObjectW")
        limits = _Limits(LimitFlags=_kill_on_close)
        self._check(
            "SetInformationJobObject",
            self._kernel.SetInformationJobObject(
                ctypes.c_void_p(self._handle), _extended_limits, ctypes.byref(limits), ctypes.sizeof(limits)
            ),
        )

    def add(self, process_handle: int) -> None:
        """Put a process in the job; what it starts from now on is in it too."""
        added = self._kernel.AssignProcessToJobObject(ctypes.c_void_p(self._handle), ctypes.c_void_p(process_handle))
        self._check("AssignProcessToJobObject", added)

    def active(self) -> int:
        """The number of processes in the job that have not ended; 0 once it is closed."""
        if self._handle is None:
            return 0
        accounting = _Accounting()
        self._query(_accounting, accounting)
        return accounting.ActiveProcesses

    def pids(self) -> list[int]:
        """The processes in the job, the first 4096 of them."""
        if self._handle is None:
            return []
        found = _ProcessList()
        self._query(_process_list, found)
        return list(found.ProcessIdList[: found.NumberOfProcessIdsInList])

    def terminate(self) -> None:
        """End all processes of the job at once; nothing happens when it is closed."""
        if self._handle is not None:
            self._kernel.TerminateJobObject(ctypes.c_void_p(self._handle), 1)

    def close(self) -> None:
        """Close the job, which ends what is still in it. May be called twice."""
        handle, self._handle = self._handle, None
        if handle is not None:
            self._kernel.CloseHandle(ctypes.c_void_p(handle))

    def _query(self, kind: int, structure: ctypes.Structure) -> None:
        good = self._kernel.QueryInformationJobObject(
            ctypes.c_void_p(self._handle), kind, ctypes.byref(structure), ctypes.sizeof(structure), None
        )
        if not good and self._last_error() != _more_data:
            raise self._error("QueryInformationJobObject")

    def _check(self, function: str, good: int) -> None:
        if not good:
            error = self._error(function)
            self.close()
            raise error

    def _error(self, function: str) -> OSError:
        return OSError(f"Windows refused {function} for the processes of a case: error {self._last_error()}.")

    @staticmethod
    def _last_error() -> int:
        return getattr(ctypes, "get_last_error", lambda: 0)()


def set_standard_handles() -> None:
    """Make the process's standard handles those of descriptors 0 to 2, so that what it starts inherits them."""
    if sys.platform == "win32":
        import msvcrt

        kernel = _kernel32()
        for number, descriptor in ((-10, 0), (-11, 1), (-12, 2)):
            os.set_inheritable(descriptor, True)
            kernel.SetStdHandle(number, ctypes.c_void_p(msvcrt.get_osfhandle(descriptor)))
