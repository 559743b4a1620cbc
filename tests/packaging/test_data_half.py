"""The data half alone: what importing it loads, and that it works where only its short list is installed."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "howto" / "data-half.md"
MODULES = {"opencv-python-headless": "cv2", "pillow": "PIL", "pyzmq": "zmq", "lazy-loader": "lazy_loader"}
NAMED = {"ml_dtypes", "stringzilla"}  # imported where they are needed or there


def loaded(code: str) -> set[str]:
    """The modules that a line of Python brings into a fresh interpreter, beyond those of Python itself."""
    code = f"import sys; before = set(sys.modules); {code}; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=800, check=True)
    return {name for name in done.stdout.split() if name.split(".")[0] not in sys.stdlib_module_names}


def packages(modules: set[str]) -> set[str]:
    return {name.split(".")[0] for name in modules}


def test_importing_it_loads_next_to_nothing():
    found = loaded("import flowtrain.dataflow")
    assert packages(found) <= {"flowtrain", "lazy_loader"}
    rooms = {name for name in found if name.startswith("flowtrain.dataflow")}
    core = "flowtrain.dataflow.core"
    assert rooms == {"flowtrain.dataflow", core, f"{core}.explanation"}


@pytest.mark.parametrize("home", ["flowtrain", "flowtrain.dataflow"])
def test_a_flow_without_pictures_loads_no_libraries_of_pictures(home):
    found = loaded(f"from {home} import DataFromList, MapData, BatchData, PrefetchData, TestDataSpeed")
    absent = {"cv2", "PIL", "simplejpeg", "zmq", "tqdm", "tabulate", "click", "matplotlib", "tensorflow", "keras"}
    assert packages(found) & absent == set()
    assert not [name for name in found if name.startswith(("flowtrain.dataflow.imgaug", "flowtrain.dataflow.formats"))]


def short_list() -> set[str]:
    (line,) = re.findall(r"^pip install (numpy .*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return set(line.split())


def test_the_short_list_is_what_the_modules_import():
    found = set()
    for part in ("dataflow", "ipc", "utils"):
        for path in (ROOT / "flowtrain" / part).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    found |= packages({alias.name for alias in node.names})
                elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                    found |= packages({node.module})
    found -= {"flowtrain", *NAMED, *sys.stdlib_module_names}
    listed = {MODULES.get(package, package) for package in short_list()}
    assert found <= listed
    assert listed - found == {"tabulate", "click", "google-crc32c"}  # of `flowtrain data`, and imported by `require`


ALONE = '''
import importlib.abc, sys

ALLOWED = {allowed}

class Blocker(importlib.abc.MetaPathFinder):
    """As if no other package was installed."""

    def find_spec(self, name, path=None, target=None):
        top = name.split(".")[0]
        if top in ALLOWED or top in sys.stdlib_module_names or top.startswith("_"):
            return None
        raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocker())
'''

USE = """
import numpy as np
import flowtrain
import flowtrain.dataflow as df
from flowtrain import cli, imgaug
from flowtrain.dataflow import formats

for name in df.__all__:
    if name != "Ray":
        getattr(df, name)
pictures = df.FakeData([(8, 8, 3), (1,)], 6, dtype="uint8", random=True)
ds = df.BatchData(df.AugmentImageComponent(pictures, [imgaug.RandomCrop(4)]), 2)
serial = [[np.array(part) for part in dp] for dp in ds]
made = [[np.array(part) for part in dp] for dp in df.PrefetchData(df.BatchData(
    df.AugmentImageComponent(pictures, [imgaug.RandomCrop(4)]), 2), num_proc=2)]
assert len(made) == 3 and made[0][0].shape == (2, 4, 4, 3)
rows = [[float(i), i] for i in range(4)]
for kind, source in (("tar", df.TarData), ("tfrecord", df.TFRecordData), ("npz", df.NpzData)):
    df.write(df.DataFromList(rows), f"rows.{kind}", kind)
    assert list(source(f"rows.{kind}")) == rows, kind
from click.testing import CliRunner
open("flow.py", "w").write("import flowtrain.dataflow as df\\nds = df.DataFromList([[1], [2]])\\n")
result = CliRunner().invoke(cli.main, ["data", "flow.py:ds", "-n", "2"])
assert result.exit_code == 0, result.output
from flowtrain.utils.optional import MissingPackage
wanting = {}
for name in flowtrain.__all__:
    try:
        getattr(flowtrain, name)
    except MissingPackage as error:
        assert f"flowtrain.{name} needs the package" in str(error) and "pip install " in str(error), error
        wanting[name] = str(error)
print("as it should:", wanting["ModelDesc"])
assert {"train", "TrainConfig", "Conv2D", "InferenceRunner"} <= wanting.keys()
result = CliRunner().invoke(cli.main, ["export", "a", "b"])
assert "flowtrain export needs the package" in result.output and result.exit_code == 1, result.output
assert not {"tensorflow", "keras", "matplotlib"} & set(sys.modules)
print("all there")
"""


def test_it_works_where_nothing_else_is_installed(tmp_path):
    allowed = {"flowtrain", "google_crc32c", *(MODULES.get(package, package) for package in short_list())}
    script = tmp_path / "alone.py"
    script.write_text(ALONE.format(allowed=allowed) + USE)
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, done.stderr
    assert "all there" in done.stdout and re.search("No module named '(keras|tensorflow)'", done.stdout)
    assert "pip install tensorflow keras (flowtrain.dataflow works without)" in done.stdout
