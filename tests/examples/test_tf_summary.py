from pathlib import Path

import keras
import numpy as np
import pytest
from click.testing import CliRunner

import flowtrain as ft

DIGITS = Path(__file__).parents[1] / "dataflow/datasets/data/mnist"


def call(command, *arguments) -> str:
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output + str(result.exception)
    return result.output


def test_all_sources_give_the_same_table(load, tmp_path):
    sources = load("tf_summary", "sources")
    x, y = sources.table(20)
    flows = sources.all_sources(tmp_path, 20)
    assert len(flows) == 7
    for name, flow in flows.items():
        rows = list(flow)
        order = np.argsort(y, kind="stable") if name == "files" else slice(None)  # files come class by class
        np.testing.assert_array_equal(np.stack([row[0] for row in rows]), x[order], err_msg=name)
        np.testing.assert_array_equal([row[1] for row in rows], y[order], err_msg=name)
        assert rows[0][0].dtype == np.float32
    assert "TFRecords  x float32 (32, 4)" in call(sources.main, tmp_path / "again")


@pytest.mark.parametrize("way", ["fit", "batch", "step"])
def test_each_way_learns(load, way, tmp_path):
    script = load("tf_summary", "train")
    data = ft.BatchData(ft.Mnist("train", shuffle=True, folder=DIGITS), 20)
    keras.utils.set_random_seed(0)
    seen = script.WAYS[way](script.MODELS["functional"](), data, data, 8, str(tmp_path / "run"))
    assert seen > 0.7  # of the digits that it is trained on


def test_a_subclass_with_res_blocks_is_trained_by_one_call(load, tmp_path):
    script = load("tf_summary", "train")
    options = ["--data", DIGITS, "--epochs", 2, "--batch", 50, "--log-dir", tmp_path / "run"]
    assert "subclass, fit: test accuracy" in call(script.main, "--model", "subclass", *options)


def test_models_are_saved_and_come_back(load, tmp_path):
    script = load("tf_summary", "saving")
    output = call(script.main, tmp_path, "--data", DIGITS)
    assert "resumed after epoch 2, now at step 4" in output
    assert "checkpoints: step-00000002, step-00000004" in output
    for name in ("whole", "weights", "latest checkpoint"):
        line = next(line for line in output.splitlines() if line.startswith(name))
        assert float(line.split(" by ")[1].split()[0]) < 1e-4


def test_res_blocks_survive_a_whole_save(load, tmp_path):
    script, models = load("tf_summary", "saving"), load("tf_summary", "models")
    model, images = models.subclass(), np.random.default_rng(0).integers(0, 255, (4, 28, 28), np.uint8)
    again = script.whole(model, tmp_path / "resnet.keras")
    np.testing.assert_allclose(again.predict_on_batch(images), model.predict_on_batch(images), atol=1e-5)
