"""Two workers under `flowtrain launch`, one of them killed: they end as a process that nothing disturbed."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

from flowtrain.model.checkpoint_io import list_checkpoints
from flowtrain.training import train

from . import devices_run

EPOCHS = 40


def launched(folder, *options):
    """`flowtrain launch` of two workers."""
    command = [sys.executable, "-m", "flowtrain.cli", "launch", "-n", "2", *options]
    return subprocess.Popen(
        [*command, devices_run.__file__, "--", "worker", str(folder)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "EPOCHS": str(EPOCHS)},
    )  # fmt: skip


def weights(folder, index):
    found = dict(np.load(folder / f"worker{index}.npz"))
    assert bool(found.pop("chief")) == (index == 0)
    return found


def worker(launcher, index):
    """The process that is this worker."""
    for child in psutil.Process(launcher.pid).children():
        if f'"index": {index}' in child.environ().get("TF_CONFIG", ""):
            return child
    raise AssertionError("it has ended before it was killed")


@pytest.mark.timeout(500)
def test_a_worker_that_is_killed_costs_nothing_but_time(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    launcher = launched(whole)
    output, _ = launcher.communicate(timeout=400)
    assert launcher.returncode == 0, output[-4000:]
    launcher = launched(killed, "--restarts", "2")
    try:
        while not list_checkpoints(killed / "workers" / "checkpoints"):
            assert launcher.poll() is None, launcher.communicate()[0][-4000:]
            time.sleep(0.05)
        worker(launcher, 1).send_signal(signal.SIGKILL)
        output, _ = launcher.communicate(timeout=400)
    finally:
        launcher.kill()
    assert launcher.returncode == 0, output[-4000:]
    assert output.count("process 1 was ended by SIGKILL; all are started again") == 1
    alone = train(devices_run.configured(tmp_path / "alone", None, max_epoch=EPOCHS)[1])
    for index in range(2):
        undisturbed, found = weights(whole, index), weights(killed, index)
        assert undisturbed.keys() == found.keys()
        assert all(np.array_equal(undisturbed[name], found[name]) for name in found), "not the same bits"
        assert devices_run.difference(alone.get_weights(), found) < 1e-5
