"""kill -9 at random moments, again and again: the end is bit for bit that of a run that was left alone."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from flowtrain.model.checkpoint_io import check_checkpoint, list_checkpoints, read_checkpoint, read_state
from flowtrain.monitors import read_jsonl

from . import killed_run

KILLS = int(os.environ.get("FLOWTRAIN_TEST_KILLS", "3"))


def start(log_dir):
    command = [sys.executable, str(Path(killed_run.__file__)), str(log_dir)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n", process.stderr.read()
    return process


@pytest.mark.timeout(60 + 30 * KILLS)
def test_kill_9_at_random_moments_changes_nothing(tmp_path):
    whole = killed_run.run(tmp_path / "whole", workers=0)
    moments = random.Random(int(os.environ.get("FLOWTRAIN_TEST_SEED", "0")))
    killed, found = 0, set()
    for _ in range(KILLS * 20):
        process = start(tmp_path / "killed")
        try:
            process.communicate(timeout=moments.uniform(0.0, 0.4) if killed < KILLS else 100)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            killed += 1
            found.update(list_checkpoints(tmp_path / "killed/checkpoints"))
            continue
        assert process.returncode == 0
        break
    assert killed >= 1 and found, "no kill came after a save"

    newest, expected = (list_checkpoints(tmp_path / run / "checkpoints")[0] for run in ("killed", "whole"))
    assert newest.name == expected.name
    for mine, its in ((newest, expected), (tmp_path / "killed/checkpoints", tmp_path / "whole/checkpoints")):
        mine, its = (path if path in (newest, expected) else path / "best-validation_entropy" for path in (mine, its))
        assert check_checkpoint(mine, deep=True) is None
        got, want = read_checkpoint(mine), read_checkpoint(its)
        assert got.keys() == want.keys()
        assert [name for name in want if not np.array_equal(got[name], want[name])] == []
    assert read_state(newest)["monitors"]["history"] == read_state(expected)["monitors"]["history"]
    assert read_jsonl(tmp_path / "killed") == read_jsonl(tmp_path / "whole") == whole.history
    assert (tmp_path / "killed/metrics.csv").read_text() == (tmp_path / "whole/metrics.csv").read_text()
    assert not list((tmp_path / "killed/checkpoints").glob(".unfinished*"))
