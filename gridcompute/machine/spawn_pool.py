"""Children as fresh interpreters: on Windows and macOS, and wherever it is asked for.

Interpreters wait ready, each takes one job from its standard input. Messages come by its standard output, what the
application prints by its standard error; the interpreter moves these away from the application (`child.main`). On
Windows each stands in a job object, elsewhere in a session of its own and with a mark in its environment, and one
process beside them (`watch`) ends them if their owner dies.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any, Protocol

import psutil

from gridcompute.machine import program, trees, windows
from gridcompute.machine.child import sweep_grace
from gridcompute.machine.output import BoundedOutput
from gridcompute.machine.packets import SWEEP, Assembler, packets, pipe_limit

if TYPE_CHECKING:
    from gridcompute.machine.processes import Child

log = logging.getLogger(__name__)

_last_words = 1.0
"""Seconds in which the pipes of a tree that is gone must have been read to their end."""

_force_time = 5.0
_start_pause = 1.0
"""Seconds before another interpreter is started after one could not be."""

_from_runner = ("stage", "progress", "waits", "outcome")

Message = dict[str, Any]
Emit = Callable[["Child", Message], None]


class Tree(Protocol):
    """The processes of one interpreter, as the system lets us hold them."""

    def members(self) -> list[psutil.Process]: ...
    def ask_to_end(self) -> None: ...
    def kill(self) -> bool: ...
    def forget(self) -> None: ...


class PosixTree:
    """Known by descent, session and mark; `watch` knows it too."""

    def __init__(self, process: subprocess.Popen[bytes], mark: str, watch: IO[bytes]):
        self._process, self._mark, self._watch = process, mark, watch
        self._tell(f"+ {process.pid} {mark}\n")

    def members(self) -> list[psutil.Process]:
        return trees.members(self._process.pid, self._mark, root_ended=self._process.returncode is not None)

    def ask_to_end(self) -> None:
        members = self.members()
        trees.signal_all(members, signal.SIGTERM)
        trees.signal_all(members, signal.SIGCONT)

    def kill(self) -> bool:
        return trees.kill_until_none(self.members, _force_time)

    def forget(self) -> None:
        self._tell(f"- {self._process.pid}\n")

    def _tell(self, line: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._watch.write(line.encode("ascii"))
            self._watch.flush()


class WindowsTree:
    """Known by its job object. Raises `OSError` where Windows refuses one; the process is then ended."""

    def __init__(self, process: subprocess.Popen[bytes], job: windows.Job | None = None):
        try:
            self._job = job or windows.Job()
            self._job.add(int(process._handle))  # type: ignore[attr-defined]
            psutil.Process(process.pid).resume()  # it was started suspended
        except (OSError, psutil.Error) as exc:
            process.kill()  # in no job, it would wait suspended for ever
            process.wait()
            raise OSError(f"A process for a case was started and can't be held: {exc}") from exc

    def members(self) -> list[psutil.Process]:
        found = []
        for pid in self._job.pids():
            with contextlib.suppress(psutil.Error):
                found.append(psutil.Process(pid))
        return found

    def ask_to_end(self) -> None:
        """Windows has no polite way that a process without a window would hear."""

    def kill(self) -> bool:
        end = time.monotonic() + _force_time
        while self._job.active():
            self._job.terminate()
            if time.monotonic() > end:
                return False
            time.sleep(0.005)
        return True

    def forget(self) -> None:
        self._job.close()


class _Interpreter:
    """One interpreter with the threads that hear it, wait for it and clear up behind it."""

    def __init__(self, pool: SpawnPool, process: subprocess.Popen[bytes], tree: Tree):
        self.pool, self.process, self.tree = pool, process, tree
        self.child: Child | None = None
        self.ready = threading.Event()
        self._output: BoundedOutput | None = None
        self._threads = [threading.Thread(target=one, daemon=True) for one in (self._hear, self._pump)]
        for thread in (*self._threads, threading.Thread(target=self._attend, daemon=True)):
            thread.start()

    def take(self, child: Child, output_limit_bytes: int) -> None:
        """Hand the job over; an interpreter that was killed while it waited has its end told as any other."""
        self.child, child.pid = child, self.process.pid
        self._output = BoundedOutput(child.job["output"], output_limit_bytes)
        for packet in packets(child.job, pipe_limit):
            self._write(packet + b"\n")

    def obey(self, order: Message) -> None:
        match order["order"]:
            case "pause":
                self._stop()
            case "resume":
                for process in self.tree.members():
                    with contextlib.suppress(psutil.Error):
                        process.resume()
            case "end":
                self._end(order["grace"])

    def dismiss(self) -> None:
        """Let an interpreter without a job leave."""
        with contextlib.suppress(OSError, ValueError):
            assert self.process.stdin is not None
            self.process.stdin.close()

    def _write(self, data: bytes) -> None:
        with contextlib.suppress(OSError, ValueError):
            assert self.process.stdin is not None
            self.process.stdin.write(data)
            self.process.stdin.flush()

    def _stop(self) -> None:
        stopped: set[psutil.Process] = set()
        while new := set(self.tree.members()) - stopped:
            for process in new:
                with contextlib.suppress(psutil.Error):
                    process.suspend()
            stopped |= new

    def _end(self, grace: float) -> None:
        if grace > 0 and sys.platform != "win32":
            self.tree.ask_to_end()
            force = threading.Timer(grace, self.tree.kill)
            force.daemon = True
            force.start()
        else:
            threading.Thread(target=self.tree.kill, daemon=True).start()

    def _hear(self) -> None:
        assembler = Assembler()
        assert self.process.stdout is not None
        with contextlib.suppress(OSError, ValueError):
            for line in self.process.stdout:
                packet = line.rstrip(b"\r\n")
                message = assembler.feed(packet)
                if packet == SWEEP:
                    self._sweep()
                elif message is not None and message.get("kind") == "ready":
                    self.ready.set()
                elif message is not None and message.get("kind") in _from_runner and self.child is not None:
                    self.pool.emit(self.child, message)

    def _sweep(self) -> None:
        """End what the application left behind, then let its interpreter go on."""
        end = time.monotonic() + sweep_grace
        asked = False
        while left := [process for process in self.tree.members() if process.pid != self.process.pid]:
            for process in left:
                with contextlib.suppress(psutil.Error):
                    if time.monotonic() >= end:
                        process.kill()
                    elif not asked:
                        process.terminate()
            asked = True
            time.sleep(0.02)
        self._write(SWEEP + b"\n")

    def _pump(self) -> None:
        assert self.process.stderr is not None
        with contextlib.suppress(OSError, ValueError):
            while data := os.read(self.process.stderr.fileno(), 1 << 16):
                if self._output is not None:
                    self._output.write(data)

    def _attend(self) -> None:
        code = self.process.wait()
        while not self.tree.kill():
            log.warning("Processes of a case can't be ended, not even by force; still trying.")
        for thread in self._threads:
            thread.join(_last_words)
        self.tree.forget()
        if self._output is not None:
            self._output.close()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            with contextlib.suppress(OSError, ValueError):
                assert stream is not None
                stream.close()
        self.pool.left(self)
        if self.child is not None:
            by_signal = code < 0 and sys.platform != "win32"
            end = {"exit": None if by_signal else code, "signal": -code if by_signal else None}
            self.pool.emit(self.child, {"kind": "ended", **end})


class SpawnPool:
    """Keeps interpreters ready and hands children to them."""

    def __init__(self, entry: str, ready: int, output_limit_bytes: int, emit: Emit):
        self.alive = True
        self.emit = emit
        self._entry, self._ready, self._output_limit = entry, ready, output_limit_bytes
        self._changed = threading.Condition(threading.RLock())
        self._idle: deque[_Interpreter] = deque()
        self._all: set[_Interpreter] = set()
        self._waiting: deque[Child] = deque()
        self._watch = _start_watch() if sys.platform != "win32" else None
        self._thread = threading.Thread(target=self._refill, name="children", daemon=True)
        self._thread.start()

    def start(self, child: Child) -> None:
        """Give `child` to an interpreter that waits, or to the next."""
        with self._changed:
            self._waiting.append(child)
            self._hand_out()

    def tell(self, child: Child, order: Message) -> None:
        """Pause, resume or end `child`; one that still waits is ended without having begun."""
        with self._changed:
            interpreter = next((one for one in self._all if one.child is child), None)
            never_begun = interpreter is None and child in self._waiting and order["order"] == "end"
            if never_begun:
                self._waiting.remove(child)
        if interpreter is not None:
            interpreter.obey(order)
        elif never_begun:
            self.emit(child, {"kind": "ended", "exit": None, "signal": None})

    def set_ready(self, count: int) -> None:
        """Keep `count` interpreters waiting; those too many leave."""
        with self._changed:
            self._ready = count
            self._dismiss_surplus()
            self._changed.notify_all()

    def usage(self, child: Child) -> trees.Usage:
        """What the tree of `child` uses."""
        with self._changed:
            interpreter = next((one for one in self._all if one.child is child), None)
        return trees.usage(interpreter.tree.members() if interpreter is not None else ())

    def left(self, interpreter: _Interpreter) -> None:
        """`interpreter` has ended, with all it started."""
        with self._changed:
            self._all.discard(interpreter)
            if interpreter in self._idle:
                self._idle.remove(interpreter)
            self._changed.notify_all()

    def close(self) -> None:
        """Let all interpreters leave, by force after a while, and the watch with them."""
        with self._changed:
            self.alive = False
            self._changed.notify_all()
            for interpreter in self._all:
                interpreter.dismiss()
            self._changed.wait_for(lambda: not self._all, _force_time)
            left = list(self._all)
        for interpreter in left:
            interpreter.tree.kill()
        self._thread.join(_force_time)
        if self._watch is not None:
            assert self._watch.stdin is not None
            self._watch.stdin.close()
            self._watch.wait()

    def _hand_out(self) -> None:
        while self._waiting and self._idle:
            interpreter, child = self._idle.popleft(), self._waiting.popleft()
            interpreter.take(child, self._output_limit)
            if child.paused:
                interpreter.obey({"order": "pause"})
        self._changed.notify_all()

    def _refill(self) -> None:
        """In a thread: start interpreters until enough wait."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: not self.alive or self._missing() > 0)
                if not self.alive:
                    return
            try:
                interpreter = self._start_interpreter()
            except OSError as exc:
                log.error("Cannot start a process for a case: %s. It is tried again.", exc)
                with self._changed:
                    self._changed.wait_for(lambda: not self.alive, _start_pause)
                continue
            with self._changed:
                self._all.add(interpreter)
                if self.alive:
                    self._idle.append(interpreter)
                    self._hand_out()
                    self._dismiss_surplus()
                else:
                    interpreter.dismiss()

    def _dismiss_surplus(self) -> None:
        while len(self._idle) > self._ready:
            self._idle.popleft().dismiss()

    def _missing(self) -> int:
        return self._ready + len(self._waiting) - len(self._idle)

    def _start_interpreter(self) -> _Interpreter:
        mark = secrets.token_hex(8)
        process = subprocess.Popen(
            program.command(program.child_command, self._entry),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, trees.mark_variable: mark},
            start_new_session=sys.platform != "win32",
            creationflags=windows.priority_flags if sys.platform == "win32" else 0,
        )
        if sys.platform == "win32":
            return _Interpreter(self, process, WindowsTree(process))
        assert self._watch is not None and self._watch.stdin is not None
        return _Interpreter(self, process, PosixTree(process, mark, self._watch.stdin))


def _start_watch() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        program.command(program.watch_command),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
