"""softgrid beside a bare socket: round trips, calls per second, big values, launches.

    python benchmarks/softgrid.py [--quick] [--json FILE] [--readme README.md]

Every figure of softgrid stands beside the same work over one bare TCP socket between two processes of this run, with
pickle and without encryption, so that a slow or busy machine shows in both. `--readme` writes the table between the
marks `<!-- softgrid figures -->` and `<!-- end of softgrid figures -->`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import pickle
import socket
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy

from gridcompute.softgrid import Globals, Orchestrator

SIZE = struct.Struct("<Q")
BEGIN, END = "<!-- softgrid figures -->", "<!-- end of softgrid figures -->"


# --- the bare socket -------------------------------------------------------------------------------------------------


def receive(sock: socket.socket) -> Any:
    """A pickle and its out-of-band buffers."""
    (count,) = SIZE.unpack(exactly(sock, SIZE.size))
    sizes = struct.unpack(f"<{count}Q", exactly(sock, count * SIZE.size))
    parts = [exactly(sock, size) for size in sizes]
    return pickle.loads(parts[0], buffers=parts[1:])


def exactly(sock: socket.socket, size: int) -> bytearray:
    data = bytearray(size)
    view = memoryview(data)
    while view:
        count = sock.recv_into(view)
        if not count:
            raise EOFError
        view = view[count:]
    return data


def send(sock: socket.socket, value: Any) -> None:
    buffers: list[pickle.PickleBuffer] = []
    parts: list[Any] = [pickle.dumps(value, protocol=5, buffer_callback=buffers.append)]
    parts += [buffer.raw() for buffer in buffers]
    sizes = [memoryview(part).nbytes for part in parts]
    sock.sendall(SIZE.pack(len(parts)) + struct.pack(f"<{len(parts)}Q", *sizes))
    for part in parts:
        sock.sendall(part)


def nothing(*args: Any) -> None:
    """The function that is called."""


def same(value: Any) -> Any:
    return value


FUNCTIONS = {"nothing": nothing, "same": same}


def bare_server(port: Any, forward: int | None = None) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    port.value = listener.getsockname()[1]
    sock, _ = listener.accept()
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    onward = socket.create_connection(("127.0.0.1", forward)) if forward else None
    if onward is not None:
        onward.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        while True:
            request = receive(sock)
            if onward is not None:
                send(onward, request)
                send(sock, receive(onward))
            else:
                send(sock, FUNCTIONS[request[0]](*request[1:]))
    except (EOFError, ConnectionError):
        pass


def start_bare(forward: int | None = None) -> tuple[Any, Any]:
    port = multiprocessing.Value("i", 0)
    process = multiprocessing.Process(target=bare_server, args=(port, forward), daemon=True)
    process.start()
    while not port.value:
        time.sleep(0.01)
    return port, process


def connect(port: Any) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port.value))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def bare(sock: socket.socket) -> Callable[..., Any]:
    def call(name: str, *args: Any) -> Any:
        send(sock, (name, *args))
        return receive(sock)

    return call


# --- measuring -------------------------------------------------------------------------------------------------------


def median_of(count: int, work: Callable[[], Any], warm: int = 3) -> float:
    for _ in range(warm):
        work()
    times = []
    for _ in range(count):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--readme", type=Path)
    options = parser.parse_args()
    trips, large = (300, 3) if options.quick else (3000, 9)
    Globals.RULES.update(machine_maximum_number_of_workers=None, machine_maximum_number_of_managers=None)
    Globals.RULES["log_orchestrator_kwargs"] = {"logToStdout": False}
    rows: list[tuple[str, str, str]] = []

    def row(what: str, grid_figure: float, bare_figure: float | None, unit: str) -> None:
        digits = 0 if unit == "/s" else 2
        rows.append(
            (what, f"{grid_figure:,.{digits}f} {unit}", f"{bare_figure:,.{digits}f} {unit}" if bare_figure else "-")
        )
        print(f"{what:58} {rows[-1][1]:>14} {rows[-1][2]:>14}", flush=True)

    first, _ = start_bare()
    far = [start_bare()]
    for _ in range(2):
        far.append(start_bare(far[-1][0].value))
    direct, hops = bare(connect(first)), bare(connect(far[-1][0]))

    orchestrator = Orchestrator(address="127.0.0.1", password="benchmark")
    started = time.perf_counter()
    options_of_workers = {"relaunch": False}
    statuses = orchestrator.launch_worker([orchestrator.address] * 8, executorKwargs=options_of_workers, timeout=60)[0]
    launched = time.perf_counter() - started
    assert all(statuses)
    started = time.perf_counter()
    processes = [subprocess.Popen([sys.executable, "-c", "import ssl, socket, pickle"]) for _ in range(8)]
    for process in processes:
        process.wait()
    started_bare = time.perf_counter() - started
    orchestrator.kill_executor(orchestrator.workers[2:])
    router = orchestrator.launch_router(orchestrator.address, executorKwargs=options_of_workers)[1][0]["gridUniqueName"]
    manager = orchestrator.launch_manager(
        orchestrator.address, executorKwargs=options_of_workers, upgridUniqueName=router
    )[1][0]["gridUniqueName"]
    three = orchestrator.launch_worker(
        orchestrator.address, executorKwargs=options_of_workers, upgridUniqueName=manager
    )[1][0]["gridUniqueName"]
    near = [name for name in orchestrator.workers if name != three]

    def transfer(function: Any, receiver: Any, *args: Any) -> Any:
        template = orchestrator.get_transfer_template(function, args=args)
        return orchestrator.transfer(template, receiver, collect=True)

    row(
        "no-op round trip, direct",
        1e3 * median_of(trips, lambda: transfer(nothing, near[0])),
        1e3 * median_of(trips, lambda: direct("nothing")),
        "ms",
    )
    row(
        "no-op round trip, three hops",
        1e3 * median_of(trips, lambda: transfer(nothing, three)),
        1e3 * median_of(trips, lambda: hops("nothing")),
        "ms",
    )
    beside = orchestrator.get_transfer_template(nothing, priority=None)
    row(
        "the same with priority None, direct",
        1e3 * median_of(trips, lambda: orchestrator.transfer(beside, near[0], collect=True)),
        None,
        "ms",
    )

    def single_calls() -> float:
        return 1 / median_of(trips, lambda: direct("nothing"))

    template = orchestrator.get_transfer_template(nothing)
    receivers = near[:2] * 2500
    seconds = median_of(3 if options.quick else 7, lambda: orchestrator.transfer(template, receivers, collect=True), 1)
    row("5,000 calls over two workers, one transfer", 5000 / seconds, single_calls(), "/s")
    templates = [orchestrator.get_transfer_template(nothing, args=(number,)) for number in range(5000)]
    seconds = median_of(3, lambda: orchestrator.transfer(templates, receivers, collect=True), 1)
    row("5,000 calls over two workers, 5,000 templates", 5000 / seconds, single_calls(), "/s")
    seconds = median_of(3, lambda: orchestrator.transfer(template, [three] * 5000, collect=True), 1)
    row("5,000 calls over three hops", 5000 / seconds, 1 / median_of(trips, lambda: hops("nothing")), "/s")
    values = {
        "list(range(1_000_000)) there and back": list(range(1_000_000)),
        "100 MB of bytes there and back": os.urandom(1000) * 100_000,
        "100 MB NumPy array there and back": numpy.ones(12_500_000),
    }
    for what, value in values.items():
        row(
            what,
            median_of(large, lambda v=value: transfer(same, near[0], v), 2),
            median_of(large, lambda v=value: direct("same", v), 2),
            "s",
        )
    array = values["100 MB NumPy array there and back"]
    row(
        "the same over three hops",
        median_of(large, lambda: transfer(same, three, array), 2),
        median_of(large, lambda: hops("same", array), 2),
        "s",
    )
    row("launch of 8 workers (bare: 8 times python -c 'import ssl …')", launched, started_bare, "s")
    orchestrator.disconnect(kill=False)
    table = "\n".join(
        [
            "| what | softgrid, encrypted | bare socket, plain |",
            "|---|---|---|",
            *(f"| {what} | {figure} | {plain} |" for what, figure, plain in rows),
        ]
    )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))
    if options.readme:
        text = options.readme.read_text()
        if BEGIN in text:
            before, _, rest = text.partition(BEGIN)
            options.readme.write_text(f"{before}{BEGIN}\n{table}\n{END}{rest.partition(END)[2]}")
        else:
            options.readme.write_text(f"{text.rstrip()}\n\n{BEGIN}\n{table}\n{END}\n".lstrip())


if __name__ == "__main__":
    main()
