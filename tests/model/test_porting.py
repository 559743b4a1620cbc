"""Each line of docs/reference/porting.md about models and training: an old spelling is an error that names today's."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import flowtrain as ft
from flowtrain.model import ModelGraph
from flowtrain.utils.errors import FlowtrainError

from .helpers import desc

SPEC = [tf.TensorSpec((None, 4), tf.float32, "x")]
PICTURE = tf.TensorSpec((None, 8, 8, 3), tf.float32, "x")


def built(build, *specs):
    return ModelGraph(desc(build, *(specs or SPEC)))


def layer(call):
    return built(lambda x: tf.reduce_mean(call(x)), PICTURE)


def model_with(**methods):
    given = {"inputs": lambda self: SPEC, "build_graph": lambda self, x: tf.reduce_mean(x), **methods}
    return type("Ported", (ft.ModelDesc,), given)


def no_return(self, x):
    self.cost = tf.reduce_mean(x)


def old_inputs(self):
    return [InputDesc(tf.float32, (None, 4), "x")]  # noqa: F821, what a star import does not bring


def old_optimizer(self):
    return tf.train.AdamOptimizer(1e-3)


def trained_line(self, x):
    return tf.reduce_mean(ft.FullyConnected("line", x, 1))


OLD = {
    "_get_inputs": (lambda: model_with(_get_inputs=lambda self: SPEC), r"inputs\(self\)"),
    "InputDesc": (lambda: ft.InputDesc, r"tf\.TensorSpec"),
    "InputDesc, star import": (lambda: ModelGraph(model_with(inputs=old_inputs)()), r"tf\.TensorSpec"),
    "_build_graph": (lambda: model_with(_build_graph=lambda self, inputs: None), r"build_graph\(self"),
    "self.cost": (lambda: ModelGraph(model_with(build_graph=no_return)()), "write return cost"),
    "_get_optimizer": (lambda: model_with(_get_optimizer=lambda self: None), r"optimizer\(self\)"),
    "tf.train": (
        lambda: ModelGraph(model_with(build_graph=trained_line, optimizer=old_optimizer)()), r"tf\.keras\.optimizers",
    ),
    "out_channel": (lambda: layer(lambda x: ft.Conv2D("c", x, out_channel=64, kernel_shape=3)), "filters"),
    "kernel_shape": (lambda: layer(lambda x: ft.Conv2D("c", x, 64, kernel_shape=3)), "kernel_size"),
    "stride": (lambda: layer(lambda x: ft.Conv2D("c", x, 64, stride=2)), "strides"),
    "nl": (lambda: layer(lambda x: ft.Conv2D("c", x, 64, nl=tf.nn.relu)), "activation"),
    "out_dim": (lambda: layer(lambda x: ft.FullyConnected("f", x, out_dim=10)), "units"),
    "keep_prob": (lambda: layer(lambda x: ft.Dropout("d", x, keep_prob=0.9)), "rate=1 - keep_prob"),
    "W_init": (lambda: layer(lambda x: ft.Conv2D("c", x, 4, W_init="zeros")), "kernel_initializer"),
    "b_init": (lambda: layer(lambda x: ft.Conv2D("c", x, 4, b_init="zeros")), "bias_initializer"),
    "argscope": (lambda: layer(lambda x: list(ft.argscope(ft.Conv2D, nl=1).__enter__())), "activation"),
    "tf.get_variable": (lambda: layer(lambda x: x * tf.get_variable("w", ())), r"flowtrain\.get_variable"),
    "tf.variable_scope": (lambda: layer(lambda x: x * tf.variable_scope("w")), r"flowtrain\.variable_scope"),
    "tf.placeholder": (lambda: layer(lambda x: x * tf.placeholder(tf.float32)), r"inputs\(self\)"),
    "NCHW": (lambda: layer(lambda x: ft.Conv2D("c", x, 4, data_format="NCHW")), "channels last"),
    "ConcatWith": (lambda: layer(lambda x: ft.ConcatWith("c", x, 3, x)), "axis=3"),
    "ConcatWith, no name": (lambda: layer(lambda x: ft.ConcatWith(x, 3, x)), "axis=3"),
    "add_param_summary": (lambda: layer(lambda x: ft.add_param_summary((".*/W", ["histogram"]))), r"'\.\*/W', \["),
    "tf.summary.image": (lambda: layer(lambda x: tf.summary.image("x", x)), "add_image_summary"),
    "tf.summary": (lambda: layer(lambda x: tf.summary.write("x", x)), "add_image_summary"),
    "summary.add_moving_summary": (lambda: ft.summary, "add_moving_summary"),
    "TrainConfig(optimizer=)": (lambda: ft.TrainConfig(model=1, optimizer="adam"), r"optimizer\(self\)"),
    "session_init": (lambda: ft.TrainConfig(model=1, session_init=1), "weights="),
    "TrainConfig(data=)": (lambda: ft.TrainConfig(model=1, data=1), "dataflow="),
    "nr_tower": (lambda: ft.TrainConfig(model=1, nr_tower=2), "strategy="),
    "launch_train_with_config": (lambda: ft.launch_train_with_config, r"train\(config\)"),
    "QueueInput": (lambda: ft.QueueInput, "dataflow=ds"),
    "StagingInput": (lambda: ft.StagingInput, "dataflow=ds"),
    "SyncMultiGPUTrainerReplicated": (lambda: ft.SyncMultiGPUTrainerReplicated, "MirroredStrategy"),
    "SaverRestore": (lambda: ft.SaverRestore, "weights=path"),
    "ModelExporter": (lambda: ft.ModelExporter, "export"),
}  # fmt: skip


@pytest.mark.parametrize("line", OLD)
def test_an_old_spelling_is_an_error_that_names_todays(line):
    make, today = OLD[line]
    with pytest.raises(FlowtrainError, match=today):
        make()


def test_a_summary_writer_of_the_users_own_is_left_alone(tmp_path):
    with tf.summary.create_file_writer(str(tmp_path)).as_default(step=0):
        graph = layer(lambda x: ft.Conv2D("c", x, 1) if tf.summary.write("x", tf.zeros(())) is not None else x)
    assert list(graph.store.trainable)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "float32"])
def test_named_layers_cast_as_the_policy_says(policy):
    def build(x):
        feature = ft.Conv2D("conv", x, 4)
        joined = ft.ConcatWith("join", feature, [x, tf.cast(x, tf.float16)])
        assert joined.dtype == feature.dtype == tf.as_dtype(keras.DTypePolicy(policy).compute_dtype)
        whole = tf.cast(x * 255, tf.uint8)
        assert ft.ConcatWith("picture", whole, feature).dtype == feature.dtype
        assert ft.ConcatWith("whole", whole, tf.cast(whole, tf.int32)).dtype == tf.int32
        for made in (ft.LeakyReLU(x), ft.Maxout("maxout", joined, 2), ft.FixedUnPooling(x), ft.MaxPooling(x)):
            assert made.dtype == joined.dtype
        return tf.reduce_mean(tf.cast(joined, tf.float32))

    model = type("Cast", (ft.ModelDesc,), {"inputs": lambda s: [PICTURE], "build_graph": lambda s, x: build(x)})()
    graph = ModelGraph(model, precision=policy)
    x = np.random.default_rng(0).random((2, 8, 8, 3)).astype(np.float32)
    joined, feature = graph.predictor(["x"], ["join/output", "conv/output"])(x)
    theirs = keras.layers.Concatenate(dtype=policy)([tf.constant(feature), x, tf.cast(x, tf.float16)])
    assert np.abs(joined - tf.cast(theirs, tf.float32).numpy()).max() < (1e-6 if policy == "float32" else 1e-3)


class _FakeGPUs:
    """Notes what is asked of TensorFlow's device configuration."""

    def __init__(self, monkeypatch, count, error=None):
        self.calls = []
        gpus = [f"GPU:{number}" for number in range(count)]

        def note(*call):
            if error is not None:
                raise error
            self.calls.append(call)

        monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: gpus)
        monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind=None: [])
        monkeypatch.setattr(tf.config, "set_visible_devices", lambda gpus, kind: note("visible", *gpus))
        monkeypatch.setattr(tf.config.experimental, "set_memory_growth", lambda gpu, on: note("grow", gpu, on))
        monkeypatch.setattr(
            tf.config, "set_logical_device_configuration", lambda gpu, limits: note(gpu, limits[0].memory_limit)
        )


def test_gpu_memory_and_visible_devices(monkeypatch):
    from flowtrain.training import limit_gpus

    fake = _FakeGPUs(monkeypatch, 2)
    limit_gpus("grow", [1])
    assert fake.calls == [("visible", "GPU:1"), ("grow", "GPU:1", True)]
    fake = _FakeGPUs(monkeypatch, 2)
    limit_gpus(2048, None)
    assert fake.calls == [("visible", "GPU:0", "GPU:1"), ("GPU:0", 2048), ("GPU:1", 2048)]
    with pytest.raises(FlowtrainError, match="TensorFlow sees 2"):
        limit_gpus(None, [2])
    _FakeGPUs(monkeypatch, 1, RuntimeError("Physical devices cannot be modified after being initialized"))
    with pytest.raises(FlowtrainError, match="before anything runs on a GPU"):
        limit_gpus("grow", None)
    with pytest.raises(FlowtrainError, match="gpu_memory"):
        ft.TrainConfig(model=desc(lambda x: x), gpu_memory="all")


def test_weights_with_another_head_say_what_to_write(tmp_path):
    def config(units, **options):
        model = type("Head", (ft.ModelDesc,), {
            "inputs": lambda self: SPEC,
            "build_graph": lambda self, x: tf.reduce_mean(
                tf.square(ft.FullyConnected("head", ft.FullyConnected("body", x, 3), units))
            ),
            "optimizer": lambda self: keras.optimizers.SGD(0.0),
        })()  # fmt: skip
        ds = ft.FakeData([(2, 4)], size=2)
        return ft.TrainConfig(model=model, dataflow=ds, max_epoch=1, log_dir=tmp_path / f"{units}", **options)

    first = ft.train(config(2, callbacks=[ft.ModelSaver()]))
    with pytest.raises(FlowtrainError, match=r"not name\.startswith\('head/'\)"):
        ft.train(config(5, weights=tmp_path / "2"))
    values = {name: value for name, value in ft.read_checkpoint(tmp_path / "2").items() if not name.startswith("head/")}
    again = ft.train(config(6, weights=values))
    assert np.array_equal(again.get_weights()["body/kernel"], first.get_weights()["body/kernel"])
    assert again.get_weights()["head/kernel"].shape == (3, 6)
