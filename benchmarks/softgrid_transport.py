"""What the transport was chosen by: the same bytes over the ways that the standard library offers.

    python benchmarks/softgrid_transport.py

Each way runs between two processes: the median round trip of 50 bytes, and seconds for 100 MB there and back.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import socket
import ssl
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from gridcompute.softgrid.certificate import make_certificate

SIZE = 100_000_000
CHUNK = 256 * 1024
TRIPS = 3000
ROUNDS = 5


def context(server: bool) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    if server:
        made.num_tickets = 0
        made.load_cert_chain(CERTIFICATE)
    else:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    return made


class Plain:
    """A blocking socket without encryption."""

    def __init__(self, sock: socket.socket, server: bool):
        self.sock: Any = sock

    def send(self, data: memoryview) -> None:
        self.sock.sendall(data)

    def fill(self, view: memoryview) -> None:
        while view:
            view = view[self.sock.recv_into(view) :]


class Blocking(Plain):
    """TLS over a blocking socket."""

    def __init__(self, sock: socket.socket, server: bool):
        self.sock = context(server).wrap_socket(sock, server_side=server)


class Memory(Plain):
    """TLS through memory, as the transport has it."""

    def __init__(self, sock: socket.socket, server: bool):
        self.sock = sock
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context(server).wrap_bio(self.incoming, self.outgoing, server_side=server)
        while True:
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.push()
                self.incoming.write(sock.recv(65536))
        self.push()

    def push(self) -> None:
        data = self.outgoing.read()
        if data:
            self.sock.sendall(data)

    def send(self, data: memoryview) -> None:
        self.tls.write(data)
        self.push()

    def fill(self, view: memoryview) -> None:
        while view:
            try:
                view = view[self.tls.read(len(view), view) :]
            except ssl.SSLWantReadError:
                self.incoming.write(self.sock.recv(CHUNK))


class Handed(Blocking):
    """TLS over a blocking socket that a thread of its own reads, as a transport must that waits for several."""

    def __init__(self, sock: socket.socket, server: bool):
        super().__init__(sock, server)
        self.wanted: memoryview | None = None
        self.asked, self.done = threading.Semaphore(0), threading.Semaphore(0)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while True:
            self.asked.acquire()
            assert self.wanted is not None
            super().fill(self.wanted)
            self.done.release()

    def fill(self, view: memoryview) -> None:
        self.wanted = view
        self.asked.release()
        self.done.acquire()


def fresh() -> memoryview:
    return memoryview(mmap.mmap(-1, SIZE))


def in_chunks(data: memoryview) -> list[memoryview]:
    return [data[at : at + CHUNK] for at in range(0, len(data), CHUNK)]


def blocking_server(listener: socket.socket, way: Any) -> None:
    sock, _ = listener.accept()
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    line = way(sock, True)
    small, large = memoryview(bytearray(50)), fresh()
    for _ in range(TRIPS):
        line.fill(small)
        line.send(small)
    for _ in range(ROUNDS):
        line.fill(large)
        for piece in in_chunks(large):
            line.send(piece)


def blocking_client(port: int, way: Any) -> tuple[float, float]:
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    line = way(sock, False)
    small, large = memoryview(bytearray(50)), fresh()
    trips, rounds = [], []
    for _ in range(TRIPS):
        started = time.perf_counter()
        line.send(small)
        line.fill(small)
        trips.append(time.perf_counter() - started)
    for _ in range(ROUNDS):
        started = time.perf_counter()
        for piece in in_chunks(large):
            line.send(piece)
        line.fill(large)
        rounds.append(time.perf_counter() - started)
    return statistics.median(trips), statistics.median(rounds)


async def asyncio_side(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, server: bool) -> tuple[float, float]:
    small, large = bytes(50), fresh()
    trips, rounds = [], []

    async def take(size: int) -> None:
        while size:
            size -= len(await reader.read(min(size, CHUNK)))

    async def give(data: Any) -> None:
        for piece in in_chunks(memoryview(data)):
            writer.write(piece)
            await writer.drain()

    for size, count, data, times in ((50, TRIPS, small, trips), (SIZE, ROUNDS, large, rounds)):
        for _ in range(count):
            started = time.perf_counter()
            if server:
                await take(size)
            await give(data)
            if not server:
                await take(size)
            times.append(time.perf_counter() - started)
    return statistics.median(trips), statistics.median(rounds)


def asyncio_way() -> tuple[float, float]:
    listener = socket.create_server(("127.0.0.1", 0))
    child = os.fork()
    if not child:

        async def serve() -> None:
            done = asyncio.Event()

            async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await asyncio_side(reader, writer, True)
                done.set()

            await asyncio.start_server(on_connection, sock=listener, ssl=context(True), limit=2**20)
            await done.wait()
            await asyncio.sleep(0.2)

        asyncio.run(serve())
        os._exit(0)

    async def ask() -> tuple[float, float]:
        port = listener.getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context(False), limit=2**20)
        return await asyncio_side(reader, writer, False)

    figures = asyncio.run(ask())
    os.waitpid(child, 0)
    return figures


def main() -> None:
    global CERTIFICATE
    with tempfile.TemporaryDirectory() as folder:
        CERTIFICATE = str(Path(folder) / "certificate.pem")
        started = time.perf_counter()
        Path(CERTIFICATE).write_text("".join(make_certificate()))
        print(f"a certificate in pure Python: {1e3 * (time.perf_counter() - started):.1f} ms")
        print(f"{'way':44} {'round trip':>12} {'100 MB':>8}")
        for way in (Plain, Blocking, Handed, Memory):
            listener = socket.create_server(("127.0.0.1", 0))
            child = os.fork()
            if not child:
                blocking_server(listener, way)
                os._exit(0)
            trip, large = blocking_client(listener.getsockname()[1], way)
            os.waitpid(child, 0)
            print(f"{(way.__doc__ or '').partition('.')[0][:44]:44} {1e6 * trip:9.0f} µs {large:6.2f} s")
        trip, large = asyncio_way()
        print(f"{'asyncio streams with TLS':44} {1e6 * trip:9.0f} µs {large:6.2f} s")


CERTIFICATE = ""

if __name__ == "__main__":
    main()
