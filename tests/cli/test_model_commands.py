import json
import re

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
    assert "there is no" in _run("inspect", folder / "nothing.pb").output
    assert "no regular expression" in _run("inspect", folder, "-p", "(").output


def test_the_json_of_inspect_is_json_where_weights_are_not_finite(tmp_path):
    np.savez(tmp_path / "bad.npz", w=np.float32([np.nan, 1]))
    output = _run("inspect", tmp_path / "bad.npz", "--stats", "--json").output
    assert json.loads(output, parse_constant=pytest.fail)["variables"]["w"]["mean"] == "nan"


class Fixed(Blur):
    def inputs(self):
        return [tf.TensorSpec((None, 64, 64, 3), tf.float32, "image")]


def test_a_photo_of_another_size_than_the_model_takes_is_told_of_tiles(tmp_path):
    """The command that the refusal proposes works as it stands."""
    export(ModelGraph(Fixed()), tmp_path / "fixed.pb", outputs=["blur/output"])
    cv2.imwrite(str(tmp_path / "photo.png"), np.full((72, 108, 3), 100, np.uint8))
    ask = ["predict", tmp_path / "fixed.pb", tmp_path / "photo.png", "--out", tmp_path / "out"]
    refused = _run(*ask)
    assert refused.exit_code != 0
    text = refused.output if not refused.exception else f"{refused.output}{refused.exception}"
    for words in ("photo.png is 108x72", "'image' takes pictures of 64x64", "--tile", "Resize"):
        assert words.lower() in " ".join(text.split()).lower()
    proposed = re.search(r"--tile \d+( --margin \d+)?", " ".join(text.split()))[0]
    assert _run(*ask, *proposed.split()).exit_code == 0
    assert cv2.imread(str(tmp_path / "out" / "photo.png")).shape == (72, 108, 3)


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


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    import rasterio
    from affine import Affine

    path = tmp_path_factory.mktemp("scene") / "scene.TIF"
    values = np.random.default_rng(0).integers(0, 10_000, (70, 90, 4)).astype(np.uint16)
    with rasterio.open(
        path, "w", driver="GTiff", height=70, width=90, count=4, dtype="uint16", crs="EPSG:32631",
        transform=Affine(10, 0, 500_000, 0, -10, 5_000_000),
    ) as file:  # fmt: skip
        file.write(np.moveaxis(values, -1, 0))
    return path, values


class TestRasters:
    def _read(self, path):
        import rasterio

        with rasterio.open(path) as file:
            return np.moveaxis(file.read(), 0, -1), file.crs, tuple(file.transform)[:6]

    @pytest.mark.parametrize("tiles", [[], ["--efield", 32, "--rfield", 64]])
    def test_a_raster_is_read_as_it_is_and_written_in_its_place(self, folder, scene, tmp_path, tiles):
        path, values = scene
        result = _run("predict", folder / "blur.pb", path, "--bands", "3,2,1", "--out", tmp_path, *tiles)
        assert result.exit_code == 0, result.output
        made, crs, transform = self._read(tmp_path / "scene.tif")
        expected = cv2.blur(values[..., 2::-1].astype("float32"), (3, 3), borderType=cv2.BORDER_CONSTANT)
        np.testing.assert_allclose(made, expected, rtol=1e-4)
        assert (crs, transform) == ("EPSG:32631", (10, 0, 500_000, 0, -10, 5_000_000))

    def test_a_cropped_output_has_its_own_place_at_once_and_the_whole_in_tiles(self, folder, scene, tmp_path):
        path, values = scene
        expected = cv2.blur(values[..., :3].astype("float32"), (3, 3))
        ask = [folder / "blur.pb", path, "--bands", "1,2,3", "-o", "blur/output_crop8", "--out", tmp_path]
        assert _run("predict", *ask).exit_code == 0
        made, _, transform = self._read(tmp_path / "scene.tif")
        np.testing.assert_allclose(made, expected[8:-8, 8:-8], rtol=1e-4)
        assert transform == (10, 0, 500_080, 0, -10, 4_999_920)
        assert _run("predict", *ask, "--tile", 32, "--margin", 16).exit_code == 0
        made, _, transform = self._read(tmp_path / "scene.tif")
        np.testing.assert_allclose(made[1:-1, 1:-1], expected[1:-1, 1:-1], rtol=1e-4)
        assert transform == (10, 0, 500_000, 0, -10, 5_000_000)

    def test_what_would_be_lost_is_refused(self, folder, scene, tmp_path):
        path, values = scene
        output = _run("predict", folder / "blur.pb", path, "--out", tmp_path).output
        assert "has 4 bands, the model takes 3: choose them with --bands, e.g. --bands 1,2,3" in output
        assert "there is no band [5]" in _run("predict", folder / "blur.pb", path, "--bands", 5).output
        cv2.imwrite(str(tmp_path / "deep.png"), values[..., :3])
        assert "16 bits a channel" in _run("predict", folder / "blur.pb", tmp_path / "deep.png").output
        cv2.imwrite(str(tmp_path / "clear.png"), np.zeros((8, 8, 4), np.uint8))
        assert "transparent" in _run("predict", folder / "blur.pb", tmp_path / "clear.png").output

    def test_a_model_of_gray_pictures(self, tmp_path):
        export(_gray(), tmp_path / "gray.pb", outputs=["same/output"])
        picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
        cv2.imwrite(str(tmp_path / "a.png"), picture)
        assert "pass --gray" in _run("predict", tmp_path / "gray.pb", tmp_path / "a.png").output
        assert (
            _run("predict", tmp_path / "gray.pb", tmp_path / "a.png", "--gray", "--out", tmp_path / "o").exit_code == 0
        )
        made = cv2.imread(str(tmp_path / "o/a.png"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(made, cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY))


def _gray():
    class Same(ModelDesc):
        def inputs(self):
            return [tf.TensorSpec((None, None, None, 1), tf.float32, "image")]

        def build_graph(self, image):
            return tf.reduce_mean(Conv2D("same", image, 1, kernel_size=1, kernel_initializer="ones"), name="cost")

    return ModelGraph(Same())


def test_the_receptive_field_of_a_model(folder):
    output = _run("inspect", folder / "blur.pb", "--field", 128).output
    assert "margin 1 pixel" in output
    assert [line.split()[-2:] for line in output.splitlines() if "Conv2D" in line] == [["128", "126"]]
