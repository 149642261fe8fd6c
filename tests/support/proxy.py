"""A small TCP proxy before a MongoDB server, with the faults of a network on demand.

It understands as much of MongoDB's messages as is needed to know which command a reply answers (OP_MSG alone, in which
every command but the first greeting is sent).
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator

_op_msg = 2013
_header = struct.Struct("<iiii")  # length, request id, id answered, kind


class Proxy:
    """Forwards connections to `target` (``host:port``) until a fault is asked for. A context; `close` ends its threads.

    `cut` breaks the connections there are, `refuse` and `accept` the new ones too, `blackhole` lets everything hang
    until `clear`, `delay` holds back every reply, `swallow` loses the reply to one command.
    """

    def __init__(self, target: str):
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._lock = threading.RLock()
        self._connections: set[_Connection] = set()
        self._closed = False
        self._clear = threading.Event()
        self._clear.set()
        self._delay = 0.0
        self._swallows: list[Swallow] = []
        self._listener: socket.socket | None = None
        self._port = 0
        self.accept()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def address(self) -> str:
        """``host:port`` for clients; it stays the same through `refuse` and `accept`."""
        return f"127.0.0.1:{self._port}"

    def clients(self) -> list[tuple[str, int]]:
        """The addresses of the clients that are connected now."""
        with self._lock:
            return [connection.client_address for connection in self._connections]

    def close(self) -> None:
        """Break everything and end; may be called twice."""
        self._closed = True
        self.clear()
        self.refuse()

    def cut(self) -> None:
        """Break the connections there are; new ones are forwarded."""
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            connection.break_up()

    def refuse(self) -> None:
        """Break the connections there are and refuse new ones, as a server does that is not running."""
        with self._lock:
            listener, self._listener = self._listener, None
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes the accepting thread, which close alone does not
            listener.close()
        self.cut()

    def accept(self) -> None:
        """Take new connections again, on the same port."""
        with self._lock:
            if self._listener is not None or self._closed:
                return
            self._listener = socket.create_server(("127.0.0.1", self._port))
            self._port = self._listener.getsockname()[1]
            threading.Thread(target=self._take, args=(self._listener,), daemon=True, name="proxy").start()

    def blackhole(self) -> None:
        """From now on nothing passes in either direction, and nobody is told, as when a cable is pulled."""
        self._clear.clear()

    def delay(self, seconds: float) -> None:
        """Hold back every reply of the server by `seconds` from now on."""
        self._delay = seconds

    def clear(self) -> None:
        """End `blackhole` and `delay` and forget the replies still to be swallowed; what hung goes on."""
        self._delay = 0.0
        with self._lock:
            self._swallows.clear()
        self._clear.set()

    def swallow(self, command: str, *, skip: int = 0, times: int = 1, hang: bool = False) -> Swallow:
        """Lose the reply to the next `command` (``insert``, ``update``, ``findAndModify`` …): the server has done it.

        Its connection breaks then, or with `hang` stays silent. The first `skip` of them pass; `times` are lost.
        """
        swallow = Swallow(command.lower(), skip, times, hang)
        with self._lock:
            self._swallows.append(swallow)
        return swallow

    # ------------------------------------------------------------------ for the connections

    def _take(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._target, timeout=5)
            except OSError:
                client.close()
                continue
            connection = _Connection(self, client, server)
            with self._lock:
                self._connections.add(connection)
            connection.start()
            if self._listener is not listener:
                connection.break_up()

    def _forget(self, connection: _Connection) -> None:
        with self._lock:
            self._connections.discard(connection)

    def _swallow_for(self, command: str) -> Swallow | None:
        with self._lock:
            for swallow in self._swallows:
                if swallow.command == command and swallow.wants():
                    return swallow
        return None


class Swallow:
    """One order to lose replies. `happened` is set when the last one is lost; `lost` counts them."""

    def __init__(self, command: str, skip: int, times: int, hang: bool):
        self.command, self.hang = command, hang
        self.happened = threading.Event()
        self.lost = 0
        self._skip, self._times, self._asked = skip, times, 0

    def wants(self) -> bool:
        """Whether the reply to the command that just passed is to be lost."""
        self._asked += 1
        return self._skip < self._asked <= self._skip + self._times

    def count(self) -> None:
        self.lost += 1
        if self.lost == self._times:
            self.happened.set()


class _Connection:
    """One client's connection and the one to the server behind it, a thread for each direction."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket):
        self._proxy, self._client, self._server = proxy, client, server
        self.client_address = client.getpeername()
        server.settimeout(None)
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._to_lose: dict[int, Swallow] = {}  # by the request's id
        self._broken = threading.Event()

    def start(self) -> None:
        for work in (self._carry_requests, self._carry_replies):
            threading.Thread(target=self._run, args=(work,), daemon=True, name="proxy").start()

    def break_up(self) -> None:
        """Close both ends; may be called twice and by any thread."""
        self._broken.set()
        for end in (self._client, self._server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._proxy._forget(self)

    def _run(self, work) -> None:
        try:
            work()
        except (OSError, EOFError, struct.error):
            pass
        finally:
            self.break_up()

    def _carry_requests(self) -> None:
        for message in _messages(self._client):
            self._pass_gate()
            _, request, _, kind = _header.unpack_from(message)
            command = _command(message) if kind == _op_msg else ""
            swallow = self._proxy._swallow_for(command) if command else None
            if swallow is not None:
                self._to_lose[request] = swallow
            self._server.sendall(message)

    def _carry_replies(self) -> None:
        for message in _messages(self._server):
            self._pass_gate(self._proxy._delay)
            swallow = self._to_lose.pop(_header.unpack_from(message)[2], None)
            if swallow is None:
                self._client.sendall(message)
                continue
            swallow.count()
            if not swallow.hang:
                return

    def _pass_gate(self, delay: float = 0.0) -> None:
        """Wait out a delay and a black hole, or until the connection breaks."""
        if delay:
            self._broken.wait(delay)
        while not self._proxy._clear.wait(0.05):
            if self._broken.is_set():
                raise EOFError


def _messages(end: socket.socket) -> Iterator[bytes]:
    """Whole messages as they come; raises EOFError when the other side closes."""
    while True:
        head = _exactly(end, _header.size)
        yield head + _exactly(end, _header.unpack(head)[0] - _header.size)


def _exactly(end: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = end.recv(min(size - len(parts), 1 << 20))
        if not part:
            raise EOFError
        parts += part
    return bytes(parts)


def _command(message: bytes) -> str:
    """The command of an OP_MSG: the first key of its body, which is the first section; in small letters."""
    section = _header.size + 4  # after the flags
    if message[section] != 0:
        return ""
    key = section + 1 + 4 + 1  # after the section's kind, the document's length and the first value's type
    return message[key : message.index(b"\0", key)].decode("utf-8", "replace").lower()
