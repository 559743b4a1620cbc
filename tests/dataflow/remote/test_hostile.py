"""Whatever strangers send to a RemoteData, and whatever a sender answers: the data are complete and exact."""

from __future__ import annotations

import copy
import logging
import math
import threading

import msgpack
import numpy as np
import pytest
import zmq

import flowtrain.dataflow as df
from flowtrain.dataflow.remote import RemoteData, send_dataflow
from flowtrain.dataflow.remote.messages import Kind, read
from flowtrain.ipc.wire import BadMessage, ForeignFrame, encode
from flowtrain.utils.errors import DataFlowError, WorkerTimeout

from ..helpers_dataflow import free_address

SIZE = 60


def chain():
    ds = df.DataFromList([[i, np.full((20, 30), i, np.uint8)] for i in range(SIZE)], shuffle=True)
    return df.MapData(ds, lambda dp: [dp[0], dp[1] + 1])


def same(a, b):
    assert [dp[0] for dp in a] == [dp[0] for dp in b]
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x[1], y[1])


MESSAGES = {
    Kind.HELLO: {"by_index": True, "size": SIZE, "part": [0, 1], "what": str(chain()), "token": ""},
    Kind.REQUEST: [0, [0, 1, 0], [0, None, 0]],
    Kind.DATA: [0, [[1, "x"]], None, 0.1, ["ValueError", "text", "trace"]],
    Kind.PING: None,
    Kind.BYE: None,
    Kind.REFUSED: "why",
}


def nested(depth, kind=list):
    value = 1
    for _ in range(depth):
        value = {"a": value} if kind is dict else [value]
    return value


WRONG = [
    *(None, True, 5, -1, -3, 10**9, 2**62, 2**63, -(2**63), 10**400, 1.5, -1.5, math.nan, math.inf),
    *("many", "", "é" * 5, "x" * 100_000, b"bytes", b"", [], {}, [[]], (), [1, 2, 3, 4], {"a": 1}),
    *(np.zeros(3), np.float64(1), np.int64(-1), nested(100), nested(100, dict), 1 + 2j),
]


def places(value, path=()):
    """Every place in a message, as the keys that lead there."""
    yield path
    if isinstance(value, (dict, list)):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*path, key))


def changed(value, path, change):
    """A copy of a message in which one place is other."""
    if not path:
        return change(None, None)
    value = copy.deepcopy(value)
    inner = value
    for key in path[:-1]:
        inner = inner[key]
    change(inner, path[-1])
    return value


def variants(kind):
    """The message with each place missing, and with each of the wrong values."""
    for path in places(MESSAGES[kind]):
        for wrong in WRONG:

            def put(inner, key, wrong=wrong):
                if inner is None:
                    return wrong
                inner[key] = wrong
                return None

            yield changed(MESSAGES[kind], path, put)
        if path:
            yield changed(MESSAGES[kind], path, lambda inner, key: inner.pop(key))


def raw_messages():
    """What no encoder of ours makes."""
    tuples = b"\x90"
    for _ in range(500):
        tuples = msgpack.packb(msgpack.ExtType(6, b"\x91" + tuples))
    pointers = msgpack.ExtType(1, b"\x0f\0\0ml_dtypes.finfo" + b"\x41" * 8)
    for kind in (*Kind, 0, 99, 255):
        head = encode(kind, None)[0]
        yield [head]
        for body in (
            b"",
            b"\xc1",
            b"\x91" * 2000,
            tuples,
            msgpack.packb(pointers),
            b"\xdd\xff\xff\xff\xff",
            b"\xc0\xc0",
        ):
            yield [head, body]
        yield [head, b"\xc0", b"left over"]
        hello = {**MESSAGES[Kind.HELLO], "part": pointers}
        yield [head, msgpack.packb(hello)]
    yield from ([b""], [b"FLTR"], [b"GET / HTTP/1.1"], [b"FLTR\x09\x00\x01", b"\x80"], [b"cos\nsystem\n(S'true'\ntR."])


def is_refused(frames):
    """Whether a receiver refuses it from anyone: the others differ from the good sender's hello, or are its own."""
    try:
        read(frames, (Kind.HELLO, Kind.DATA), 1 << 31)
    except ForeignFrame:
        return True
    return False


class Sender(threading.Thread):
    """A good sender."""

    def __init__(self, address):
        super().__init__(daemon=True)
        self.address = address
        self.start()

    def run(self):
        send_dataflow(chain(), self.address)


class Strangers(threading.Thread):
    """Each message on a connection of its own, which stays open until the end."""

    def __init__(self, address, messages):
        super().__init__(daemon=True)
        self.address, self.messages = address, messages
        self.sent = 0
        self.finished = threading.Event()
        self.start()

    def run(self):
        context = zmq.Context()
        context.max_sockets = 10_000
        sockets = []
        for frames in self.messages:
            stranger = context.socket(zmq.DEALER)
            stranger.linger = 0
            stranger.connect(self.address)
            stranger.send_multipart(frames)
            sockets.append(stranger)
            self.sent += 1
            if len(sockets) == 100:  # what is sent has been read when the answer of a good one would have come
                self.wait_until_read(context)
                while sockets:
                    sockets.pop().close()
        self.wait_until_read(context)
        context.destroy(linger=0)
        self.finished.set()

    def wait_until_read(self, context):
        """A hello that does not fit is answered, after all that came before it."""
        other = context.socket(zmq.DEALER)
        other.linger = 0
        other.connect(self.address)
        other.send_multipart(encode(Kind.HELLO, {**MESSAGES[Kind.HELLO], "size": 7}))
        assert other.poll(250_000), "the receiver no longer answers"
        kind, text = read(other.recv_multipart(), (Kind.REFUSED,), 1 << 20)
        assert kind == Kind.REFUSED and "its size is 7" in text
        other.close()


def all_messages():
    for kind in Kind:
        for value in variants(kind):
            yield encode(kind, value)
    yield from raw_messages()


def test_every_kind_of_wrong_message_while_a_good_sender_serves(caplog):
    messages = [frames for frames in all_messages() if is_refused(frames) or frames[0][-1] != Kind.DATA]
    # a hello that is right in every field is that of a sender: see the next tests
    messages = [frames for frames in messages if frames[1:] != encode(Kind.HELLO, MESSAGES[Kind.HELLO])[1:]]
    assert len(messages) > 1000
    address = free_address()
    expected = list(chain())
    Sender(address)
    ds = RemoteData(address, timeout=800)
    same(list(ds), expected)
    with caplog.at_level(logging.WARNING, logger="flowtrain"):
        strangers = Strangers(address, messages)
        reference = chain()
        list(reference)
        while not strangers.finished.is_set() and strangers.is_alive():
            same(list(ds), list(reference))
        assert strangers.finished.is_set()
        wanted = sum(is_refused(frames) for frames in messages if frames[0][-1:] != bytes([Kind.DATA]))
        assert ds._crew.refused >= wanted > 500
        ds.close()
    lines = [record for record in caplog.records if "refused what a stranger sent" in record.message]
    assert 0 < len(lines) <= 100
    assert "messages in all" in caplog.text


@pytest.mark.parametrize(
    "change",
    [
        {"part": []}, {"part": [-3, -1]}, {"part": [0, 10**9]}, {"part": [1, 1]}, {"part": "ab"}, {"size": "many"},
        {"size": -5}, {"size": None}, {"size": 2**70}, {"size": True}, {"by_index": None}, {"token": "é"}, {"more": 1},
        {"what": 5}, {"what": nested(100)},
    ],
)  # fmt: skip
def test_a_hello_that_is_none_before_the_good_one(change):
    address = free_address()
    ds = RemoteData(address, timeout=800)
    with zmq.Context() as context:
        context.linger = 0
        stranger = context.socket(zmq.DEALER)
        stranger.connect(address)
        stranger.send_multipart(encode(Kind.HELLO, {**MESSAGES[Kind.HELLO], **change}))
        crew = ds._take_crew(0)
        while crew.refused == 0:
            crew._hear(0.05)
        assert crew.hello is None
        Sender(address)
        same(list(ds), list(chain()))
        stranger.close()
    ds.close()


def answers(number, count):
    """What is no answer to a task of so many datapoints by index."""
    good = [number, [[i, "x"] for i in range(count)], None, 0.1, None]
    for place, wrong in (
        (1, []), (1, good[1] + [[0]]), (1, None), (1, {}), (1, "x" * count), (2, [True, None]), (2, 5),
        (2, [False, [1]]), (3, -1.0), (3, math.nan), (3, "long"), (3, None),
        (3, 10**400), (3, -(10**400)), (3, True), (4, []), (4, ["a", "b"]),
        (4, "error"), (4, [1, 2, 3]), (0, -1), (0, "0"), (0, None), (0, 2**63),
    ):  # fmt: skip
        yield [wrong if at == place else part for at, part in enumerate(good)]
    yield good[:-1]
    yield [*good, None]
    yield None


@pytest.mark.parametrize("which", range(26))
def test_a_sender_whose_answers_are_none_is_sent_home(which):
    address = free_address()
    ds = RemoteData(address, timeout=800)
    outcome = []

    def impostor():
        with zmq.Context() as context:
            context.linger = 0
            with context.socket(zmq.DEALER) as dealer:
                dealer.connect(address)
                dealer.send_multipart(encode(Kind.HELLO, MESSAGES[Kind.HELLO]))
                kind, task = read(dealer.recv_multipart(), (Kind.REQUEST,), 1 << 20)
                answer = list(answers(task.number, task.args[1] - task.args[0]))[which]
                dealer.send_multipart(encode(Kind.DATA, answer))
                while kind == Kind.REQUEST:
                    kind, message = read(dealer.recv_multipart(), (Kind.REQUEST, Kind.REFUSED), 1 << 20)
                outcome.append(message)

    thread = threading.Thread(target=impostor, daemon=True)
    thread.start()
    it = iter(ds)
    crew = ds._take_crew(0)
    while crew.hello is None:
        crew._hear(0.05)
    Sender(address)
    same(list(it), list(chain()))
    thread.join(250)
    assert "what it sent is no answer" in outcome[0]
    ds.close()


def test_without_a_good_sender_the_wait_is_bounded():
    address = free_address()
    ds = RemoteData(address, timeout=0.5)
    with zmq.Context() as context:
        context.linger = 0
        stranger = context.socket(zmq.DEALER)
        stranger.connect(address)
        for _ in range(50):
            stranger.send_multipart(encode(Kind.HELLO, {"part": []}))
        with pytest.raises(WorkerTimeout, match="no sender is connected"):
            next(iter(ds))
        stranger.close()
    ds.close()


def test_a_receiver_that_sends_nonsense_is_logged_once(caplog):
    """And one of another version, or none at all, is an error: it would never ask for anything."""
    address = free_address()
    with zmq.Context() as context, context.socket(zmq.ROUTER) as receiver:
        context.linger = 0
        receiver.bind(address)
        sender = threading.Thread(target=send_dataflow, args=(chain(), address), daemon=True)
        with caplog.at_level(logging.WARNING, logger="flowtrain"):
            sender.start()
            name, *frames = receiver.recv_multipart()
            assert read(frames, (Kind.HELLO,), 1 << 20)[1].size == SIZE
            for kind in (Kind.REQUEST, Kind.PING, Kind.BYE, Kind.REFUSED, Kind.HELLO, Kind.DATA):
                for value in ([], "x" * 200_000, -1, {"a": 1}, [[0]], [0, [0, 1, -1], None], [0, [0, 1, 0], [0]]):
                    receiver.send_multipart([name, *encode(kind, value)])
            receiver.send_multipart([name, *encode(Kind.REQUEST, [7, [3, 5, 0], None])])
            data = read(receiver.recv_multipart()[1:], (Kind.DATA,), 1 << 20)[1]
            assert data.number == 7
            reference = chain()
            same(data.made, [reference.get(3, 0), reference.get(4, 0)])
            receiver.send_multipart([name, *encode(Kind.BYE, None)])
            sender.join(250)
        assert not sender.is_alive()
    assert sum("no message of its kind" in record.message for record in caplog.records) == 1


def test_a_receiver_of_another_version():
    address = free_address()
    with zmq.Context() as context, context.socket(zmq.ROUTER) as receiver:
        context.linger = 0
        receiver.bind(address)
        failed = []

        def send():
            try:
                send_dataflow(chain(), address)
            except DataFlowError as error:
                failed.append(str(error))

        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        name = receiver.recv_multipart()[0]
        receiver.send_multipart([name, b"FLTR\x09\x00\x02", b"\x80"])
        sender.join(250)
    assert "is not a RemoteData of this version: it is of protocol version 9" in failed[0]


@pytest.mark.parametrize("kind", list(Kind))
def test_a_message_of_each_kind_is_read_and_its_variants_are_refused_or_read(kind):
    read(encode(kind, MESSAGES[kind]), (kind,), 1 << 20)
    refused = 0
    for value in variants(kind):
        try:
            read(encode(kind, value), (kind,), 1 << 20)
        except BadMessage:
            refused += 1
    assert refused > 15
    with pytest.raises(BadMessage, match="has no meaning here"):
        read(encode(kind, MESSAGES[kind]), [other for other in Kind if other != kind], 1 << 20)
