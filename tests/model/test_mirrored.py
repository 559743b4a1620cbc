"""A model under MirroredStrategy, on two logical CPUs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_two_replicas_share_names_variables_and_predictors():
    script = Path(__file__).with_name("mirrored_run.py")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "all well" in done.stdout
