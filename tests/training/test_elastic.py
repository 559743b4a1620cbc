"""A run that goes on with other numbers of workers; and replicas that keep their number of rows."""

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
        timeout=900,
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


@pytest.mark.parametrize("counts", [(2, 1, 2), (4, 2, 1)])
def test_a_run_goes_on_with_other_numbers_of_workers(tmp_path, counts):
    phases = list(zip("abc", counts, strict=True))
    killed_after, before = [2, 7, 0], None  # a step of the first epoch, one of the second; the last phase ends
    for (phase, workers), step in zip(phases, killed_after, strict=True):
        status, output = launched(tmp_path, workers, phase, step)
        assert status == (137 if step else 0), output[-4000:]
        output = " ".join(output.split())
        if before is None:
            assert "differs" not in output
        else:
            assert f"workers {before} {workers} nothing: the same rows" in output
            assert f"replicas {before} {workers} the same rows" in output
        before = workers

    flow = elastic_run.get_data()
    due = [rows.tolist() for _ in range(EPOCHS) for (rows,) in flow]
    assert rows_of_steps(tmp_path, phases) == due

    alone = train(elastic_run.configured(tmp_path / "alone", None, max_epoch=EPOCHS))
    history = json.loads(json.dumps(dict(alone.history)))
    for index in range(counts[-1]):
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


def test_replicas_that_keep_their_number_of_rows(tmp_path):
    command = [sys.executable, elastic_run.__file__, "replicas", str(tmp_path)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=900)
    assert done.returncode == 0 and done.stdout.endswith("passed\n"), done.stdout[-4000:]
