"""Each reader of bytes gives a value or the error that it documents, for bytes that were changed at will.

A process of its own runs each target, bounded in memory and in the time of one input: what ends it, by a signal or the
bound, is a failure here and not the end of all tests. `make fuzz` looks for as long as one likes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

DRIVE = Path(__file__).parent / "drive.py"
GROUPS = [
    ["codec", "wire", "example", "tensor"],
    ["tfrecord", "npz", "lmdb", "tar"],
    ["idx", "csv", "lines", "events"],
    ["manifest", "bundle", "graph"],
]


@pytest.mark.parametrize("names", GROUPS, ids=" ".join)
def test_a_value_or_the_documented_error(names):
    command = [sys.executable, str(DRIVE), "--engine", "hypothesis", *names]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    run = subprocess.run(command, capture_output=True, text=True, errors="replace", env=environment, timeout=800)
    assert run.returncode == 0, f"ended with {run.returncode}:\n{run.stdout[-1000:]}\n{run.stderr[-6000:]}"
    assert [line.split(":")[0] for line in run.stdout.splitlines() if " inputs in " in line] == names


def test_every_target_is_run():
    sys.path.insert(0, str(DRIVE.parent))
    try:
        import drive
    finally:
        sys.path.remove(str(DRIVE.parent))
    assert sorted(name for names in GROUPS for name in names) == sorted(drive.PLAIN + drive.OF_TENSORFLOW)
