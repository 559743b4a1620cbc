"""Two workers under `flowtrain launch`, one of them killed: they end as two that nothing disturbed."""

import os
import subprocess
import sys

import numpy as np

from flowtrain.training import train

from . import devices_run

EPOCHS = 6


def launched(folder, *options, **environment):
    """Two workers; what they have said."""
    folder.mkdir()
    command = [sys.executable, "-m", "flowtrain.cli", "launch", "-n", "2", *options]
    ended = subprocess.run(
        [*command, devices_run.__file__, "--", "worker", str(folder)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=900, check=False,
        env={**os.environ, "EPOCHS": str(EPOCHS), **environment},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout[-4000:]
    return ended.stdout


def weights(folder, index):
    found = dict(np.load(folder / f"worker{index}.npz"))
    assert bool(found.pop("chief")) == (index == 0)
    return found


def test_a_worker_that_is_killed_costs_nothing_but_time(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    launched(whole)
    output = launched(killed, "--restarts", "2", DIES="once")
    assert output.count("process 1 was ended by SIGKILL; all are started again") == 1
    alone = train(devices_run.configured(tmp_path / "alone", None, max_epoch=EPOCHS)[1])
    for index in range(2):
        undisturbed, found = weights(whole, index), weights(killed, index)
        assert undisturbed.keys() == found.keys()
        assert all(np.array_equal(undisturbed[name], found[name]) for name in found), "not the same bits"
        assert devices_run.difference(alone.get_weights(), found) < 1e-5
