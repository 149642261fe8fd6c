"""Starts executors, here and over SSH, and is what a started one does first.

The program that starts is a line of Python that reads its code from its input; bootstrap, code and password come that
way, so nothing is installed there and nothing secret stands in a process list.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import importlib.util
import json
import marshal
import os
import shlex
import shutil
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import travel
from .wire import joined

STUB = "import sys;exec(sys.stdin.buffer.read(int(sys.stdin.buffer.readline())))"
"""Without quotes, dollars or percent signs: it means the same in sh, cmd.exe and PowerShell between double quotes.

The executable knows it as `machine.program.executor_line`, and takes no other.
"""

_FIRST = """
import sys, json
def say(value):
    try:
        sys.stdout.write(json.dumps(value) + "\\n")
        sys.stdout.flush()
    except (OSError, ValueError):
        pass
def cores():
    import os
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1
import importlib.util
say({"softgrid": 1, "python": list(sys.version_info[:3]), "cores": cores(),
     "magic": importlib.util.MAGIC_NUMBER.hex()})
size = int(sys.stdin.buffer.readline() or 0)
if size and sys.version_info >= (3, 10):
    import zlib
    payload = json.loads(zlib.decompress(sys.stdin.buffer.read(size)).decode())
    scope = {"__name__": "softgrid_bootstrap"}
    exec(compile(payload["sources"]["gridcompute.softgrid.bootstrap"][1], "bootstrap.py", "exec"), scope)
    scope["run"](payload, say)
"""

SOURCES = "sources"
"""Folder in an executable, beside this module: the package as far as it travels (`admin/executable/definition.py`)."""

OLDEST_PYTHON = (3, 10)


class LaunchFailed(Exception):
    """An executor did not start; `again` tells whether another try may help."""

    def __init__(self, message: str, again: bool = True, gave_place_back: bool = False):
        super().__init__(message)
        self.again = again
        self.gave_place_back = gave_place_back


@dataclass
class Order:
    """What is to be started, and where it shall connect."""

    role: str
    kwargs: dict[str, Any]
    address: str  # of the upgrid
    port: int
    password: str = field(repr=False)
    fingerprint: str = ""
    tracking: str = ""
    timeout: float = 10.0

    def to_dict(self, detach: bool) -> dict[str, Any]:
        return {
            "role": self.role,
            "kwargs": base64.b64encode(_pickled(self.kwargs)).decode(),
            "connect": [self.address, self.port, self.password, self.fingerprint, self.tracking],
            "timeout": self.timeout,
            "detach": detach,
        }


def _pickled(kwargs: dict[str, Any]) -> bytes:
    segments = travel.dumps(kwargs)
    if len(segments) > 1:
        raise LaunchFailed("An executor's keyword arguments must not hold large buffers.", again=False)
    return bytes(joined(segments[0]))


@functools.cache
def _modules() -> dict[str, tuple[bool, str]]:
    """The modules that travel: name -> (is a package, source)."""
    package = "gridcompute.softgrid"
    travelled = sys.modules[package].__spec__
    sources = getattr(travelled.loader, "sources", None) if travelled is not None else None
    if sources is not None:  # this executor was itself launched
        return {name: (bool(item[0]), str(item[1])) for name, item in sources.items()}
    folder = Path(__file__).parent
    if (folder / SOURCES).is_dir():  # an executable, whose modules are compiled
        folder = folder / SOURCES / "softgrid"
    found: dict[str, tuple[bool, str]] = {}
    for file in sorted(folder.rglob("*.py")):
        parts = file.relative_to(folder).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        name = ".".join([package, *(parts[:-1] if is_package else parts)])
        found[name] = (is_package, file.read_text(encoding="utf-8"))
    found["gridcompute.errors"] = (False, (folder.parent / "errors.py").read_text(encoding="utf-8"))
    return found


@functools.cache
def _codes() -> dict[str, str]:
    """The same modules compiled for this Python, so that a far side of the same one need not."""
    codes = {}
    for name, (_, source) in _modules().items():
        file = f"<travelled>/{name.replace('.', '/')}.py"
        codes[name] = base64.b64encode(marshal.dumps(compile(source, file, "exec", dont_inherit=True))).decode()
    return codes


_pack_lock = threading.Lock()


def payload(start: dict[str, Any], magic: str) -> bytes:
    with _pack_lock:
        same = magic == importlib.util.MAGIC_NUMBER.hex()
        value = {"sources": _modules(), "codes": _codes() if same else None, "start": start}
    return zlib.compress(json.dumps(value).encode(), 1)


# --- the starting side -----------------------------------------------------------------------------------


def is_local(address: str) -> bool:
    """Whether an address belongs to this computer: then it can be bound to."""
    try:
        found = socket.getaddrinfo(address, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    for family, kind, _, _, place in found:
        with contextlib.suppress(OSError), socket.socket(family, kind) as sock:
            sock.bind((place[0], 0))
            return True
    return False


def own_address() -> str:
    """The address by which other machines most likely reach this one."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("192.0.2.1", 9))  # sends nothing: it only asks for the route
        return str(sock.getsockname()[0])
    return "127.0.0.1"


def start_here(order: Order, executable: str | None) -> subprocess.Popen[bytes]:
    """Starts an executor as a child process of the current user; returns when it has connected. Raises LaunchFailed."""
    program = executable or sys.executable
    words = [program] if shutil.which(program) else shlex.split(program)  # "python3 -I" as over SSH
    command = [*words, "-c", STUB]
    return _start(command, order, detach=False, where="this machine")[0]


def start_there(
    order: Order, host: str, user: str | None, executables: list[str], admit: Callable[[int], str | None]
) -> str:
    """Starts an executor over SSH; returns the executable that served. Raises LaunchFailed.

    `admit` is told the machine's cores before anything is sent and answers why it may not be, or None.
    """
    ssh = shutil.which("ssh")
    if ssh is None:
        raise LaunchFailed("There is no ssh client on this machine; install OpenSSH.", again=False)
    seconds = max(1, int(order.timeout))
    options = ["-T", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={seconds}", "-o", "ClearAllForwardings=yes"]
    target = f"{user}@{host}" if user else host
    if target.startswith("-"):
        raise LaunchFailed(f"{target!r} is no address.", again=False)
    failures: list[str] = []
    for executable in executables:
        command = [ssh, *options, "--", target, f'{executable} -c "{STUB}"']
        try:
            process, _ = _start(command, order, detach=True, where=target, admit=admit)
        except _NoPython as exc:
            failures.append(f"{executable}: {exc}")
            continue
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5.0)
        if process.poll() is None:
            process.kill()
            process.wait()
        return executable
    raise LaunchFailed(f"No Python was found on {target}. {' '.join(failures)}")


class _NoPython(Exception):
    """The other side has no such program."""


def _start(
    command: list[str],
    order: Order,
    detach: bool,
    where: str,
    admit: Callable[[int], str | None] | None = None,
) -> tuple[subprocess.Popen[bytes], dict[str, Any]]:
    environment = (
        {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")} if not detach else None
    )
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=sys.platform != "win32",
            creationflags=0x08000000 if sys.platform == "win32" else 0,  # CREATE_NO_WINDOW
        )
    except OSError as exc:
        raise LaunchFailed(f"{command[0]} can't be started: {exc}", again=False) from exc
    late = threading.Event()

    def end_it() -> None:
        late.set()
        process.terminate()

    guard = threading.Timer(order.timeout, end_it)
    guard.daemon = True
    guard.start()
    try:
        return process, _converse(process, order, detach, where, admit)
    except BaseException as exc:
        end(process, by_itself=isinstance(exc, LaunchFailed) and not late.is_set())
        words = _last_words(process)
        if late.is_set():
            raise LaunchFailed(f"The executor did not start on {where} within {order.timeout:g} s. {words}") from exc
        if isinstance(exc, _NoPython):
            raise _NoPython(f"{exc} {words}".strip()) from exc
        if isinstance(exc, (OSError, ValueError)):
            raise LaunchFailed(f"The start on {where} broke off: {exc}. {words}") from exc
        raise
    finally:
        guard.cancel()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def _converse(
    process: subprocess.Popen[bytes],
    order: Order,
    detach: bool,
    where: str,
    admit: Callable[[int], str | None] | None,
) -> dict[str, Any]:
    assert process.stdin is not None and process.stdout is not None
    first = _FIRST.encode()
    process.stdin.write(b"%d\n%s" % (len(first), first))
    process.stdin.flush()
    greeting = _next_line(process)
    if greeting is None:
        code = _code_of(process)
        if detach and code == 255:
            raise LaunchFailed(f"SSH could not log in to {where}. {_last_words(process)}")
        if detach:
            raise _NoPython(f"it did not start (exit code {code}).")
        raise LaunchFailed(f"Python did not start on {where} (exit code {code}). {_last_words(process)}", again=False)
    version = tuple(greeting["python"])
    if version < OLDEST_PYTHON:
        text = ".".join(map(str, version))
        raise LaunchFailed(f"{where} has Python {text}; executors need 3.10 or newer.", again=False)
    refusal = admit(int(greeting["cores"])) if admit is not None else None
    if refusal is not None:
        raise LaunchFailed(refusal, again=False, gave_place_back=True)
    data = payload(order.to_dict(detach), greeting["magic"])
    process.stdin.write(b"%d\n" % len(data) + data)
    process.stdin.flush()
    while True:
        line = _next_line(process)
        if line is None:
            raise LaunchFailed(f"The executor ended while it started on {where}. {_last_words(process)}")
        if "failed" in line:
            raise LaunchFailed(f"The executor failed on {where}: {line['failed']}", again=bool(line.get("again", True)))
        if "joined" in line:
            return line


def _next_line(process: subprocess.Popen[bytes]) -> dict[str, Any] | None:
    """The next line of ours; what a login shell may print before it is passed over."""
    assert process.stdout is not None
    for raw in process.stdout:
        with contextlib.suppress(ValueError):
            value = json.loads(raw)
            if isinstance(value, dict) and value.keys() & {"softgrid", "failed", "joined"}:
                return value
    return None


def end(process: subprocess.Popen[bytes], by_itself: bool) -> None:
    """Sees a failed start off; its guardian clears up, so the process is killed only where it does not end."""
    for seconds, act in ((2.0 if by_itself else 0.0, process.terminate), (2.0, process.kill)):
        try:
            process.wait(seconds)
            return
        except subprocess.TimeoutExpired:
            act()
    process.wait()


def _code_of(process: subprocess.Popen[bytes]) -> int | None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        return process.wait(2.0)
    return None


def _last_words(process: subprocess.Popen[bytes]) -> str:
    """The end of what a failed start wrote to its error output."""
    if process.stderr is None or process.stderr.closed or _code_of(process) is None:
        return ""
    return process.stderr.read()[-2000:].decode(errors="replace").strip()


def wait_until(condition: Callable[[], bool], timeout: float, pause: float = 0.01) -> bool:
    until = time.monotonic() + timeout
    while not condition():
        if time.monotonic() >= until:
            return False
        time.sleep(pause)
    return True
