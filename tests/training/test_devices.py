"""Several devices in processes of their own: two logical CPUs, and two workers on loopback."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from flowtrain.model.checkpoint_io import list_checkpoints
from flowtrain.training import devices, train

from . import devices_run


def start(what, folder, **environment):
    command = [sys.executable, str(Path(devices_run.__file__)), what, str(folder)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **environment}
    )


def finish(process, seconds=500):
    try:
        output, _ = process.communicate(timeout=seconds)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0 and output.endswith("passed\n"), output[-4000:]


def test_two_replicas_equal_one(tmp_path):
    finish(start("mirrored", tmp_path))


def test_batches_are_put_on_the_steps_device_by_the_feeding_thread(tmp_path):
    finish(start("ahead", tmp_path))


@pytest.mark.parametrize("history", [{}, {"cost": [(1, 0.5), (2, float("inf"))], "rate": [(2, 0.1)]}])
def test_a_history_reaches_the_other_workers(monkeypatch, history):
    sent, mine = [], {}
    monkeypatch.setattr(devices, "part", lambda strategy: (0, 2))
    monkeypatch.setattr(devices, "from_chief", lambda strategy, values: sent.append(values) or values)
    devices.share_history(tf.distribute.get_strategy(), history)
    monkeypatch.setattr(devices, "part", lambda strategy: (1, 2))

    def received(strategy, values):
        assert values.shape == sent[0].shape and values.dtype == np.float64
        return sent.pop(0)

    monkeypatch.setattr(devices, "from_chief", received)
    devices.share_history(tf.distribute.get_strategy(), mine)
    assert mine == history and not sent


def start_workers(folder, what="worker", epochs=1):
    ports = []
    for _ in range(2):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            ports.append(free.getsockname()[1])
    cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
    return [
        start(
            what,
            folder,
            EPOCHS=str(epochs),
            TF_CONFIG=json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}}),
        )
        for index in range(2)
    ]


def test_what_the_chief_sets_reaches_all_workers(tmp_path):
    for worker in start_workers(tmp_path, "setters"):
        finish(worker)
    alone = devices_run.steered(tmp_path / "alone", None)
    workers = [dict(np.load(tmp_path / f"worker{index}.npz")) for index in range(2)]
    for worker in workers:
        assert devices_run.difference(alone.get_weights(), worker) < 1e-5
    names = [name for name in workers[0] if name.startswith("history/")]
    assert {name.removeprefix("history/") for name in names} == set(alone.history)
    for name in names:  # the chief alone logs, all can read
        assert np.array_equal(workers[0][name], workers[1][name])
        assert np.allclose(workers[0][name], alone.history[name.removeprefix("history/")], atol=1e-5)


def test_two_workers_of_which_one_is_killed_go_on_and_equal_one_process(tmp_path):
    workers = start_workers(tmp_path, epochs=400)
    folder = tmp_path / "workers" / "checkpoints"
    while not list_checkpoints(folder):
        with contextlib.suppress(subprocess.TimeoutExpired):  # looking without a pause would take a core from them
            raise AssertionError(workers[1].communicate(timeout=0.2)[0][-4000:])
    workers[1].send_signal(signal.SIGKILL)
    workers[1].communicate()
    workers[0].kill()  # a scheduler would: it cannot go on alone
    workers[0].communicate()

    done = int(list_checkpoints(folder)[0].name[5:]) // 12
    for worker in start_workers(tmp_path, epochs=done + 1):
        finish(worker)
    alone = train(devices_run.configured(tmp_path / "longer", None, max_epoch=done + 1)[1])
    results = [dict(np.load(tmp_path / f"worker{index}.npz")) for index in range(2)]
    assert [bool(result.pop("chief")) for result in results] == [True, False]
    for result in results:
        assert devices_run.difference(alone.get_weights(), result) < 1e-5
