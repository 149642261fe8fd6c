"""The processes of executors, as the others of their machine see them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any


def process_state(pid: int) -> str | None:
    """The state letter of a process of this machine as Linux tells it; None where there is none, '?' elsewhere."""
    if sys.platform.startswith("linux"):
        try:
            text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        except OSError:
            return None
        return text.rpartition(")")[2].split()[0]
    if sys.platform == "win32":
        return _state_on_windows(pid)
    try:
        os.kill(pid, 0)
    except PermissionError:
        return "?"
    except OSError:
        return None
    return "?"


def _state_on_windows(pid: int) -> str | None:
    """There `os.kill(pid, 0)` is no question but a Ctrl+C."""
    import ctypes

    kernel = ctypes.windll.kernel32  # type: ignore[attr-defined]
    handle = kernel.OpenProcess(0x1000, False, pid)  # PROCESS_QUERY_LIMITED_INFORMATION
    if not handle:
        return "?" if kernel.GetLastError() == 5 else None  # ERROR_ACCESS_DENIED: there is one, of another user
    try:
        code = ctypes.c_ulong()
        known = kernel.GetExitCodeProcess(handle, ctypes.byref(code))
        return "?" if not known or code.value == 259 else None  # STILL_ACTIVE
    finally:
        kernel.CloseHandle(handle)


def process_start(pid: int) -> str:
    """When a process began, by the machine's own count, so that a number used again is not taken for the same."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return "0"


def is_own(info: dict[str, Any]) -> bool:
    """Whether an executor lives in this very process: a script may hold several, joined by hand."""
    return info.get("machine") == machine_id() and int(info["pid"]) == os.getpid()


def may_be_killed(info: dict[str, Any]) -> bool:
    """Whether the process of an executor is one of this machine, not this very one, and for nothing else there."""
    return info.get("machine") == machine_id() and not is_own(info) and not info.get("stays")


def kill_process(info: dict[str, Any]) -> None:
    """Kills the process of an executor where it may be killed and is still the same."""
    pid = int(info["pid"])
    if may_be_killed(info) and process_start(pid) == info.get("started"):
        with contextlib.suppress(OSError):
            os.kill(pid, getattr(signal, "SIGKILL", signal.SIGTERM))


def runs_here(info: dict[str, Any]) -> bool:
    """Whether an executor of this machine runs, and is not stopped."""
    return info.get("machine") == machine_id() and process_state(int(info["pid"])) in ("R", "S", "D", "?")


def is_gone(info: dict[str, Any]) -> bool:
    """Whether an executor surely runs no more: its process, or nobody listens at its port."""
    if info.get("machine") == machine_id():
        return process_state(int(info["pid"])) in (None, "Z", "X")
    try:
        socket.create_connection((info["address"], int(info["port"])), timeout=1.0).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        pass
    return False


def machine_id() -> str:
    """The same for processes that see each other's ids, and for no others."""
    global _machine
    if not _machine:
        try:
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
            _machine = ":".join([boot, *(str(Path(f"/proc/self/ns/{kind}").readlink()) for kind in ("pid", "net"))])
        except OSError:
            import uuid

            _machine = f"{uuid.getnode():x}:{socket.gethostname()}"
    return _machine


_machine = ""


def process_space() -> str:
    """Where a process's id means something, for a file's name: unlike `machine_id` the same after a new start."""
    known = socket.gethostname()
    with contextlib.suppress(OSError):
        known += str(Path("/proc/self/ns/pid").readlink())
    with contextlib.suppress(OSError):
        known += Path("/etc/machine-id").read_text(errors="replace")
    return hashlib.sha256(known.encode(errors="replace")).hexdigest()[:12]
