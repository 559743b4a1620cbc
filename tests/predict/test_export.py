import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import flowtrain.predict.exporting as export_module
from flowtrain.layers import LSTM, BatchNorm, Conv2D, Embedding
from flowtrain.model import KerasModelDesc, ModelDesc, ModelGraph, get_variable
from flowtrain.predict import OfflinePredictor, PredictConfig, export, get_model_loader, load_predictor, read_weights
from flowtrain.predict.freeze import frozen
from flowtrain.utils.errors import ConfigError, ExportError, FlowtrainError, TensorNameError


class Segment(ModelDesc):
    def inputs(self):
        return [
            tf.TensorSpec((None, None, None, 3), tf.float32, "image"),
            tf.TensorSpec((None, None, None), tf.int32, "label"),
        ]

    def build_graph(self, image, label):
        x = BatchNorm("bn", Conv2D("conv1", image, 4, kernel_size=3, strides=2, activation=tf.nn.relu))
        logits = Conv2D("net/logits", tf.image.resize(x, tf.shape(image)[1:3]), 2, kernel_size=3)
        tf.nn.softmax(logits, name="softmax")
        tf.identity(tf.numpy_function(lambda x: x * 2, [image], tf.float32), name="python")
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(label, logits)
        return tf.reduce_mean(loss, name="loss")


@pytest.fixture(scope="module")
def graph():
    return ModelGraph(Segment(), seed=3)


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(1).normal(size=(2, 40, 52, 3)).astype("float32")


@pytest.fixture(scope="module")
def expected(graph, image):
    return graph.predictor(["image"], ["softmax", "net/logits/output"])(image)


FRESH = """
import sys, numpy as np, tensorflow as tf
run = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
outputs = run(image=tf.constant(np.load(sys.argv[2])))
np.savez(sys.argv[3], softmax=outputs["softmax"], logits=outputs["net/logits/output"], crop=outputs["softmax_crop8"])
assert "flowtrain" not in sys.modules
"""


def test_a_saved_model_runs_in_a_fresh_process_without_flowtrain(graph, image, expected, tmp_path):
    path = export(graph, tmp_path / "exported", ["image"], ["softmax", "net/logits/output", "softmax_crop8"])
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["exported"]
    np.save(tmp_path / "image.npy", image)
    command = [sys.executable, "-c", FRESH, path, tmp_path / "image.npy", tmp_path / "out.npz"]
    subprocess.run(command, check=True, timeout=800, cwd=tmp_path)
    with np.load(tmp_path / "out.npz") as out:
        np.testing.assert_allclose(out["softmax"], expected[0], atol=1e-6)
        np.testing.assert_allclose(out["logits"], expected[1], atol=1e-6)
        np.testing.assert_allclose(out["crop"], expected[0][:, 8:-8, 8:-8], atol=1e-6)
    (softmax,) = load_predictor(path, ["image"], ["softmax"])(image)
    np.testing.assert_allclose(softmax, expected[0], atol=1e-6)
    # the readable names are in it too: it is a source of weights like a checkpoint
    assert set(read_weights(path)) == set(graph.store.variables)
    other = ModelGraph(Segment(), seed=99)
    assert get_model_loader(path).restore(other).fits


def test_a_saved_model_keeps_names_with_dots(tmp_path):
    class Scaled(ModelDesc):
        def inputs(self):
            return [tf.TensorSpec((None, 2), tf.float32, "x")]

        def build_graph(self, x):
            return tf.reduce_mean(tf.multiply(x, get_variable("block.Second/scale", (), "ones"), name="scaled"))

    path = export(ModelGraph(Scaled()), tmp_path / "exported", ["x"], ["scaled"])
    assert set(read_weights(path)) == {"block.Second/scale"}  # TensorFlow writes dots and slashes in keys as .. and .S


def test_a_frozen_graph_keeps_the_names(graph, image, expected, tmp_path):
    path = export(graph, tmp_path / "model.pb", ["image"], ["net/logits/output", "softmax:0"])
    definition = tf.compat.v1.GraphDef.FromString(path.read_bytes())
    names = {node.name: node.op for node in definition.node}
    assert names["image"] == "Placeholder"
    assert {"net/logits/output", "softmax"} <= set(names)
    assert "VarHandleOp" not in names.values()
    weights = read_weights(path)
    for name, value in graph.store.get_weights().items():
        if name.startswith(("conv1/", "bn/", "net/")):
            np.testing.assert_array_equal(weights[name], value)
    logits, softmax = load_predictor(path, ["image"], ["net/logits/output", "softmax"])(image)
    np.testing.assert_allclose(logits, expected[1], atol=1e-5)
    np.testing.assert_allclose(softmax, expected[0], atol=1e-5)


def test_a_fixed_size(graph, image, expected, tmp_path):
    export(graph, tmp_path / "model.tflite", outputs=["softmax"], height=40, width=52)
    path = export(graph, tmp_path / "model.pb", outputs=["softmax"], height=40, width=52)
    predictor = load_predictor(path)
    assert predictor.inputs == ["image"]
    assert predictor.specs[0].shape.as_list() == [None, 40, 52, 3]
    np.testing.assert_allclose(predictor(image)[0], expected[0], atol=1e-5)
    with pytest.raises(FlowtrainError, match="expects shape"):
        predictor(image[:, :32])


def test_other_inputs_than_the_models(graph, image, tmp_path):
    inner = graph.predictor(["image"], ["conv1/output"])(image)[0]
    want = graph.predictor(["image"], ["bn/output"])(image)[0]
    for name in ("inner", "inner.pb"):
        path = export(graph, tmp_path / name, ["conv1/output"], ["bn/output"])
        predictor = load_predictor(path)
        np.testing.assert_allclose(predictor(inner)[0], want, atol=1e-5)


def test_tflite_and_npz(graph, tmp_path):
    path = export(graph, tmp_path / "model.tflite", ["image"], ["net/logits/output"])
    assert path.stat().st_size > 500
    path = export(graph, tmp_path / "weights.npz")
    assert set(read_weights(path)) == set(graph.store.variables)
    other = ModelGraph(Segment(), seed=99)
    get_model_loader(path).restore(other)
    for name, value in graph.store.get_weights().items():
        np.testing.assert_array_equal(other.store.get_weights()[name], value)
    with pytest.raises(ExportError, match="the whole model"):
        export(graph, tmp_path / "other.npz", outputs=["softmax"])


def test_onnx_needs_its_extra(graph, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx.convert", None)
    with pytest.raises(FlowtrainError, match=r"flowtrain\[onnx\]"):
        export(graph, tmp_path / "model.onnx", ["image"], ["softmax"])
    assert not list(tmp_path.iterdir())


def test_onnx(graph, image, expected, tmp_path):
    pytest.importorskip("tf2onnx")
    onnxruntime = pytest.importorskip("onnxruntime")

    def run(path, **inputs):
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        assert [value.name for value in session.get_inputs()] == list(inputs)
        assert [value.name for value in session.get_outputs()] == ["softmax", "net/logits/output", "softmax_crop8"]
        return session.run(None, inputs)

    outputs = ["softmax", "net/logits/output", "softmax_crop8"]
    for name, fixed in (("dynamic.onnx", {}), ("fixed.onnx", {"height": 40, "width": 52})):
        softmax, logits, crop = run(export(graph, tmp_path / name, ["image"], outputs, **fixed), image=image)
        np.testing.assert_allclose(softmax, expected[0], atol=1e-4)
        np.testing.assert_allclose(logits, expected[1], atol=1e-4)
        np.testing.assert_allclose(crop, expected[0][:, 8:-8, 8:-8], atol=1e-4)
    with pytest.raises(ExportError, match="Python"):
        export(graph, tmp_path / "python.onnx", ["image"], ["python"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dynamic.onnx", "fixed.onnx"]


def test_onnx_takes_branches_and_recurrent_layers(tmp_path):
    pytest.importorskip("tf2onnx")
    onnxruntime = pytest.importorskip("onnxruntime")

    class Words(ModelDesc):
        def inputs(self):
            return [tf.TensorSpec((None, 6), tf.int32, "words")]

        def build_graph(self, words):
            x = LSTM("lstm", keras.activations.gelu(Embedding("embedding", words, 10, 4)), 5)
            x = tf.cond(tf.reduce_sum(x) > 0, lambda: x * 2.0, lambda: tf.cast(words[:, :5], tf.float32) - x)
            return tf.reduce_mean(tf.identity(x, name="score"), name="cost")

    graph = ModelGraph(Words())
    path = export(graph, tmp_path / "words.onnx", outputs=["score"])
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    live = graph.predictor(["words"], ["score"])
    for seed in range(4):
        words = np.random.default_rng(seed).integers(0, 10, (3, 6)).astype("int32")
        np.testing.assert_allclose(session.run(["score"], {"words": words})[0], live(words)[0], atol=1e-5)


def test_keras_models(image, tmp_path):
    keras.utils.set_random_seed(4)
    picture = keras.Input((None, None, 3), name="picture")
    model = keras.Model(picture, keras.layers.Conv2D(2, 3, name="head")(picture))
    for name in ("model.keras", "model.h5", "m.weights.h5", "model.pb", "model", "weights.npz", "model.tflite"):
        export(model, tmp_path / name)
    for name in ("model.keras", "model.h5", "model.pb", "model"):
        np.testing.assert_allclose(load_predictor(tmp_path / name)(image)[0], model(image), atol=1e-5)
    other = keras.models.clone_model(model)
    other.load_weights(tmp_path / "m.weights.h5")
    assert np.array_equal(other.predict(image, verbose=0), model.predict(image, verbose=0))
    assert np.array_equal(keras.models.load_model(tmp_path / "model.h5").get_weights()[0], model.get_weights()[0])
    graph = ModelGraph(KerasModelDesc(model, loss="mse"))
    export(graph, tmp_path / "again.keras")
    export(graph, tmp_path / "again.weights.h5")
    path = export(graph, tmp_path / "again")
    np.testing.assert_allclose(load_predictor(path)(image)[0], model(image), atol=1e-5)


def test_inputs_of_keras_models_that_have_no_name(tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    for name in ("model.keras", "model.h5"):
        export(model, tmp_path / name)
        x = np.ones((2, 4), "float32")
        np.testing.assert_allclose(load_predictor(tmp_path / name)(x)[0], model(x), atol=1e-6)


def test_an_offline_predictor_is_exported_as_it_is(graph, image, expected, tmp_path):
    predictor = OfflinePredictor(PredictConfig(graph, inputs=["image"], outputs=["softmax"]))
    path = export(graph.predictor(["image"], ["softmax"]), tmp_path / "one.pb")
    np.testing.assert_allclose(load_predictor(path)(image)[0], expected[0], atol=1e-5)
    path = export(predictor, tmp_path / "two.pb", outputs=["net/logits/output", "softmax_crop4"])
    logits, crop = load_predictor(path, outputs=["net/logits/output", "softmax_crop4"])(image)
    np.testing.assert_allclose(logits, expected[1], atol=1e-5)
    np.testing.assert_allclose(crop, expected[0][:, 4:-4, 4:-4], atol=1e-5)
    with pytest.raises(FlowtrainError, match="give the model or trainer"):
        export(graph.predictor(["image"], ["softmax"]), tmp_path / "three.pb", outputs=["loss"])


def test_python_code_cannot_be_exported(graph, tmp_path):
    with pytest.raises(ExportError, match="Python code"):
        export(graph, tmp_path / "model.pb", ["image"], ["python"])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["model", "model.pb", "model.tflite"])
def test_a_small_difference_is_seen(name, graph, tmp_path, monkeypatch):
    """The live predictor of the check answers a little differently than what was written."""

    def check(job, reopen, *rest):
        return real(job, lambda *job: lambda batch: [y * 1.0003 for y in reopen(*job)(batch)], *rest)

    real = export_module.check
    monkeypatch.setattr(export_module, "check", check)
    with pytest.raises(ExportError, match=r"differs by [23]\.\de-04"):
        export(graph, tmp_path / name, ["image"], ["softmax"])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["model", "model.pb"])
def test_nothing_is_overwritten_silently(name, graph, image, expected, tmp_path):
    export(graph, tmp_path / name, ["image"], ["net/logits/output"])
    with pytest.raises(ExportError, match="overwrite=True"):
        export(graph, tmp_path / name, ["image"], ["softmax"])
    with pytest.raises(ExportError, match="Python code"):
        export(graph, tmp_path / name, ["image"], ["python"], overwrite=True)
    np.testing.assert_allclose(load_predictor(tmp_path / name)(image)[0], expected[1], atol=1e-5)
    export(graph, tmp_path / name, ["image"], ["softmax"], overwrite=True)
    np.testing.assert_allclose(load_predictor(tmp_path / name)(image)[0], expected[0], atol=1e-5)
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["results", "results.pb"])
def test_no_folder_of_other_files_is_overwritten(name, graph, tmp_path):
    (tmp_path / name / "deep").mkdir(parents=True)
    (tmp_path / name / "deep" / "notes.txt").write_text("of a year")
    for target in (tmp_path / name, (tmp_path / name).as_uri()):
        with pytest.raises(ExportError, match="is a folder that holds 'deep'"):
            export(graph, target, ["image"], ["softmax"], overwrite=True)
    assert (tmp_path / name / "deep" / "notes.txt").read_text() == "of a year"


def test_the_batch_to_check_with(graph, image, tmp_path):
    export(graph, tmp_path / "a.pb", outputs=["loss"], batch={"image": image, "label": np.zeros((2, 40, 52))})
    export(graph, tmp_path / "b.pb", outputs=["softmax"], batch=[image])
    with pytest.raises(ExportError, match="does not run on the random batch"):
        export(graph, tmp_path / "c.pb", outputs=["loss"])
    with pytest.raises(ExportError, match="2 components"):
        export(graph, tmp_path / "d.pb", outputs=["softmax"], batch=[image, image])


def test_wrong_arguments(graph, tmp_path):
    with pytest.raises(ConfigError, match="pass format="):
        export(graph, tmp_path / "model.xyz")
    with pytest.raises(ConfigError, match="'saved_model'"):
        export(graph, tmp_path / "model.xyz", format="saved_modle")
    with pytest.raises(ConfigError, match=r"write 'model\.pb'"):
        export(graph, tmp_path / "model", format="frozen")
    with pytest.raises(ExportError, match="not as saved_model"):
        export(graph, tmp_path / "model", height=32)
    with pytest.raises(ConfigError, match="export: height must be a whole number of at least 1, got 0"):
        export(graph, tmp_path / "model.pb", height=0)
    for name in ("model.keras", "model.h5", "model.weights.h5"):
        with pytest.raises(ExportError, match="TFSMLayer"):
            export(graph, tmp_path / name)
    with pytest.raises(ConfigError, match=r"write 'model\.weights\.h5'"):
        export(graph, tmp_path / "model.h5", format="weights_h5")
    with pytest.raises(TensorNameError, match="'softmax'"):
        export(graph, tmp_path / "model", outputs=["softmx"])
    assert not list(tmp_path.iterdir())


def test_names_of_ones_own(graph, image, expected, tmp_path):
    """Also those that other operations of the graph have: these move out of the way."""
    taken = next(
        node.name for node in frozen(graph.predictor(["image"], ["softmax"]).function).node if "Conv" in node.op
    )
    outputs = {taken: "softmax", "output": "softmax", "crop": "softmax_crop8"}
    for path, options in (("a.pb", {}), ("saved", {}), ("fixed.pb", {"height": 40, "width": 52})):
        export(graph, tmp_path / path, {"input": "image"}, outputs, **options)
        found = load_predictor(tmp_path / path, ["input"], list(outputs))(input=image)
        np.testing.assert_allclose(found[0], expected[0], atol=1e-5)
        np.testing.assert_array_equal(found[1], found[0])
        np.testing.assert_array_equal(found[2], found[0][:, 8:-8, 8:-8])
    definition = tf.compat.v1.GraphDef.FromString((tmp_path / "a.pb").read_bytes())
    assert "image" not in {node.name for node in definition.node}
    for wrong, match in (({"a b": "image"}, "cannot be called 'a b'"), ({"input": "imag"}, "imag")):
        with pytest.raises(FlowtrainError, match=match):
            export(graph, tmp_path / "b.pb", wrong, ["softmax"])
