"""kill -9 at random moments, again and again: the end is bit for bit that of a run that was left alone."""

import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

from flowtrain.model.checkpoint_io import check_checkpoint, list_checkpoints, read_checkpoint, read_state
from flowtrain.monitors import read_jsonl

from . import killed_run

KILLS = int(os.environ.get("FLOWTRAIN_TEST_KILLS", "3"))
EPOCHS = 4 + 2 * KILLS  # long enough for all of them, though each undoes some steps


def start(log_dir):
    command = [sys.executable, str(Path(killed_run.__file__)), str(log_dir), str(EPOCHS)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n", process.stderr.read()
    return process


def kill_a_worker(process):
    """One that makes the training's data, of which the training dies, unless it has all its data already."""
    below = psutil.Process(process.pid).children(recursive=True)
    workers = [child for child in below if not child.children()]
    if workers:
        workers[-1].kill()
        _, error = process.communicate(timeout=900)
        assert process.returncode == 0 or "WorkerDied" in error, error[-4000:]


@pytest.mark.timeout(1000 + 60 * KILLS)
def test_kill_9_at_random_moments_changes_nothing(tmp_path):
    whole = killed_run.run(tmp_path / "whole", EPOCHS, workers=0)
    moments = random.Random(int(os.environ.get("FLOWTRAIN_TEST_SEED", "0")))
    killed, found = 0, set()
    while True:
        process = start(tmp_path / "killed")
        # On a busy machine none of them may come after a save: then one more, and later each time, until one does.
        patience = moments.uniform(0.0, 0.4) if killed < KILLS else 250 if found else 0.4 * 1.5 ** (killed - KILLS)
        try:
            process.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            if killed % 3 == 2:
                kill_a_worker(process)
            process.kill()
            process.communicate()
        else:
            assert process.returncode == 0, "it died by itself"
        if process.returncode == 0:
            break
        killed += 1
        found.update(list_checkpoints(tmp_path / "killed/checkpoints"))
    print(f"killed {killed} times, with {len(found)} different checkpoints to go on from")
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
