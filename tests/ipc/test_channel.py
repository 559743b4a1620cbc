"""Messages between a process and a worker: small and large, and when the other side is not looking, or gone."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowtrain.ipc import channel
from flowtrain.ipc.channel import Channel, pair
from flowtrain.ipc.payload import Payload
from flowtrain.ipc.pool import WorkerPool
from flowtrain.utils.errors import FlowtrainError


@pytest.fixture
def ends():
    ours, its = pair()
    ends = Channel(ours, blocking=False), Channel(its, blocking=True)
    yield ends
    for end in ends:
        end.close()


def open_files():
    return len(os.listdir("/proc/self/fd"))


@given(st.lists(st.lists(st.sampled_from([0, 1, 100, channel._PACKET, channel._PACKET + 1, 300_000]), min_size=1)))
def test_messages_of_any_size_arrive_in_order(messages):
    messages = [[bytes([n % 251]) * size for n, size in enumerate(sizes)] for sizes in messages if sizes != [0]]
    ours, its = map(Channel, pair(), (False, True))
    before = open_files()
    for message in messages:
        ours.send(message)
        assert its.receive() == message
    assert open_files() == before
    ours.close()
    assert its.receive() is None
    its.close()


def test_what_the_other_side_has_no_room_for_is_kept(ends, monkeypatch):
    ours, its = ends
    messages = [[b"%d" % n] if n % 3 else [b"%d" % n, b"x" * 100_000] for n in range(20_000)]
    sent = 0
    while not ours.behind:
        ours.send(messages[sent])
        sent += 1
    for message in messages[sent : sent + 9]:  # never waits, never overtakes
        ours.send(message)
    sent += 9
    received = []
    while len(received) < sent:
        received.append(its.receive())
        ours.flush()
    assert received == messages[:sent]
    assert not ours.behind


def test_a_side_that_is_gone(ends):
    ours, its = ends
    its.send([b"last"])
    its.send([b"words", b"y" * 100_000])
    its.close()
    assert ours.receive() == [b"last"]
    assert ours.receive() == [b"words", b"y" * 100_000]
    assert ours.receive() is None
    with pytest.raises(BrokenPipeError):
        ours.send([b"?"])
    with pytest.raises(BrokenPipeError):
        ours.send([b"?" * 100_000])


def test_a_large_message_that_finds_no_descriptor_says_so(ends):
    ours, its = ends
    ours.send([b"x" * 100_000])
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = [os.open("/dev/null", os.O_RDONLY)]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 1, limits[1]))
        with pytest.raises(OSError, match="Too many open files"):
            while True:
                held.append(os.open("/dev/null", os.O_RDONLY))
        with pytest.raises(FlowtrainError, match=r"open files.*ulimit -n"):
            its.receive()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for fd in held:
            os.close(fd)


class Sum:
    def run(self, args, value, out, mark):
        mark(args[0])
        out.append([int(value[0].sum()), value[0][::-1]])


def test_a_pool_whose_sockets_are_full_and_whose_messages_are_large(monkeypatch):
    """Tasks are sent faster than they are taken, and do not fit into a slot, nor do the answers."""
    monkeypatch.setattr(channel, "_BUFFER", 1)
    full = []
    flush = Channel.flush
    monkeypatch.setattr(Channel, "flush", lambda self: (full.append(1), flush(self))[1])
    count, size = 300, 30_000
    pool = WorkerPool(Payload(Sum()), 1, window=count, timeout=30, slot_bytes=1 << 16)
    try:
        for n in range(count):
            pool.submit(0, (n, 0, 0), [np.full(size, n)])
        for n in range(count):
            reply = pool.wait()
            assert reply.task.args[0] == n
            ((total, array),), _, failure = reply.take()
            assert failure is None
            assert total == n * size
            assert (array == n).all()
    finally:
        pool.close()
    assert full


SMALL = """
import os
import numpy as np
import flowtrain.dataflow as df

class Arrays(df.DataFlow):
    def __len__(self):
        return 40
    def get(self, index, epoch=0):
        return [np.full(50_000, index)]

print(os.statvfs("/dev/shm").f_blocks * os.statvfs("/dev/shm").f_frsize if os.path.exists("/dev/shm") else "absent")
print(sum(int(dp[0].sum()) for dp in df.PrefetchData(df.BatchData(Arrays(), 2), num_proc=2)))
"""


_ABSENT = "mount -t tmpfs tmpfs /dev && mknod -m 666 /dev/null c 1 3 && mknod -m 666 /dev/urandom c 1 9"


@pytest.mark.parametrize(
    ("change", "size"),
    [("mount -t tmpfs -o size=64k tmpfs /dev/shm", "65536"), (_ABSENT, "absent")],
    ids=["64 KB", "absent"],
)
def test_the_size_of_dev_shm_does_not_matter(change, size):
    if subprocess.run(["unshare", "-m", "sh", "-c", change], capture_output=True, check=False).returncode:
        pytest.skip("file systems cannot be mounted here (it takes root and unshare)")
    command = ["unshare", "-m", "sh", "-c", f'{change}; exec "$0" -c "$1"', sys.executable, SMALL]
    result = subprocess.run(command, capture_output=True, text=True, timeout=800, check=False)
    assert result.stdout.split() == [size, str(50_000 * sum(range(40)))], result.stderr
