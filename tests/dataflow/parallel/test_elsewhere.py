"""Worker processes as they are on systems other than Linux: the same datapoints, the same errors, nothing left."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import cv2
import numpy as np
import psutil
import pytest

import flowtrain.dataflow as df
from flowtrain.ipc import shutdown
from flowtrain.ipc.failures import WorkerTraceback
from flowtrain.ipc.spawn import SpawnHost
from flowtrain.utils.errors import WorkerDied, WorkerTimeout

from ..helpers_dataflow import loops, loops_whatever_comes


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch):
    """Without anonymous memory files, as on macOS."""
    monkeypatch.delattr(os, "memfd_create")
    yield
    shutdown()


class Numbers(df.DataFlow):
    def __init__(self, size=60):
        self.size = size

    def __len__(self):
        return self.size

    def get(self, index, epoch=0):
        return [index, np.full(2000, index + epoch)]


def stream(size=60):
    return df.DataFromGenerator(lambda: ([i, np.full(2000, i)] for i in range(size)))


def jittered(ds):
    return df.RandomMapData(ds, lambda dp, rng: [*dp, rng.random(3)])


FLOWS = {
    "by index": lambda n: df.PrefetchData(jittered(df.ShuffleData(Numbers())), num_proc=n),
    "batches": lambda n: df.PrefetchData(df.BatchData(jittered(Numbers()), 7, remainder=True), num_proc=n),
    "walked": lambda n: df.PrefetchData(df.FilterData(jittered(Numbers()), lambda dp: dp[0] % 3), num_proc=min(n, 1)),
    "sent": lambda n: df.MultiProcessMapData(stream(), n, lambda dp: [dp[0], dp[1] * 2], strict=True),
}


def same(a, b):
    np.testing.assert_equal(a, b)


@pytest.mark.parametrize("name", FLOWS)
def test_the_same_datapoints_and_positions(name):
    serial = FLOWS[name](0)
    expected = [list(serial) for _ in range(2)]
    ds = FLOWS[name](3)
    it = iter(ds)
    taken = [next(it) for _ in range(5)]
    assert isinstance(ds._latest._crew._host, SpawnHost)
    state = json.loads(json.dumps(ds.state_dict()))
    it.close()
    ds.load_state_dict(state)
    same(taken + list(ds), expected[0])
    same(list(ds), expected[1])


def test_opencv_has_one_thread_in_a_worker():
    assert list(df.PrefetchData(df.MapData(Numbers(1), lambda dp: [cv2.getNumThreads()]))) == [[1]]


def failing(dp):
    if dp[0] == 37:
        raise KeyError("no such thing")
    return dp


def collected(ds):
    seen = []
    return seen, (seen.append(dp[0]) for dp in ds)


def test_an_error_arrives_as_its_own_type_after_what_came_before():
    seen, walk = collected(df.PrefetchData(df.MapData(Numbers(), failing)))
    with pytest.raises(KeyError, match=r"MapData\(failing\), epoch 0, datapoint 37") as caught:
        list(walk)
    assert seen == list(range(37))
    assert isinstance(caught.value.__cause__, WorkerTraceback)


def test_a_worker_that_exits_is_named():
    ds = df.PrefetchData(df.MapData(Numbers(), lambda dp: os._exit(3) if dp[0] == 37 else dp))
    with pytest.raises(WorkerDied, match=r"ended with exit code 3 while making datapoint 37"):
        list(ds)


def test_restart_makes_the_lost_datapoints_again(tmp_path):
    def dies_once(dp):
        mark = tmp_path / str(dp[0])
        if dp[0] in (7, 40) and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return dp

    ds = df.PrefetchData(df.MapData(Numbers(), dies_once), restart=True)
    assert [dp[0] for dp in ds] == list(range(60))


@pytest.mark.parametrize("function", [loops, loops_whatever_comes])
def test_what_takes_too_long_is_ended_and_named(function):
    seen, walk = collected(df.PrefetchData(df.MapData(Numbers(), function), timeout=2))
    with pytest.raises(WorkerTimeout, match=r"making datapoint 37 for"):
        list(walk)
    assert seen == list(range(37 if function is loops else len(seen)))


def test_what_is_larger_than_a_slot(monkeypatch):
    monkeypatch.setattr("flowtrain.ipc.arena.SLOT_BYTES", 1 << 16)
    ds = df.MultiProcessMapData(stream(), 2, lambda dp: [dp[0], np.full(40_000, dp[0]), dp[1]], strict=True)
    large = df.MapData(stream(), lambda dp: [dp[0], np.full(40_000, dp[0]), dp[1]])
    same(list(ds), list(large))
    same(list(df.MultiProcessMapData(large, 2, lambda dp: dp, strict=True)), list(large))


def test_nothing_is_left_when_the_consumer_leaves():
    gc.collect()
    process = psutil.Process()
    before = process.num_fds(), set(os.listdir("/dev/shm")), {p.pid for p in process.children(recursive=True)}
    ds = df.PrefetchData(Numbers(10**6))
    kept = []
    with pytest.raises(LookupError):
        for dp in ds:
            kept.append(dp)
            if len(kept) == 5:
                raise LookupError

    def left():
        """Descriptors, processes and memory that were not there before."""
        gc.collect()
        new = {p.pid for p in process.children(recursive=True)} - before[2]
        memory = {name for name in set(os.listdir("/dev/shm")) - before[1] if "flowtrain" in name}
        return max(process.num_fds() - before[0], 0), new, memory

    for _ in range(3000):  # what was told to end may take a moment; at least a minute, on a machine that is busy
        if left() == (0, set(), set()):
            break
        time.sleep(0.02)
    assert left() == (0, set(), set())
    assert all((array == index).all() for index, array in kept)


# ---- whole programs: no guard of __name__, a class and a lambda of the main script

HEAD = """
import os, sys, signal, json
del os.memfd_create
import numpy as np
import flowtrain.dataflow as df

print("run", flush=True)

class Numbers(df.DataFlow):
    def __len__(self):
        return 10_000
    def get(self, index, epoch=0):
        return [index, np.full((100, 100), index)]

ds = df.PrefetchData(df.MapData(Numbers(), lambda dp: [dp[0], dp[1] + 1]))
it = iter(ds)
next(it)
print(json.dumps(ds._latest._crew.pids), flush=True)
"""


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("assert sum(dp[0] for dp in it) == sum(range(10_000))", 0),
        ("1 / 0", 1),
        ("os._exit(4)", 4),
        ("os.kill(os.getpid(), signal.SIGKILL)", -9),
    ],
    ids=["end", "error", "_exit", "SIGKILL"],
)
def test_a_program_runs_once_and_leaves_nothing(tmp_path, body, code):
    path = tmp_path / "script.py"
    path.write_text(HEAD + textwrap.dedent(body))
    result = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, timeout=800, check=False)
    assert result.returncode == code, result.stderr
    if code == 0:
        assert result.stderr == ""
    run, pids = result.stdout.splitlines()
    assert run == "run"
    processes = [psutil.Process(pid) for pid in json.loads(pids) if psutil.pid_exists(pid)]
    alive = [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    assert not psutil.wait_procs(alive, timeout=60)[1]
