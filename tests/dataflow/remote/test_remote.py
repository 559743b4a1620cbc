"""Flows over sockets: exact with any number of senders that come, go and die; strangers are refused."""

from __future__ import annotations

import json
import logging
import signal
import socket
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest
import zmq

import flowtrain.dataflow as df
from flowtrain.dataflow.remote import RemoteData, RemoteError, make_keys, send_dataflow
from flowtrain.ipc.wire import encode
from flowtrain.utils.errors import ConfigError, DataFlowError, WorkerTimeout

from ..helpers_dataflow import free_address

CHAIN = """
import sys, os
import numpy as np
import flowtrain.dataflow as df
from flowtrain.dataflow.remote import send_dataflow

def chain():
    ds = df.DataFromList([[i, np.full((20, 30), i, np.uint8), str(i)] for i in range(120)], shuffle=True)
    return df.MapData(ds, lambda dp: [dp[0], dp[1] + 1, {"name": dp[2]}])
"""
exec(CHAIN, globals())


def start_sender(address, body="send_dataflow(chain(), address)"):
    code = CHAIN + f"\naddress = {address!r}\n" + textwrap.dedent(body)
    return subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


class Background(threading.Thread):
    """A sender in this process; its outcome is what ``finish`` gives or raises."""

    def __init__(self, ds, address, **options):
        super().__init__(daemon=True)
        self.call = lambda: send_dataflow(ds, address, **options)
        self.outcome = self.error = None
        self.start()

    def run(self):
        try:
            self.outcome = self.call()
        except Exception as error:
            self.error = error

    def finish(self):
        self.join(250)
        assert not self.is_alive()
        if self.error:
            raise self.error
        return self.outcome


def same(a, b):
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        assert x[0] == y[0]
        np.testing.assert_array_equal(x[1], y[1])
        assert x[2] == y[2]


@pytest.mark.parametrize("senders", [1, 3])
def test_the_serial_order_whoever_sends(senders):
    address = free_address()
    reference = chain()  # noqa: F821
    threads = [Background(chain(), address) for _ in range(senders)]  # noqa: F821
    ds = RemoteData(address, timeout=800)
    epochs = 0
    while epochs < 2 or len(ds._crew._senders) < senders:  # all of them took part
        same(list(ds), list(reference))
        epochs += 1
    assert len(ds) == 120
    ds.close()
    assert sum(thread.finish() for thread in threads) >= 120 * epochs


def test_resume_and_leaving_in_the_middle():
    address = free_address()
    expected = list(chain())  # noqa: F821
    sender = Background(chain(), address)  # noqa: F821
    ds = RemoteData(address, timeout=800)
    it = iter(ds)
    taken = [next(it) for _ in range(50)]
    state = json.loads(json.dumps(ds.state_dict()))
    it.close()
    again = RemoteData(address, timeout=800)
    ds.close()
    sender.finish()
    sender = Background(chain(), address)  # noqa: F821
    again.load_state_dict(state)
    same(taken + list(again), expected)
    again.close()
    sender.finish()


def test_a_sender_that_is_killed_and_one_that_takes_over():
    address = free_address()
    dying = start_sender(
        address,
        """
        def deadly(dp):
            if dp[0] == 40:
                sys.stdin.read()  # until it is killed
            return dp
        send_dataflow(df.MapData(chain(), deadly), address)
        """,
    )
    ds = RemoteData(address, timeout=60, num_prefetch=4)
    it = iter(ds)
    taken = [next(it)]
    dying.kill()
    replacement = start_sender(
        address, "def deadly(dp):\n    return dp\nsend_dataflow(df.MapData(chain(), deadly), address)"
    )
    taken += list(it)
    same(taken, list(chain()))  # noqa: F821
    ds.close()
    assert dying.wait(250) == -signal.SIGKILL
    assert replacement.wait(250) in (0, 1)
    for process in (dying, replacement):
        process.stdin.close()
        process.stderr.close()


def test_parts_of_a_flow_that_can_only_be_iterated():
    address = free_address()

    def part(index):
        return df.DataFromGenerator(lambda: ([i, np.full(3, i), "x"] for i in range(index, 31, 2)))

    threads = [Background(part(i), address, shard=(i, 2)) for i in range(2)]
    ds = RemoteData(address, timeout=800)
    assert [dp[0] for dp in ds] == list(range(31))
    it = iter(ds)
    taken = [next(it)[0] for _ in range(9)]
    state = ds.state_dict()
    it.close()
    ds.load_state_dict(state)
    assert taken + [dp[0] for dp in ds] == list(range(31))
    twice = Background(part(0), address, shard=(0, 2))
    while twice.is_alive():
        list(ds)
    with pytest.raises(DataFlowError, match="part 0 of 2 is being sent by another one"):
        twice.finish()
    ds.close()
    for thread in threads:
        thread.finish()


def test_a_sender_whose_part_is_taken_up_by_another():
    address = free_address()
    body = """
    def generate():
        for i in range(50):
            if i == 5 and sys.argv[1] == "stuck":
                sys.stdin.read()  # until it is killed
            yield [i, np.zeros(2), "x"]
    send_dataflow(df.DataFromGenerator(generate), address)
    """
    code = CHAIN + f"\naddress = {address!r}\n" + textwrap.dedent(body)
    stuck = second = None
    try:
        stuck = subprocess.Popen([sys.executable, "-c", code, "stuck"], stdin=subprocess.PIPE)
        ds = RemoteData(address, timeout=60)
        it = iter(ds)
        taken = [next(it)[0]]
        stuck.kill()
        assert stuck.wait(60) == -signal.SIGKILL
        second = subprocess.Popen([sys.executable, "-c", code, "whole"])
        assert taken + [dp[0] for dp in it] == list(range(50))
        ds.close()
        assert second.wait(250) == 0
    finally:
        for process in (stuck, second):
            if process is not None:
                process.kill()
                process.communicate()


def test_a_sender_ends_when_its_receiver_is_killed():
    address = free_address()
    code = CHAIN + f"from flowtrain.dataflow.remote import RemoteData\nit = iter(RemoteData({address!r}))\nnext(it)\n"
    receiver = subprocess.Popen([sys.executable, "-c", code + "print('got', flush=True)\nos.kill(os.getpid(), 9)"])
    sender = Background(chain(), address, reconnect=0.3)  # noqa: F821
    assert receiver.wait(60) == -signal.SIGKILL
    assert sender.finish() > 0


def test_an_error_of_the_flow_arrives_with_its_traceback():
    address = free_address()

    def bad(dp):
        if dp[0] == 7:
            raise KeyError("of the sender")
        return dp

    sender = Background(df.MapData(df.DataFromList([[i] for i in range(20)]), bad), address)
    ds = RemoteData(address, timeout=800)
    seen = []
    with pytest.raises(RemoteError, match=r"KeyError: .*of the sender.*MapData\(bad\), epoch 0, datapoint 7") as caught:
        for dp in ds:
            seen.append(dp[0])
    assert seen == list(range(7))
    assert "in bad" in str(caught.value.__cause__)
    ds.close()
    sender.finish()


def test_what_cannot_travel_is_named():
    address = free_address()
    sender = Background(df.MapData(df.DataFromList([[1], [2]]), lambda dp: [{1, 2}]), address)
    ds = RemoteData(address, timeout=800)
    with pytest.raises(RemoteError, match="set cannot be packed"):
        list(ds)
    ds.close()
    sender.finish()


def test_another_flow_is_refused():
    address = free_address()
    first = Background(chain(), address)  # noqa: F821
    ds = RemoteData(address, timeout=800)
    it = iter(ds)
    next(it)
    other = Background(df.TakeData(chain(), 5), address)  # noqa: F821
    list(it)
    while other.is_alive():
        list(ds)
    with pytest.raises(DataFlowError, match="refused the flow: its size is 5, that of the first sender 120"):
        other.finish()
    ds.close()
    first.finish()


def test_strangers_are_refused_and_change_nothing(caplog):
    address = free_address()
    ds = RemoteData(address, timeout=800, max_bytes=1 << 20)
    sender = Background(chain(), address)  # noqa: F821
    it = iter(ds)
    taken = [next(it)]
    context = zmq.Context()
    strangers = []
    for frames in (
        [b"GET / HTTP/1.1"],
        [b"cos\nsystem\n(S'true'\ntR."],
        [b"FLTR\x09\x00\x01", b"\x80"],
        encode(1, {"size": 1}),
        encode(1, "x"),
        encode(3, [0, [], None, 0.0, None]),
        [*encode(3, None), b"left over"],
        [b"x" * (2 << 20)],
    ):
        stranger = context.socket(zmq.DEALER)
        stranger.connect(address)
        stranger.send_multipart(frames)
        strangers.append(stranger)
    with socket.create_connection(address.removeprefix("tcp://").split(":")) as raw:
        raw.sendall(b"\x00" * 500)
        with caplog.at_level(logging.WARNING, logger="flowtrain"):
            taken += list(it)
    same(taken, list(chain()))  # noqa: F821
    assert len(list(ds)) == 120
    for stranger in strangers:
        stranger.close(linger=0)
    context.destroy(linger=0)
    ds.close()
    sender.finish()


def test_keys(tmp_path):
    receiver_key, sender_key = make_keys(tmp_path / "keys")
    assert (sender_key.stat().st_mode & 0o777) == 0o600
    other_key = make_keys(tmp_path / "others")[1]
    address = free_address()
    ds = RemoteData(address, timeout=800, key=receiver_key)
    sender = Background(chain(), address, key=sender_key)  # noqa: F821
    it = iter(ds)
    taken = [next(it)]
    strangers = [Background(chain(), address, wait=1.0), Background(chain(), address, key=other_key, wait=1.0)]  # noqa: F821
    for stranger in strangers:
        with pytest.raises(DataFlowError, match=r"no RemoteData at .* within 1 s, or it"):
            stranger.finish()
    same(taken + list(it), list(chain()))  # noqa: F821
    ds.close()
    sender.finish()
    with pytest.raises(ConfigError, match="is not a receiver's key"):
        next(iter(RemoteData(address, key=sender_key)))


def test_nobody_there():
    with pytest.raises(WorkerTimeout, match=r"no sender is connected for 0.3 s.*send_dataflow"):
        next(iter(RemoteData(free_address(), timeout=0.3)))
    with pytest.raises(DataFlowError, match=r"no RemoteData at .* within 0.3 s"):
        send_dataflow(chain(), free_address(), wait=0.3)  # noqa: F821


def test_addresses():
    assert RemoteData("tcp://:5555").address == "tcp://127.0.0.1:5555"
    for wrong in ("localhost:5555", "tcp://host", 5555, "http://x:1"):
        with pytest.raises(ConfigError, match="an address looks like"):
            RemoteData(wrong)
    with pytest.raises(ConfigError, match=r"shard is \(index, count\)"):
        send_dataflow(chain(), "tcp://:5555", shard=(2, 2))  # noqa: F821
