"""A MongoDB server in a process of its own: its start on a folder, and its end."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote

from gridcompute.config import database_name
from gridcompute.errors import MongodError
from gridcompute.machine.guard import Guard
from gridcompute.machine.mongod import setup
from gridcompute.machine.mongod.finding import find_mongod
from gridcompute.machine.mongod.log import last_words
from gridcompute.machine.mongod.ports import free_port

if TYPE_CHECKING:
    from pymongo import MongoClient

replica_set = "gridcompute"
start_timeout = 60.0
"""Seconds that one start may take; it takes about one, and longer after a kill on a large data folder."""

stop_timeout = 20.0
"""Seconds after which a server that was asked to stop is ended by force."""

folder_patience = 15.0
"""Seconds in which the server of a killed owner must have left the data folder, and others the port."""

_exit_address_in_use, _exit_folder_in_use = 48, 100
_answers_line = b"Waiting for connections"


class PrivateMongod:
    """A MongoDB server in a process of its own, on the folder `data`, that ends with the program that started it.

    The folder and what it holds can be read by this user alone. It keeps the key file and the administrator's password,
    so the server may be started again on it, by another program too, on another port, after a SIGKILL as well.

    `port` 0 takes a free one at the first start and keeps it as long as the object lives. With `users` the database
    `gridcompute` has the user `user_group` with `password` and the role readWrite; a new password is taken over at the
    next start. `host` is the address that it listens on beside the loopback, for a team ``0.0.0.0``.
    `cache_gigabytes` bounds the server's cache, which else is half the computer's memory; 0.25 is the least it takes.

    Not to be used by several threads at once, but for `alive`, `wait` and `stop`.
    """

    def __init__(
        self,
        data: Path,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        user_group: str = "",
        password: str = "",
        users: bool = True,
        cache_gigabytes: float = 0.25,
    ):
        if users and not (user_group and password):
            raise MongodError("A MongoDB server with users needs the user group's name and password; one is empty.")
        self.data = Path(data).absolute()
        self.host = host
        self.port = port
        self.user_group = user_group
        self.password = password
        self.users = users
        self.cache_gigabytes = cache_gigabytes
        self._port_is_free_choice = port == 0
        self._port_was_served = False
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: Guard | None = None
        self._stopping = threading.Lock()
        self._administrator_password = ""

    def __enter__(self) -> PrivateMongod:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<PrivateMongod {self.address} on {self.data}, {'alive' if self.alive else 'not running'}>"

    @property
    def address(self) -> str:
        """``host:port`` for programs on this computer."""
        if _is_wildcard(self.host) or _is_loopback(self.host):
            return f"127.0.0.1:{self.port}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def team_address(self) -> str:
        """``host:port`` for other computers: this computer's name where the server listens on every address."""
        return f"{socket.gethostname()}:{self.port}" if _is_wildcard(self.host) else self.address

    @property
    def url(self) -> str:
        """A whole ``mongodb://`` address for tools of this computer, with the team's password: not for the log."""
        login = f"{quote(self.user_group, safe='')}:{quote(self.password, safe='')}@" if self.users else ""
        return f"mongodb://{login}{self.address}/?directConnection=true&authSource={database_name}"

    @property
    def alive(self) -> bool:
        """Whether the server's process runs. Any thread may ask."""
        process = self._process
        if process is not None and process.poll() is None:
            return True
        self._dismiss_guard()
        return False

    @property
    def pid(self) -> int | None:
        """The process id of the server last started; None before the first start and after `stop`."""
        process = self._process
        return process.pid if process else None

    @property
    def process_ids(self) -> set[int]:
        """The process ids of the server and of the helper that ends it with this program, as far as they run."""
        guards = {self._guard.pid} if self._guard and self._guard.pid else set()
        return guards | ({self._process.pid} if self._process else set())

    @property
    def log_path(self) -> Path:
        """What the server printed since its last start; the run before lies beside it as ``mongod.previous.log``."""
        return self.data / "mongod.log"

    def start(self, timeout: float = start_timeout) -> None:
        """Start the server and return when it takes writes; does nothing while it runs already.

        Raises `MongodError` when that fails within `timeout` seconds; no process is left then.
        """
        if self.alive:
            return
        self._forget_process()
        deadline = time.monotonic() + timeout
        self._prepare_folder()
        try:
            self._start(deadline)
        except BaseException:
            self._end_by_force()
            raise
        self._port_was_served = True

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait until the server ends, at most `timeout` seconds; its exit code, or None while it still runs."""
        process = self._process
        if process is None:
            return None
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None
        self._dismiss_guard()
        return code

    def stop(self) -> None:
        """End the server in order, by force after `stop_timeout` seconds. May be called twice and from any thread."""
        with self._stopping:
            process = self._process
            if process is not None and process.poll() is None:
                self._ask_to_stop(process)
                try:
                    process.wait(stop_timeout)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
            self._forget_process()

    # ------------------------------------------------------------------ start, step by step

    def _start(self, deadline: float) -> None:
        on_loopback = ["127.0.0.1"]
        if not self._set_up_mark.exists():
            # Until its users exist anybody who reaches the server could make himself its administrator.
            self._launch(on_loopback, deadline)
            self._make_replica_set(deadline)
            self._make_users()
            self._set_up_mark.touch()
            if _is_loopback(self.host):
                return
            self.stop()
        addresses = [self.host] if _is_wildcard(self.host) else list(dict.fromkeys([*on_loopback, self.host]))
        self._launch(addresses, deadline)
        self._make_replica_set(deadline)
        self._make_users()

    @property
    def _set_up_mark(self) -> Path:
        return self.data / ("ready-with-users" if self.users else "ready")

    def _prepare_folder(self) -> None:
        try:
            (self.data / "db").mkdir(mode=0o700, parents=True, exist_ok=True)
            self.data.chmod(0o700)
            if self.users:
                _write_once(self._key_path, secrets.token_hex(384), 0o400)
                _write_once(self._password_path, secrets.token_urlsafe(24), 0o600)
                self._administrator_password = self._password_path.read_text("ascii").strip()
        except OSError as exc:
            raise MongodError(
                f"Cannot prepare the data folder {self.data} of the MongoDB server: {exc.strerror or exc}. "
                "Name a folder on a local disk that you may write to."
            ) from exc

    @property
    def _key_path(self) -> Path:
        return self.data / "key"

    @property
    def _password_path(self) -> Path:
        return self.data / "administrator-password"

    def _launch(self, addresses: list[str], deadline: float) -> None:
        """Start the process; try again while the port was taken meanwhile or the one before still holds the folder."""
        patience = min(deadline, time.monotonic() + folder_patience)
        while True:
            if not self.port:
                self.port = free_port(addresses[0])
            code = self._launch_once(addresses, deadline)
            if code is None:
                return
            self._forget_process()
            if code == _exit_folder_in_use and time.monotonic() < patience:
                time.sleep(0.2)
            elif code == _exit_address_in_use and self._port_is_free_choice and time.monotonic() < deadline:
                self._leave_port(patience)
            else:
                raise MongodError(self._why_it_ended(code))

    def _leave_port(self, patience: float) -> None:
        """Choose another port next; a server started again first insists on the one that its clients know."""
        if self._port_was_served and time.monotonic() < patience:
            time.sleep(0.2)
        else:
            self.port = 0

    def _launch_once(self, addresses: list[str], deadline: float) -> int | None:
        """Start the process and return None once it listens, or its exit code."""
        guard = self._guard = Guard()
        with self._new_log() as log:
            try:
                process = self._process = subprocess.Popen(
                    self._command(addresses),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=self.data,
                    **_apart_from_terminal(),
                )
            except OSError as exc:
                raise MongodError(f"Cannot run the MongoDB server {self._command(addresses)[0]}: {exc}.") from exc
        guard.watch(process)
        # Only our own log tells that it is our own server that listens on the port.
        if _poll(lambda: process.poll() is not None or _answers_line in self.log_path.read_bytes(), deadline):
            return process.poll()
        raise MongodError(
            f"The MongoDB server on {self.data} did not answer in time. It may still be repairing its files after a "
            f"kill: try again. What it says is in {self.log_path}."
        )

    def _new_log(self) -> IO[bytes]:
        with contextlib.suppress(FileNotFoundError):
            self.log_path.replace(self.data / "mongod.previous.log")
        return self.log_path.open("wb")

    def _command(self, addresses: list[str]) -> list[str]:
        command = [str(find_mongod()), "--dbpath", str(self.data / "db"), "--replSet", replica_set, "--quiet"]
        command += ["--bind_ip", ",".join(addresses), "--port", str(self.port)]
        command += ["--wiredTigerCacheSizeGB", str(self.cache_gigabytes), "--oplogSize", "512"]
        command += ["--setParameter", "diagnosticDataCollectionEnabled=false"]
        if any(":" in address for address in addresses):
            command += ["--ipv6"]
        if os.name != "nt":
            command += ["--nounixsocket"]  # it would lie in /tmp and outlive a kill
        if self.users:
            command += ["--keyFile", str(self._key_path)]
        return command

    def _why_it_ended(self, code: int) -> str:
        if code == _exit_address_in_use:
            return (
                f"The MongoDB server can't listen on port {self.port} of {self.host}: another program has it, or the "
                "address is not this computer's. Stop that program or choose another port."
            )
        if code == _exit_folder_in_use:
            return f"The data folder {self.data} is in use by another MongoDB server. Stop it or name another folder."
        last = last_words(self.log_path)
        return (
            f"The MongoDB server on {self.data} ended at its start with code {code}: {last} "
            f"All that it says is in {self.log_path}."
        )

    def _make_replica_set(self, deadline: float) -> None:
        """Make the server the only member of its set under its present port, and wait until it takes writes."""
        with self._client() as client:
            if setup.is_too_old(client):
                raise MongodError(
                    f"{find_mongod()} is older than MongoDB 4.4, which the grid needs. Install a newer one."
                )
            setup.make_replica_set(client, replica_set, f"127.0.0.1:{self.port}")
            if not _poll(lambda: setup.takes_writes(client), deadline):
                raise MongodError(
                    f"The MongoDB server on {self.data} does not take writes; what it says is in {self.log_path}."
                )

    def _make_users(self) -> None:
        """Make the administrator and the team's user, or give the team's user today's password."""
        if not self.users:
            return
        with self._client() as client:
            setup.make_administrator(client, self._administrator_password)
        with self._client() as client:
            setup.make_team_user(client, self.user_group, self.password)

    def _client(self) -> contextlib.AbstractContextManager[MongoClient[dict[str, Any]]]:
        """A connection as the administrator, or as nobody where there is none yet; pymongo's errors become ours."""
        password = self._administrator_password if self.users else ""
        return setup.connection(self.port, password, self.data, self.log_path)

    # ------------------------------------------------------------------ stop

    def _ask_to_stop(self, process: subprocess.Popen[bytes]) -> None:
        if os.name != "nt":
            process.terminate()
            return
        with contextlib.suppress(MongodError), self._client() as client:  # its answer is a broken connection
            client.admin.command("shutdown", force=True)

    def _end_by_force(self) -> None:
        process = self._process
        if process is not None and process.poll() is None:
            process.kill()
            process.wait()
        self._forget_process()

    def _forget_process(self) -> None:
        self._dismiss_guard()
        self._process = None

    def _dismiss_guard(self) -> None:
        guard, self._guard = self._guard, None
        if guard is not None:
            guard.dismiss()


def _poll(condition: Callable[[], Any], deadline: float) -> bool:
    """Whether the condition came true before the deadline, a moment of `time.monotonic`."""
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def _write_once(path: Path, text: str, mode: int) -> None:
    """Write a file that only this user can read, whole or not at all; keep the one that is there."""
    if path.exists():
        return
    aside = path.with_suffix(f".{os.getpid()}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    aside.chmod(mode)
    aside.replace(path)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_wildcard(host: str) -> bool:
    return host in ("0.0.0.0", "::", "*")


def _apart_from_terminal() -> dict[str, Any]:
    """Arguments of Popen that keep the terminal's Ctrl-C from the server: its owner ends it when all else has ended."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
    return {"start_new_session": True}
