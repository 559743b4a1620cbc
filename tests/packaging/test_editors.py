"""What an editor marks while one writes: wrong arguments and names, and nothing that is right."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SCRIPT = """
import flowtrain as ft
import flowtrain.dataflow as df
from flowtrain import PrefetchData

ds = df.DataFromList([[1], [2]])

PrefetchData(ds, num_proc=2)
df.MultiThreadMapData(ds, 2, lambda dp: dp, buffer_size=3)
ft.MultiProcessMapData(ds, 2, lambda dp: dp, restart=True)
df.MapData(ds, func=lambda dp: dp)
ft.ModelSaver(keep=3)
df.LMDBData, df.formats.LMDBData, df.imgaug.Flip, df.Ray, df.datasets.Mnist

PrefetchData(ds, numproc=2)  # wrong
df.PrefetchData(ds, nr_proc=2)  # wrong
df.MultiThreadMapData(ds, 2, lambda dp: dp, restart=True)  # wrong
ft.MultiProcessMapData(ds, 2, lambda dp: dp, buffersize=3)  # wrong
df.MapData(ds, map_func=lambda dp: dp)  # wrong
df.BatchData(ds, 2, remainders=True)  # wrong
df.RepeatedData(ds, nb=2)  # wrong
ft.ModelSaver(max_to_keep=3)  # wrong
ft.LMDBDataPoint  # wrong
df.LMDBDataPoint  # wrong
ft.imgaug.Flop  # wrong
"""


@pytest.mark.skipif(importlib.util.find_spec("pyright") is None, reason="pyright is not installed")
def test_wrong_arguments_are_marked(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "pyrightconfig.json").write_text(
        json.dumps({"extraPaths": [str(ROOT)], "stubPath": str(ROOT / "typings")})
    )
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, "-p", str(tmp_path)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=800, check=False).stdout
    found = json.loads(said)["generalDiagnostics"]
    marked = {one["range"]["start"]["line"] for one in found if one["severity"] == "error"}
    wrong = {number for number, line in enumerate(SCRIPT.splitlines()) if line.endswith("# wrong")}
    assert marked == wrong, found
