"""A script that the command line loads is looked at: it never trains, serves or leaves a folder behind."""

import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from flowtrain.cli import main
from flowtrain.cli.load import load_script

ROOT = Path(__file__).parents[2]

HEAD = """
import sys
import tensorflow as tf
from flowtrain import *

def get_data(count=8):
    return BatchData(DataFromList([[float(n)] for n in range(count)]), 4)

class Line(ModelDesc):
    def inputs(self):
        return [tf.TensorSpec((None,), tf.float32, "x")]

    def build_graph(self, x):
        return tf.reduce_mean(FullyConnected("line", x[:, None], 1), name="cost")

config = TrainConfig(model=Line(), dataflow=get_data(), max_epoch=1)
"""

STARTS = {
    "train": "train(config)",
    "train within a try": "try:\n    train(config)\nexcept Exception:\n    pass",
    "resume": "train(config, resume='auto')",
    "dry run": "train(config, dry_run=True)",
    "a trainer": "with SimpleTrainer(config) as trainer:\n    trainer.train()",
    "a trainer without steps": "NoOpTrainer(config).train()",
    "a sender": "send_dataflow(get_data(), 'tcp://127.0.0.1:9', wait=600)",
    "a folder of its own": "folder = auto_set_dir('mine')\ntrain(config)",
    "a program's end": "sys.exit(len(sys.argv) - 1)",
}


def _run(*args):
    return CliRunner().invoke(main, [str(arg) for arg in args])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
def test_what_is_above_the_start_is_there_and_nothing_runs(folder, start):
    (folder / "script.py").write_text(f"{HEAD}\n{start}\n\ndef below():\n    return get_data()\n")
    result = _run("data", "script.py:get_data", "-n", 2, "-a", "count=4")
    assert result.exit_code == 0, result.output
    assert "datapoint 0<1 with 1 component" in result.output
    assert sorted(path.name for path in folder.iterdir() if path.name != "__pycache__") == ["script.py"]


def test_a_name_below_the_start_is_answered_with_the_reason(folder):
    (folder / "script.py").write_text(f"{HEAD}\ntrain(config)\n\ndef below():\n    return get_data()\n")
    result = _run("data", "script.py:below")
    line = 1 + HEAD.count("\n") + 1
    assert result.exit_code == 1
    assert f"has no 'below' above the place where loading ends (train() in line {line} of script.py)" in result.output


def test_a_start_in_an_imported_file_ends_the_loading_too(folder):
    (folder / "trains_when_imported.py").write_text(f"{HEAD}\ntrain(config)\n")
    (folder / "script.py").write_text("def early():\n    pass\n\nfrom trains_when_imported import get_data\n")
    result = _run("data", "script.py:get_data")
    assert result.exit_code == 1 and "of trains_when_imported.py" in result.output


def test_a_function_that_trains_is_refused(folder):
    (folder / "script.py").write_text(f"{HEAD}\ndef main():\n    train(config)\n    return get_data()\n")
    result = _run("data", "script.py:main")
    assert result.exit_code == 1 and "this command only looks" in result.output
    assert not (folder / "train_log").exists()


def test_a_script_sees_its_own_name_and_no_arguments(folder):
    (folder / "script.py").write_text("import sys\nname, seen = __name__, sys.argv\n")
    module = load_script("script.py")
    assert module.name != "__main__" and module.seen == [str(folder / "script.py")]


def test_the_readme_script_as_it_is(folder):
    import cv2

    for part in ("train", "valid"):
        (folder / "photos" / part).mkdir(parents=True)
        for n in range(8):
            picture = np.full((300, 300, 3), 20 * n, np.uint8)
            cv2.imwrite(str(folder / "photos" / part / f"{n}.jpg"), picture)
    script = re.search(r"## A training script\n.*?```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert script is not None
    (folder / "train.py").write_text(script.group(1))
    result = _run("data", "train.py:get_data", "-a", "folder=photos/train", "-a", "training=False", "-n", 1)
    assert result.exit_code == 0, result.output
    assert not (folder / "train_log").exists()
    exported = _run("export", "nothing.ckpt", "out.pb", "--model", "train.py:Colorize")
    assert exported.exit_code == 1 and not (folder / "train_log").exists()
