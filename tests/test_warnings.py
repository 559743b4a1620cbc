"""A script that ends leaves nothing open: Python's own check (-W) has nothing to say."""

import subprocess
import sys

import pytest

DATA = """
import itertools
from flowtrain.dataflow import BatchData, DataFromList, FakeData, MapData, PrefetchData

ds = BatchData(MapData(FakeData([(8, 8)], size=40), lambda dp: dp), 4)
whole = PrefetchData(ds, num_prefetch=2, num_proc=2)
assert len(list(whole)) == 10
left = iter(PrefetchData(ds, num_prefetch=2, num_proc=2))  # left in the middle, and still there at the end
next(left)
threads = iter(__import__("flowtrain").MultiThreadMapData(DataFromList([[i] for i in range(20)]), 2, lambda dp: dp))
next(threads)
"""

TRAIN = """
import tensorflow as tf
import flowtrain as ft

class Line(ft.ModelDesc):
    def inputs(self):
        return [tf.TensorSpec((None, 3), tf.float32, "x")]

    def build_graph(self, x):
        return tf.reduce_mean(tf.square(ft.FullyConnected("fc", x, 1)), name="cost")

    def optimizer(self):
        return tf.keras.optimizers.SGD(0.1)

def data():
    return ft.PrefetchData(ft.BatchData(ft.FakeData([(3,)], size=16), 4), num_prefetch=2, num_proc=2)

callbacks = [ft.ModelSaver(), ft.InferenceRunner(data(), [ft.ScalarStats("cost")])]
ft.train(ft.TrainConfig(model=Line(), dataflow=data(), max_epoch=2, log_dir="run", callbacks=callbacks))
"""


@pytest.mark.parametrize("script", [DATA, TRAIN], ids=["data", "train"])
def test_nothing_is_left_open_at_exit(tmp_path, script):
    (tmp_path / "script.py").write_text(script)
    # "default": an error in a destructor cannot be raised, and other libraries have warnings of their own
    done = subprocess.run(
        [sys.executable, "-W", "default::ResourceWarning", "script.py"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for words in ("ResourceWarning", "Exception ignored", "Traceback"):
        assert words not in done.stderr, done.stderr


def test_the_data_half_runs_where_every_warning_is_an_error(tmp_path):
    (tmp_path / "script.py").write_text(DATA)
    done = subprocess.run([sys.executable, "-W", "error", "script.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr
