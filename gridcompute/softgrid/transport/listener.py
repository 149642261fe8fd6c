"""The port that an executor is called at: binding it, and greeting who connects."""

from __future__ import annotations

import contextlib
import errno
import selectors
import socket
import ssl
import sys
import threading
import time
from collections import deque
from collections.abc import Callable

from ..trust import Channel, Identity, Refused, answer
from .loop import Loop

GREETING_TIMEOUT = 10.0
GREETINGS_AT_ONCE = 32


class Listener:
    """Waits for connections and greets them, each in a short-lived thread, so that none holds up another.

    `welcome(channel, key_name, address)` gets a connection whose other side has proved the key; it must not keep the
    thread. `on_refused(address, reason)` hears of the others.
    """

    def __init__(
        self,
        loop: Loop,
        identity: Identity,
        key_of: Callable[[str], bytes | None],
        welcome: Callable[[Channel, str, str], None],
        on_refused: Callable[[str, str], None],
    ):
        self._loop = loop
        self._identity = identity
        self._key_of = key_of
        self._welcome = welcome
        self._on_refused = on_refused
        self._sock: socket.socket | None = None
        self._greeting: deque[tuple[socket.socket, float]] = deque()
        self._lock = threading.Lock()

    def bind(self, address: str, port: int, fetch: bool) -> int:
        """Takes `port`, or with `fetch` the next free one; returns it. Raises OSError when there is none."""
        for candidate in range(port, min(port + 2000, 65536)) if fetch else (port,):
            try:
                sock = _bound(address, candidate)
            except OSError as exc:
                if fetch and exc.errno in _TAKEN:
                    continue
                raise
            sock.setblocking(False)
            self._sock = sock
            self._loop.call_soon(self._watch)
            return int(sock.getsockname()[1])
        raise OSError(f"No port from {port} on is free at {address}.")

    def _watch(self) -> None:
        if self._sock is not None:
            self._loop.watch(self._sock, selectors.EVENT_READ, self)

    def close(self) -> None:
        if self._sock is not None:
            self._loop.forget(self._sock)
            self._sock = None

    def abandon(self) -> None:
        """In a forked process: closes its copy of the socket."""
        sock, self._sock = self._sock, None
        if sock is not None:
            sock.close()

    def readable(self) -> None:
        sock = self._sock
        if sock is None:
            return
        try:
            connection, address = sock.accept()
        except OSError as exc:
            if exc.errno in _EXHAUSTED:
                # The connection waits on; looking again at once would only keep the processor busy.
                self._loop.watch(sock, 0, self)
                self._loop.call_later(_EXHAUSTED_PAUSE, self._watch)
                self._on_refused("somebody who waits", str(exc))
            return
        with self._lock:
            now = time.monotonic()
            # The oldest gives way: a flood of silent connections must not keep a true one out.
            while len(self._greeting) >= GREETINGS_AT_ONCE or (
                self._greeting and now - self._greeting[0][1] > GREETING_TIMEOUT
            ):
                _shut(self._greeting.popleft()[0])
            self._greeting.append((connection, now))
        threading.Thread(
            target=self._greet, args=(connection, address[0]), name="softgrid greeting", daemon=True
        ).start()

    def expire(self, now: float) -> None:
        """Shuts connections that did not greet in time; called by the owner's tick."""
        with self._lock:
            while self._greeting and now - self._greeting[0][1] > GREETING_TIMEOUT:
                _shut(self._greeting.popleft()[0])

    def _greet(self, connection: socket.socket, address: str) -> None:
        try:
            connection.settimeout(GREETING_TIMEOUT)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            channel, key_name = answer(connection, self._identity, self._key_of)
            self._settled(connection)
            self._welcome(channel, key_name, address)
        except (Refused, OSError, ssl.SSLError, ValueError) as exc:
            self._settled(connection)
            connection.close()
            self._on_refused(address, str(exc))
        except Exception:
            self._settled(connection)
            connection.close()
            raise

    def _settled(self, connection: socket.socket) -> None:
        with self._lock:
            for item in self._greeting:
                if item[0] is connection:
                    self._greeting.remove(item)
                    return


_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, 10024, 10055)  # the last two are Windows'
_EXHAUSTED_PAUSE = 0.5

_TAKEN = (98, 48, 10048, 13, 10013)  # "address in use" of Linux, macOS and Windows; "not allowed" of POSIX and Windows


def _bound(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if sys.platform != "win32":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((address, port))
        except OSError as exc:
            if exc.errno in _TAKEN:
                raise
            # A name or address that others use for this machine but no interface has.
            sock.bind(("", port))
        sock.listen(128)
    except BaseException:
        sock.close()
        raise
    return sock


def _shut(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
