"""Slots, parcels, failures and the pool, beneath any dataflow."""

from __future__ import annotations

import gc
import os

import numpy as np
import pytest

from flowtrain.ipc import buffers, shutdown
from flowtrain.ipc.arena import Arena, SlotPool, SlotWriter
from flowtrain.ipc.failures import Failure, WorkerError, WorkerTraceback
from flowtrain.ipc.parcel import pack, parse, relocate, unpack
from flowtrain.ipc.payload import Payload
from flowtrain.ipc.pool import WorkerPool
from flowtrain.ipc.wire import ForeignFrame, decode, encode


@pytest.fixture
def arena():
    made = Arena.create(workers=2, slots=3, slot_bytes=1 << 20)
    yield made
    made.close()


def test_empty_is_ordinary_memory_until_told_otherwise(arena):
    assert buffers.empty((2, 3), np.uint8).base is None
    writer = SlotWriter(arena)
    writer.open(1)
    buffers.use(writer.allocate)
    try:
        inside = buffers.empty((100, 100), "f4")
        assert inside.base is arena.memory
        assert inside.ctypes.data % buffers.ALIGNMENT == 0
        assert buffers.empty(1 << 20, "f8").base is None  # no room
        assert buffers.empty(4, object).base is None
        assert buffers.empty((0, 4), "f4").shape == (0, 4)
    finally:
        buffers.use(None)
    assert buffers.empty(3, "f4").base is None


def test_a_slot_is_free_when_the_last_view_is_gone(arena):
    pool = SlotPool(arena)
    slot = pool.take()
    view = np.frombuffer(pool.lease(slot)[64:128], np.int64)
    part = view[2:].reshape(2, 3)
    del view
    gc.collect()
    assert len(pool) == 2
    del part
    assert len(pool) == 3


@pytest.fixture
def no_collector():
    gc.disable()
    yield
    gc.enable()


def roundtrip(arena, value, prepare=None):
    writer = SlotWriter(arena)
    writer.open(0)
    parcel = pack(value() if callable(value) else value, writer)
    if prepare:
        prepare(parcel, writer)
    frames = [bytes(frame) for frame in parcel.message(7, 0, 0, 1, 2, 3)]
    fields, again = parse(frames[0])
    again.frames = frames[1:]
    assert fields == (7, 0, 0, 1, 2, 3)
    return parcel, unpack(again, lambda place, length: arena.bytes[place : place + length], arena.bytes)


def test_a_large_array_is_not_in_the_pickle(arena):
    value = [np.arange(50_000), "text", {"small": np.arange(3)}]
    parcel, again = roundtrip(arena, value)
    assert len(parcel.table) == 1
    assert parcel.length < 1000
    np.testing.assert_array_equal(again[0], value[0])
    assert again[1:2] == ["text"]


def test_an_array_that_lies_in_the_slot_stays_there(arena, no_collector):
    writer = SlotWriter(arena)
    writer.open(2)
    inside = writer.allocate((300, 100), np.dtype("u1"))
    inside[:] = 5
    parcel = pack([inside[10:80], inside], writer)
    assert sorted(place - arena.start(2) for place, _ in parcel.table) == [0, 1000]
    assert writer.used < 40_000
    assert writer.held()
    del inside
    assert not writer.held()  # by its references alone: nothing for the collector to do


def test_what_does_not_fit_goes_along_as_frames(arena):
    value = [np.arange(100_000), np.arange(100_000) * 2, b"x" * 2_000_000]
    parcel, again = roundtrip(arena, value)
    assert parcel.frames
    for a, b in zip(value, again, strict=True):
        assert np.array_equal(a, b)
    again[1][0] = 1  # it may be written to


def test_relocated_parcels_hold_the_same(arena):
    value = [np.arange(20_000), np.arange(20_000) * 3]
    _, again = roundtrip(arena, value, prepare=relocate)
    for a, b in zip(value, again, strict=True):
        assert np.array_equal(a, b)


class Odd(Exception):
    def __init__(self, a, b):
        super().__init__(a)
        self.b = b

    def __str__(self):
        return f"{self.args[0]} and {self.b}"


@pytest.mark.parametrize(
    "error",
    [ValueError("x"), KeyError("k"), OSError(2, "gone", "f"), Odd(1, 2), UnicodeDecodeError("utf8", b"x", 0, 1, "r")],
)
def test_failures_keep_type_message_and_traceback(error):
    try:
        raise error
    except Exception as caught:
        failure = Failure(caught, "worker 3")
    restored = failure.restore()
    assert isinstance(restored, type(error))
    assert str(restored) == str(error)
    assert isinstance(restored.__cause__, WorkerTraceback)
    assert "worker 3" in str(restored.__cause__)
    assert "raise error" in str(restored.__cause__)


def test_a_failure_whose_type_cannot_come_along():
    failure = Failure(ValueError("x"), "w")
    failure.data, failure.parts = b"not a pickle", None
    assert isinstance(failure.restore(), WorkerError)
    assert "ValueError: x" in str(failure.restore())


class Doubling:
    def run(self, args, value, out, mark):
        mark(args[0])
        out.extend([value * 2, os.getpid()])
        return "done"


def test_a_pool_takes_values_and_gives_results():
    pool = WorkerPool(Payload(Doubling()), 2, window=4, timeout=30)
    try:
        values = [np.full(10_000, n) for n in range(4)]
        for n, value in enumerate(values):
            pool.submit(n % 2, (n, 0, 0), value)
        results = {}
        for _ in values:
            reply = pool.wait()
            (doubled, pid), extra, failure = reply.take()
            assert (extra, failure) == ("done", None)
            assert pid in pool.pids
            results[reply.task.args[0]] = doubled
        for n, value in enumerate(values):
            np.testing.assert_array_equal(results[n], value * 2)
    finally:
        pool.close()
    shutdown()
    assert pool.closed


class Gated:
    """Its task 0 ends when something is written into a named pipe."""

    def __init__(self, gate):
        self.gate = gate

    def run(self, args, value, out, mark):
        if args[0] == 0:
            with open(self.gate) as gate:
                gate.read()


def test_a_reply_that_is_wanted_keeps_none_from_arriving(tmp_path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    pool = WorkerPool(Payload(Gated(str(gate))), 2, window=4, timeout=30)
    try:
        for n in range(4):
            pool.submit(n % 2, (n, 0, 0))
        others = [pool.wait(0).task.args[0] for _ in range(2)]
        assert others == [1, 3]
        assert pool.idlest() == 1
        gate.write_text("now")
        assert [pool.wait(0).task.args[0] for _ in range(2)] == [0, 2]
        assert pool.idlest() == 0
    finally:
        pool.close()
    shutdown()


def test_messages_between_machines():
    value = [1, {"a": np.arange(5000)}, b"x"]
    kind, again = decode([bytes(frame) for frame in encode(3, value)], {3: 1 << 20})
    assert kind == 3
    np.testing.assert_array_equal(again[1]["a"], np.arange(5000))
    for bad in ([], [b"x"], [b"FLTX\x01\x00\x03", b"\x90"], [b"FLTR\x02\x00\x03", b"\x90"], [b"FLTR\x01\x00\x03"]):
        with pytest.raises(ForeignFrame):
            decode(bad, {3: 1 << 20})
    with pytest.raises(ForeignFrame, match=r"1,?000"):
        decode([bytes(frame) for frame in encode(3, value)], {3: 1000})
