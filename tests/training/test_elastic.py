"""A run of two workers that goes on with one, and then with two again; and replicas that keep their number of rows."""

import json
import subprocess
import sys

import numpy as np
import pytest

from flowtrain.training import train

from . import elastic_run
from .devices_run import difference

EPOCHS, STEPS = 2, 6


def launched(folder, workers, phase, step):
    """Run a phase to its end; gives the exit status and what was written."""
    command = [sys.executable, "-m", "flowtrain.cli", "launch", "-n", str(workers), elastic_run.__file__, "--"]
    done = subprocess.run(
        [*command, "worker", str(folder), phase, str(step)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=400,
    )
    return done.returncode, done.stdout


def rows_of_steps(folder, phases):
    """The rows of each step, those of all workers in their order; of a step that was done again: the last time."""
    found = {}
    for phase, workers in phases:
        for index in range(workers):
            for line in (folder / f"rows-{phase}-{index}.jsonl").read_text().splitlines():
                step, rows = json.loads(line)
                found[step] = [*(found[step] if index else []), *rows]
    return [found[step] for step in sorted(found)]


@pytest.mark.timeout(1000)
def test_two_workers_then_one_then_two(tmp_path):
    outputs = []
    for workers, phase, step, wanted in [(2, "a", 2, 137), (1, "b", 7, 137), (2, "c", 0, 0)]:
        status, output = launched(tmp_path, workers, phase, step)
        assert status == wanted, output[-4000:]
        outputs.append(" ".join(output.split()))
    assert "differs" not in outputs[0]
    assert "workers 2 1 nothing: the same rows" in outputs[1] and "replicas 2 1 the same rows" in outputs[1]
    assert "workers 1 2 nothing: the same rows" in outputs[2] and "replicas 1 2 the same rows" in outputs[2]

    flow = elastic_run.get_data()
    due = [rows.tolist() for _ in range(EPOCHS) for (rows,) in flow]
    assert rows_of_steps(tmp_path, [("a", 2), ("b", 1), ("c", 2)]) == due

    alone = train(elastic_run.configured(tmp_path / "alone", None, max_epoch=EPOCHS))
    history = json.loads(json.dumps(dict(alone.history)))
    for index in range(2):
        weights = dict(np.load(tmp_path / f"weights-{index}.npz"))
        seen = next(name for name in weights if name.startswith("seen/"))
        assert np.array_equal(weights[seen], np.full((elastic_run.ROWS, 1), EPOCHS, np.float32))
        assert np.array_equal(weights[seen], alone.get_weights()[seen])
        assert difference(weights, alone.get_weights()) < 1e-5
        found = json.loads((tmp_path / f"history-{index}.json").read_text())
        assert found.keys() == history.keys()
        for name, values in history.items():
            assert [step for step, _ in found[name]] == [step for step, _ in values]
            assert np.allclose([v for _, v in found[name]], [v for _, v in values], atol=1e-5)


@pytest.mark.timeout(300)
def test_replicas_that_keep_their_number_of_rows(tmp_path):
    command = [sys.executable, elastic_run.__file__, "replicas", str(tmp_path)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=280)
    assert done.returncode == 0 and done.stdout.endswith("passed\n"), done.stdout[-4000:]
