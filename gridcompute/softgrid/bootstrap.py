# ruff: noqa: PTH123, PTH208
"""The first code of a launched executor: takes over its input, imports what travelled, watches over its process.

Its text is executed by itself before anything of the package can be imported, so it uses the standard library alone.
On POSIX two processes are left: the executor, and above it a guardian of some megabytes that ends whatever the
executor's functions started, even after SIGKILL, clears its temporary folder, and tells the neighbours that an executor
still runs which cannot answer because a function holds its interpreter.
"""

from __future__ import annotations

import base64
import importlib.abc
import importlib.util
import json
import os
import select
import signal
import sys
import time
import traceback

PACKAGE = "gridcompute"

AGAIN = """
import json, sys, zlib
def say(value):
    sys.stdout.write(json.dumps(value) + "\\n")
    sys.stdout.flush()
payload = json.loads(zlib.decompress(sys.stdin.buffer.read({size})).decode())
scope = {{"__name__": "softgrid_bootstrap"}}
exec(compile(payload["sources"]["gridcompute.softgrid.bootstrap"][1], "bootstrap.py", "exec"), scope)
scope["run"](payload, say)
"""


class Carried(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports the modules that travelled, before any installed copy of the same name."""

    def __init__(self, payload):
        self.sources = payload["sources"]
        self.codes = payload.get("codes") or {}

    def find_spec(self, fullname, path=None, target=None):
        if fullname == PACKAGE or fullname in self.sources:
            is_package = fullname == PACKAGE or self.sources[fullname][0]
            return importlib.util.spec_from_loader(fullname, self, origin=self.file_of(fullname), is_package=is_package)
        if fullname.startswith(PACKAGE + "."):
            raise ModuleNotFoundError(f"No module named {fullname!r} travelled with this executor", name=fullname)
        return None

    def file_of(self, fullname):
        return "<travelled>/" + fullname.replace(".", "/") + ".py"

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        name = module.__name__
        if name == PACKAGE:
            return
        if name in self.codes:
            import marshal

            code = marshal.loads(base64.b64decode(self.codes[name]))
        else:
            code = compile(self.sources[name][1], self.file_of(name), "exec")
        exec(code, module.__dict__)

    def get_source(self, fullname):
        return "" if fullname == PACKAGE else self.sources[fullname][1]


def run(payload, say):
    """Becomes the executor that the payload describes; does not return."""
    start = payload["start"]
    sys.path[:] = [entry for entry in sys.path if entry]
    sys.meta_path.insert(0, Carried(payload))
    guard = None
    if hasattr(os, "fork"):
        if start["detach"]:
            say = detach(say)
        guard = split_off_guardian(payload)
    else:
        if start["detach"]:
            start_apart(payload, say)
            os._exit(0)
        bind_children_to_me()
    try:
        from gridcompute.softgrid.started import become

        become(start, say, guard)
    except SystemExit:
        raise
    except BaseException:  # noqa: BLE001
        say({"failed": traceback.format_exc()})
        os._exit(1)


def detach(say):
    """Leaves the login that started us; the first process stays until the executor has said how it went."""
    reading, writing = os.pipe()
    if os.fork():
        os.close(writing)
        with os.fdopen(reading) as lines:
            for line in lines:
                say(json.loads(line))
        os._exit(0)
    os.close(reading)
    os.setsid()
    silence()

    def say_through(value):
        try:
            os.write(writing, (json.dumps(value) + "\n").encode())
            if value is None or "last" in value:
                os.close(writing)
        except OSError:
            pass

    return say_through


def start_apart(payload, say):
    """Windows: starts the executor as a process outside of the login's job, and tells how it went."""
    import subprocess
    import zlib

    again = dict(payload, start=dict(payload["start"], detach=False))
    data = zlib.compress(json.dumps(again).encode(), 1)
    code = AGAIN.format(size=len(data)).encode()
    command = [sys.executable, *sys.orig_argv[1:]]
    for flags in (
        0x01000208,
        0x00000208,
        0,
    ):  # BREAKAWAY_FROM_JOB, NEW_PROCESS_GROUP and DETACHED; the job may forbid it
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                creationflags=flags if sys.platform == "win32" else 0,
            )
            break
        except OSError as exc:
            failure = exc
    else:
        say({"failed": f"The executor cannot be started apart from its login: {failure}", "again": False})
        return
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(b"%d\n" % len(code) + code + data)
    process.stdin.close()
    for line in process.stdout:
        say(json.loads(line))


def silence():
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    os.close(nothing)


def split_off_guardian(payload):
    """Forks; the child goes on as the executor and gets a descriptor to report by, the parent never returns."""
    reading, writing = os.pipe()
    guardian = os.getpid()
    control(36, 1)  # PR_SET_CHILD_SUBREAPER: what the executor leaves behind becomes a child of the guardian
    child = os.fork()
    if child:
        os.close(writing)
        try:
            for number in open_descriptors():
                if number > 2 and number != reading:
                    close(number)
            silence()
            watch_over(child, reading, payload)
        finally:
            os._exit(0)
    os.close(reading)
    control(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != guardian:
        os._exit(1)
    return writing


def open_descriptors():
    try:
        return [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:
        return list(range(3, 256))


def close(number):
    try:
        os.close(number)
    except OSError:
        pass


def control(option, value):
    """prctl, where there is one."""
    if sys.platform.startswith("linux"):
        try:
            import ctypes

            ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
        except (ImportError, OSError, AttributeError):
            pass


def watch_over(child, reading, payload):
    """The guardian's life: ends with the executor, and not before all that it started."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: kill(child))
    waiting = [reading]
    try:
        waiting.append(os.pidfd_open(child))
    except (AttributeError, OSError):
        pass
    told: dict = {"below": {}}
    buffered = b""
    heard = time.monotonic()
    vouchers: dict = {}
    while True:
        ready = select.select(waiting, [], [], 0.5)[0]
        if reading in ready:
            data = os.read(reading, 65536)
            if not data:
                waiting.remove(reading)
            else:
                heard = time.monotonic()
                while vouchers:
                    vouchers.popitem()[1].sock.close()
                buffered += data
                while b"\n" in buffered:
                    line, _, buffered = buffered.partition(b"\n")
                    if line:
                        take_note(told, json.loads(line.decode()))
        if os.waitpid(child, os.WNOHANG)[0]:
            break
        if "session" in told and time.monotonic() - heard > told["tolerance"] / 4:
            vouch(child, told, vouchers)
    end_children()
    folder = told.get("temporary")
    if folder:
        import shutil

        shutil.rmtree(folder, ignore_errors=True)


def take_note(told, news):
    """What the executor told: of itself, and of who joined it from another machine or, without a place, has left."""
    for session, place in news.pop("below", {}).items():
        told["below"].pop(session, None)
        if place is not None:
            told["below"][session] = place
    told.update(news)


def vouch(child, told, vouchers):
    """Tells the upgrid, then those below, that the executor runs, unless it is stopped.

    Ends one that was given up or has no upgrid.
    """
    try:
        with open(f"/proc/{child}/stat") as file:
            runs = file.read().rpartition(")")[2].split()[0] in "RSD"
    except OSError:
        return
    from gridcompute.softgrid import trust

    try:
        speak_for(told, runs, vouchers, 5)
    except (ConnectionRefusedError, trust.Refused):
        kill(child)  # it cannot see for itself that nobody waits for it
        return
    except Exception:  # noqa: BLE001
        pass
    for place in told["below"].values():
        try:
            speak_for(place, runs, vouchers, 2)
        except Exception:  # noqa: BLE001
            pass
    time.sleep(min(1.0, told["tolerance"] / 8))


def speak_for(place, runs, vouchers, timeout):
    """Says to one neighbour that the executor runs; of one that is stopped nothing. Raises where it hears nobody."""
    import socket

    from gridcompute.softgrid import trust

    voucher = vouchers.pop(place["session"], None)
    if voucher is None:
        sock = socket.create_connection((place["address"], place["port"]), timeout=timeout)
        key = bytes.fromhex(place["key"])
        voucher = trust.call(sock, "session:" + place["session"], key, place["pinned"])
        voucher.send_value({"kind": "vouch"})
        if "refused" in voucher.receive_value(4096):
            raise trust.Refused("The executor was given up.")
    if runs:
        voucher.send_value({"runs": True})
        vouchers[place["session"]] = voucher
    else:
        voucher.sock.close()


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError:
        pass


def end_children():
    """Kills every process that the executor's functions started; they are this process's children by now."""
    now = time.monotonic()
    asked = set()
    while time.monotonic() < now + 15:
        for pid in children():
            # The guardian of an executor that was launched from here clears up after its own first.
            gently = is_guardian(pid) and time.monotonic() < now + 10
            try:
                if not gently:
                    os.kill(pid, signal.SIGKILL)
                elif pid not in asked:
                    asked.add(pid)
                    os.kill(pid, signal.SIGTERM)
            except OSError:
                pass
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.01)


def is_guardian(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return b"sys.stdin.buffer.readline" in file.read()
    except OSError:
        return False


def children():
    mine = os.getpid()
    found: list[int] = []
    try:
        names = os.listdir("/proc")
    except OSError:
        return found
    for name in names:
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as file:
                    if int(file.read().rpartition(")")[2].split()[1]) == mine:
                        found.append(int(name))
            except (OSError, ValueError, IndexError):
                continue
    return found


def bind_children_to_me():
    """Windows: a job object that ends every process started by this one when it ends."""
    try:
        import ctypes
        from ctypes import wintypes

        class Limits(ctypes.Structure):
            _fields_ = [
                ("times", ctypes.c_int64 * 2),
                ("flags", wintypes.DWORD),
                ("sizes", ctypes.c_size_t * 2),
                ("processes", wintypes.DWORD),
                ("affinity", ctypes.c_size_t),
                ("classes", wintypes.DWORD * 2),
                ("counters", ctypes.c_uint64 * 6),
                ("memory", ctypes.c_size_t * 4),
            ]

        kernel = ctypes.windll.kernel32  # type: ignore[attr-defined]
        kernel.CreateJobObjectW.restype = wintypes.HANDLE
        kernel.GetCurrentProcess.restype = wintypes.HANDLE
        job = wintypes.HANDLE(kernel.CreateJobObjectW(None, None))
        limits = Limits()
        limits.flags = 0x2000  # JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE
        kernel.SetInformationJobObject(job, 9, ctypes.byref(limits), ctypes.sizeof(limits))
        kernel.AssignProcessToJobObject(job, wintypes.HANDLE(kernel.GetCurrentProcess()))
    except (ImportError, AttributeError, OSError):
        pass
