"""Memory for what arrives, and small messages beside large ones."""

from __future__ import annotations

import gc
import threading
import time

import numpy
import pytest

from gridcompute.softgrid import transport

from .conftest import call, launch


@pytest.fixture
def memory():
    return transport._Memory()


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
    array = numpy.ones(40_000_000)
    finished = []
    large = threading.Thread(target=lambda: finished.append(call(grid, lambda a: a.nbytes, grid.workers, array)))
    large.start()
    time.sleep(0.05)
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
