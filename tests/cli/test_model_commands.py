import json

import cv2
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

from flowtrain.cli import main
from flowtrain.layers import Conv2D
from flowtrain.model import ModelDesc, ModelGraph
from flowtrain.model.checkpoint_io import CheckpointWriter
from flowtrain.predict import export, load_predictor, read_weights

SCRIPT = """
import tensorflow as tf
from flowtrain.layers import Conv2D
from flowtrain.model import ModelDesc

class Blur(ModelDesc):
    def __init__(self, channels=3):
        self.channels = channels

    def inputs(self):
        return [tf.TensorSpec((None, None, None, self.channels), tf.float32, "image")]

    def build_graph(self, image):
        return tf.reduce_mean(Conv2D("blur", image, self.channels, kernel_size=3), name="cost")
"""


class Blur(ModelDesc):
    def inputs(self):
        return [tf.TensorSpec((None, None, None, 3), tf.float32, "image")]

    def build_graph(self, image):
        return tf.reduce_mean(Conv2D("blur", image, 3, kernel_size=3), name="cost")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A script, a checkpoint of its model, and the model as a frozen graph."""
    folder = tmp_path_factory.mktemp("model")
    (folder / "train.py").write_text(SCRIPT)
    graph = ModelGraph(Blur())
    graph.store.set_weights({"blur/kernel": np.eye(3)[None, None].repeat(3, 0).repeat(3, 1) / 9})
    writer = CheckpointWriter(folder / "checkpoints" / "step-00000004")
    writer.write(graph.store.get_weights(), {}, {"global_step": 4, "epoch": 2})
    writer.commit()
    export(graph, folder / "blur.pb", outputs=["blur/output"])
    return folder


def _run(*args):
    result = CliRunner().invoke(main, [str(arg) for arg in args])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_export_a_checkpoint(folder, tmp_path):
    model = ["-m", f"{folder / 'train.py'}:Blur", "-a", "channels=3"]
    result = _run("export", folder, tmp_path / "saved", *model, "-o", "blur/output", "-o", "blur/output_crop1")
    assert result.exit_code == 0, result.output
    image = np.ones((1, 8, 9, 3), "float32")
    (output,) = load_predictor(tmp_path / "saved", outputs=["blur/output"])(image)
    np.testing.assert_allclose(output[0, 4, 4], 1, atol=1e-6)
    again = _run("export", tmp_path / "saved", tmp_path / "small.pb", "--height", "8", "--width", "9")
    assert again.exit_code == 0, again.output
    assert _run("export", tmp_path / "saved", tmp_path / "saved.npz").exit_code == 0
    assert (
        set(read_weights(tmp_path / "saved.npz"))
        == {"blur/kernel", "blur/bias"}
        <= set(read_weights(tmp_path / "small.pb"))
    )
    refused = _run("export", folder, tmp_path / "saved", *model)
    assert refused.exit_code == 1
    assert "pass --overwrite" in refused.output
    wrong = _run("export", folder, tmp_path / "x", *model, "-o", "blurr/output")
    assert "Did you mean 'blur/output'" in wrong.output
    assert "KeyError" not in wrong.output
    assert "--model FILE.py:NAME" in _run("export", folder, tmp_path / "x").output
    assert "holds constants" in _run("export", tmp_path / "small.pb", tmp_path / "small.npz").output
    assert "-a name=value" in _run("export", folder, tmp_path / "x", *model, "-a", "size=1").output


def test_inspect(folder):
    result = _run("inspect", folder, "--stats")
    assert result.exit_code == 0, result.output
    for part in ("blur/kernel", "[3, 3, 3, 3]", "global_step: 4", "2 variables, 84 parameters", "std"):
        assert part in result.output
    assert "1 variables, 3 parameters" in _run("inspect", folder, "-p", "bias$").output
    report = json.loads(_run("inspect", folder / "blur.pb", "--json").output)
    assert report["kind"] == "frozen"
    assert report["inputs"] == {"image": "float32 (None, None, None, 3)"}
    assert "blur/output" in report["outputs"]
    assert "blur/output:0" in _run("inspect", folder / "blur.pb", "--tensors").output
    assert "There is no" in _run("inspect", folder / "nothing.pb").output
    assert "no regular expression" in _run("inspect", folder, "-p", "(").output


def test_predict(folder, tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), image)
    out = tmp_path / "out"
    result = _run("predict", folder / "blur.pb", tmp_path / "a.png", "--out", out, "--range", -0.5, 0.5)
    assert result.exit_code == 0, result.output
    blurred = cv2.imread(str(out / "a.png"))
    expected = cv2.blur(image.astype("float32"), (3, 3))
    assert np.abs(blurred[1:-1, 1:-1].astype(float) - expected[1:-1, 1:-1]).max() < 1
    tiles = ["--tile", 16, "--margin", 16, "--out", tmp_path / "tiles", "--range", -0.5, 0.5]
    assert _run("predict", folder / "blur.pb", tmp_path / "a.png", *tiles).exit_code == 0
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "tiles" / "a.png")), blurred)
    np.save(tmp_path / "b.npy", image.astype("float32"))
    np.savez(tmp_path / "c.npz", image=image)
    assert (
        _run("predict", folder / "blur.pb", tmp_path / "b.npy", tmp_path / "c.npz", "--out", out, "--npy").exit_code
        == 0
    )
    np.testing.assert_allclose(np.load(out / "b.npy"), np.load(out / "c.npy"))
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object))
    assert "no array of numbers" in _run("predict", folder / "blur.pb", tmp_path / "objects.npy").output
    (tmp_path / "bad.png").write_bytes(b"no picture")
    assert "no picture that can be decoded" in _run("predict", folder / "blur.pb", tmp_path / "bad.png").output
