"""Memory for what arrives, small messages beside large ones, and the order of frames between two neighbours."""

from __future__ import annotations

import gc
import socket
import threading
import time
from collections.abc import Callable, Iterator

import numpy
import pytest

from gridcompute.softgrid import transport, trust
from gridcompute.softgrid.transport.memory import Memory

from .conftest import call, launch, poll


@pytest.fixture
def memory():
    return Memory()


def test_memory_is_taken_again_only_when_nobody_holds_it(memory):
    one = memory.take(2_000_000)
    array = numpy.frombuffer(one, dtype=numpy.uint8)
    two = memory.take(2_000_000)
    array[:] = 7
    two[:3] = b"abc"
    assert one[0] == 7 and one.obj is not two.obj
    first = id(one.obj)
    del one
    assert id(memory.take(2_000_000).obj) not in (first, id(two.obj))  # the array still reads it
    part = array[5:10]
    del array
    gc.collect()
    taken = [memory.take(2_000_000) for _ in range(3)]
    assert first not in [id(view.obj) for view in taken]
    del part
    assert id(memory.take(2_000_000).obj) == first


def test_memory_goes_back_to_the_system(memory):
    memory.take(2_000_000)
    memory.expire(time.monotonic() + 100)
    assert not memory._maps


def test_small_messages_pass_large_ones(make_grid):
    grid = make_grid()
    launch(grid, "worker")
    array = numpy.ones(20_000_000)
    finished = []
    large = threading.Thread(target=lambda: finished.append(call(grid, lambda a: a.nbytes, grid.workers, array)))
    large.start()
    (link,) = grid._node.links()
    poll(lambda: link._outbox.streams, what="the large one to be under way")
    count = 0
    while not finished and count < 5000:
        call(grid, lambda: None, grid.workers, priority=None)
        count += 1
    large.join()
    assert count > 5


def test_results_that_are_changed_later_keep_what_they_were(make_grid):
    """The worker returns an array it goes on writing to, and the caller writes to what it got."""
    grid = make_grid()
    launch(grid, "worker")

    def step(executor):
        import array

        if "a" not in executor._data:
            executor._data["a"] = array.array("d", [0.0]) * 2_000_000
        values = executor._data["a"]
        values[0] += 1
        values[-1] += 1
        return memoryview(values).tobytes()

    results = [call(grid, step, grid.workers, first=True)[0] for _ in range(3)]
    tops = [memoryview(result).cast("d")[0] for result in results]
    assert tops == [1.0, 2.0, 3.0] == [memoryview(result).cast("d")[-1] for result in results]


def test_arrays_received_one_after_the_other_do_not_share_memory(make_grid):
    grid = make_grid()
    launch(grid, "worker")
    kept = [call(grid, lambda a: a * 2, grid.workers, numpy.full(500_000, float(n)))[0] for n in range(6)]
    for number, array in enumerate(kept):
        assert (array == 2.0 * number).all()


class Neighbour:
    """One end of a link and all it hears of the other, without a grid around it."""

    def __init__(self, loop: transport.Loop):
        self.link = transport.Link(loop, self, "the other", "session", b"key")
        self.whole: list[tuple[str, bytes]] = []
        self.failed: list[tuple[str, str]] = []
        self.breaks: list[str] = []

    def route(self, link, header):
        return None

    def received(self, link, header, segments):
        self.whole.append((header["i"], b"".join(segments)))

    def truncated(self, link, header):
        self.failed.append((header["i"], "truncated"))

    def refused(self, link, header, reason):
        self.failed.append((header["i"], reason))

    def undeliverable(self, link, header, reason):
        self.failed.append((header["i"], reason))

    def broken(self, link, reason):
        self.breaks.append(reason)


@pytest.fixture
def make_neighbours() -> Iterator[Callable[[], tuple[Neighbour, Neighbour, Callable[[], None]]]]:
    """Two ends of a link; the third is a function that connects them, anew if need be, but for the second's reading.

    It returns what lets the second one read.
    """
    loops = [transport.Loop("one"), transport.Loop("other")]
    identity = trust.Identity("password")
    ends = [Neighbour(loop) for loop in loops]

    def connect() -> Callable[[], None]:
        pair = socket.socketpair()
        answered: list[trust.Channel] = []
        for sock in pair:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
        other = threading.Thread(target=lambda: answered.append(trust.answer(pair[1], identity, lambda _: b"key")[0]))
        other.start()
        channel = trust.call(pair[0], "key", b"key", identity.fingerprint)
        other.join(10)
        ends[0].link.attach(channel, ends[1].link.received_number)
        return lambda: ends[1].link.attach(answered[0], ends[0].link.received_number)

    yield lambda: (*ends, connect)
    for end in ends:
        end.link.lose()
    for loop in loops:
        loop.stop()


def test_a_chunk_never_comes_before_the_first_frame_of_its_message(make_neighbours):
    """A full socket holds up small frames; what is urgent must not start with its middle once it takes bytes again."""
    one, other, connect = make_neighbours()
    let_read = connect()
    slow = bytes(range(256)) * 8192
    one.link.send({"k": "x", "i": "slow"}, [slow], priority=5.0)
    poll(lambda: one.link._bytes is not None and one.link._events, 10, "the socket to be full")
    small = [bytes([n]) * 30_000 for n in range(20)]
    for number, text in enumerate(small):
        one.link.send({"k": "x", "i": f"small {number}"}, [text])
    urgent = {f"urgent {n}": bytes([n]) * size for n, size in enumerate((50_000, 3_000_000))}
    for name, text in urgent.items():
        one.link.send({"k": "x", "i": name}, [text], priority=1.0)
    let_read()
    expected = {"slow": slow, **urgent, **{f"small {n}": text for n, text in enumerate(small)}}
    poll(lambda: len(other.whole) == len(expected), 10, f"{sorted(expected)} to come, not only {len(other.whole)}")
    assert dict(other.whole) == expected
    assert other.breaks == one.breaks == [] and not other.link._incoming


def test_a_message_that_lacks_a_chunk_fails_by_name_and_the_others_come(make_neighbours):
    one, other, connect = make_neighbours()
    let_read = connect()
    for name in ("torn", "other"):
        one.link.send({"k": "x", "i": name}, [bytes(3_000_000)])
    torn = next(stream for stream in one.link._outbox.streams.values() if stream.header["i"] == "torn")
    torn.pieces.pop()
    let_read()
    poll(lambda: other.whole and other.failed)
    assert [name for name, _ in other.whole] == ["other"]
    assert [name for name, _ in other.failed] == ["torn"] and "the other" in other.failed[0][1]
    assert other.breaks == one.breaks == [] and not other.link._incoming
    poll(lambda: not one.link._outbox.streams)
