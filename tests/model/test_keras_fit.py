"""KerasModelDesc beside Keras's ``fit``: the same weights and metrics after 20 steps, or an error with the mend."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import flowtrain as ft
from flowtrain.model import ModelGraph
from flowtrain.model.gradient import process_gradients
from flowtrain.utils.errors import ModelError

K = keras.layers
ROWS, STEPS = 8, 20
RNG = np.random.default_rng(0)
X = RNG.standard_normal((ROWS * STEPS, 4)).astype(np.float32)
REAL = np.tanh(X[:, :2] + 0.5 * X[:, 2:])
BINARY = (X.sum(1, keepdims=True) > 0).astype(np.float32)
CLASS = X[:, :3].argmax(1).astype(np.int32)
ONE_HOT = np.eye(3, dtype=np.float32)[CLASS]
WEIGHT = RNG.uniform(0.1, 2.0, ROWS * STEPS).astype(np.float32)
TOKENS = RNG.integers(1, 9, (ROWS * STEPS, 6)).astype(np.int32)
TOKENS[np.arange(6)[None] >= RNG.integers(1, 7, (ROWS * STEPS, 1))] = 0
TAGS = (TOKENS % 3).astype(np.int32)


def dense(units=2, activation=None, **options):
    return keras.Sequential([keras.Input((4,), name="x"), K.Dense(6, "relu", **options), K.Dense(units, activation)])


def two(as_dict=False):
    x = keras.Input((4,), name="x")
    hidden = K.Dense(5, "tanh")(x)
    real, binary = K.Dense(2, name="real")(hidden), K.Dense(1, "sigmoid", name="binary")(hidden)
    return keras.Model(x, {"real": real, "binary": binary} if as_dict else [real, binary])


def tagger():
    tokens = keras.Input((6,), dtype="int32", name="tokens")
    return keras.Model(tokens, K.Dense(3)(K.LSTM(4, return_sequences=True)(K.Embedding(9, 4, mask_zero=True)(tokens))))


def masked_mean():
    x = keras.Input((6, 1), name="x")
    return keras.Model(x, K.Dense(1)(K.GRU(3)(K.Masking(0.0)(x))))


class Penalised(keras.Model):
    """A class of the user's with a cost and a metric of its own, and add_loss."""

    def __init__(self):
        super().__init__()
        self.inner, self.out, self.seen = K.Dense(5, "relu"), K.Dense(2), keras.metrics.Mean(name="size")

    def call(self, x, training=False):
        hidden = self.inner(x)
        self.add_loss(0.01 * keras.ops.mean(keras.ops.square(hidden)))
        return self.out(hidden)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return 3.0 * super().compute_loss(x, y, y_pred, sample_weight, training)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        self.seen.update_state(keras.ops.abs(y_pred))
        return super().compute_metrics(x, y, y_pred, sample_weight)


def logcosh(y, p):
    return keras.ops.mean(keras.ops.log(keras.ops.cosh(p - y)), -1)


S, M, OPT = keras.losses, keras.metrics, keras.optimizers
SPARSE = {"loss": "sparse_categorical_crossentropy"}
# name: (model, targets, compile arguments, optimizer, more)
CELLS = {
    # losses and metrics
    "mse": (dense, REAL, {"loss": "mse", "metrics": ["mae", M.RootMeanSquaredError(), logcosh]}, "adam", {}),
    "sum": (
        dense, REAL, {"loss": S.Huber(reduction="sum"), "metrics": [M.CosineSimilarity()]}, lambda: OPT.SGD(0.01), {},
    ),
    "function": (dense, REAL, {"loss": logcosh, "metrics": [M.R2Score()]}, "rmsprop", {}),
    "binary": (
        lambda: dense(1, "sigmoid"), BINARY,
        {"loss": S.BinaryCrossentropy(label_smoothing=0.1),
         "metrics": ["accuracy", "AUC", M.Precision(), M.Recall(0.3)]},
        "nadam", {},
    ),
    "classes": (
        lambda: dense(3, "softmax"), CLASS, {**SPARSE, "metrics": ["accuracy", M.SparseTopKCategoricalAccuracy(2)]},
        "adamw", {},
    ),
    "one hot": (
        lambda: dense(3), ONE_HOT,
        {"loss": S.CategoricalCrossentropy(from_logits=True), "metrics": ["acc", M.F1Score(), M.AUC(multi_label=True)]},
        lambda: OPT.Adam(0.01, amsgrad=True), {},
    ),
    # layers
    "regularizers": (
        lambda: dense(kernel_regularizer="l2", activity_regularizer="l1", kernel_constraint="unit_norm"), REAL,
            {"loss": "mse"}, lambda: OPT.SGD(0.1), {},
    ),
    "batch norm": (
        lambda: keras.Sequential([keras.Input((4,)), K.Dense(5), K.BatchNormalization(), K.ReLU(), K.Dense(2)]), REAL,
        {"loss": "mae"}, lambda: OPT.SGD(0.1, momentum=0.9, nesterov=True), {},
    ),
    "own class": (Penalised, REAL, {"loss": "mse", "metrics": ["mae"]}, "adam", {}),
    "add_loss alone": (Penalised, None, {}, "adam", {}),
    # masks
    "mask of an embedding": (
        tagger, TAGS, {"loss": S.SparseCategoricalCrossentropy(from_logits=True), "metrics": ["accuracy"]}, "adam",
        {"x": TOKENS},
    ),
    "mask and weights of steps": (
        tagger, TAGS,
        {"loss": S.SparseCategoricalCrossentropy(from_logits=True), "weighted_metrics": ["accuracy"]}, "adam",
        {"x": TOKENS, "sample_weight": RNG.uniform(0.1, 2.0, TAGS.shape).astype(np.float32)},
    ),
    "masking": (masked_mean, BINARY, {"loss": "mse"}, "adam", {"x": TOKENS[..., None].astype(np.float32)}),
    # weights
    "sample weights": (
        dense, REAL, {"loss": "mse", "metrics": ["mae"], "weighted_metrics": ["mse"]}, "adam", {"sample_weight":
        WEIGHT},
    ),
    "class weights": (
        lambda: dense(3, "softmax"), CLASS, {**SPARSE, "weighted_metrics": ["accuracy"]}, "adam",
        {"class_weight": {0: 0.2, 1: 3.0}},
    ),
    "class weights of one hot": (
        lambda: dense(3, "softmax"), ONE_HOT, {"loss": "categorical_crossentropy"}, "adam", {"class_weight": {1: 5.0}},
    ),
    "class weights, yes or no": (
        lambda: dense(1, "sigmoid"), BINARY, {"loss": "binary_crossentropy"}, "adam",
        {"class_weight": {0: 1.0, np.int64(1): 9.0}},
    ),
    # several outputs
    "list": (
        two, [REAL, BINARY],
        {"loss": ["mse", "binary_crossentropy"], "metrics": [["mae"], ["accuracy", "AUC"]], "loss_weights": [0.3, 2.0]},
        "adam", {},
    ),
    "list, dict of losses": (
        two, [REAL, BINARY],
        {"loss": {"real": "mse", "binary": "mae"}, "loss_weights": {"real": 0.3, "binary": 2.0},
         "metrics": {"binary": ["accuracy"]}},
        "adam", {},
    ),
    "dict": (
        lambda: two(True), {"real": REAL, "binary": BINARY},
        {"loss": {"real": "mse", "binary": "mae"}, "loss_weights": {"real": 0.3, "binary": 2.0},
         "metrics": {"binary": ["accuracy", "AUC"], "real": ["mae"]}},
        "adam", {},
    ),
    "dict, a loss for one": (lambda: two(True), {"binary": BINARY}, {"loss": {"binary": "mse"}}, "adam", {}),
    "one loss for all, weighted": (
        two, [REAL, BINARY], {"loss": "mse", "weighted_metrics": [["mae"], ["mae"]]}, "adam", {"sample_weight": WEIGHT},
    ),
    # optimizers
    "clipping": (dense, REAL, {"loss": "mse"}, lambda: OPT.Adam(0.01, global_clipnorm=0.1), {}),
    "accumulation": (dense, REAL, {"loss": "mse"}, lambda: OPT.SGD(0.1, gradient_accumulation_steps=4), {}),
    "schedule": (
        dense, REAL, {"loss": "mse"}, lambda: OPT.Adam(OPT.schedules.ExponentialDecay(0.1, 5, 0.5)), {},
    ),
    "decay": (dense, REAL, {"loss": "mse"}, lambda: OPT.Lion(0.01, weight_decay=0.1), {}),
    "adafactor": (dense, REAL, {"loss": "mse"}, lambda: OPT.Adafactor(0.1), {}),
}  # fmt: skip


def rows(data, step):
    return tf.nest.map_structure(lambda array: array[step * ROWS : (step + 1) * ROWS], data)


def alike(make, x):
    """Two of the model with the same weights."""
    one, other = make(), make()
    one(x[:2]), other(x[:2])
    other.set_weights(one.get_weights())
    return one, other


def made(optimizer):
    return keras.optimizers.get(optimizer) if isinstance(optimizer, str) else optimizer()


def compile_arguments(arguments):
    """Metrics are objects with a state: each model has its own."""

    def again(one):
        return type(one).from_config(one.get_config()) if isinstance(one, M.Metric) else one

    def walk(given):
        if isinstance(given, dict):
            return {key: walk(value) for key, value in given.items()}
        return [walk(one) for one in given] if isinstance(given, list) else again(given)

    return {key: walk(value) if "metrics" in key else value for key, value in arguments.items()}


def trained(desc, datapoints):
    """The plainest training step on each datapoint, in one epoch."""
    graph = ModelGraph(desc)

    @tf.function(autograph=False)
    def step(*tensors):
        with tf.GradientTape() as tape:
            tower = graph.training_tower(tensors)
        (objective,) = graph.objectives.values()
        pairs = list(zip(objective.gradients(tape, tower), objective.variables.values(), strict=True))
        pairs = process_gradients(objective.processors, pairs)
        objective.optimizer.apply([g for g, _ in pairs], [v for _, v in pairs])
        return tower.cost

    for datapoint in datapoints:
        step(*map(tf.constant, datapoint))
    return graph


def kept_losses(results):
    """Keras names a loss by its output; here it has the output's number."""
    return {name: value for name, value in results.items() if not (name.endswith("_loss") or name.startswith("loss_"))}


@pytest.mark.filterwarnings("ignore:Gradients do not exist")
@pytest.mark.parametrize("name", CELLS)
def test_a_cell_equals_fit(name):
    make, y, arguments, optimizer, more = CELLS[name]
    x = more.get("x", X)
    theirs, ours = alike(make, x)
    weights = {key: more[key] for key in ("sample_weight", "class_weight") if key in more}
    theirs.compile(made(optimizer), **compile_arguments(arguments))
    history = theirs.fit(x, y, batch_size=ROWS, epochs=1, shuffle=False, verbose=0, **weights).history

    options = dict(compile_arguments(arguments))
    if "class_weight" in more:
        options["class_weight"] = more["class_weight"]
    if "sample_weight" in more:
        options["sample_weight"] = tf.TensorSpec((None, *more["sample_weight"].shape[1:]), tf.float32)
    spec = tf.TensorSpec((None, *x.shape[1:]), x.dtype, "x")
    desc = ft.KerasModelDesc(ours, optimizer=made(optimizer), inputs=[spec], **options)
    flat = [x, *tf.nest.flatten(y)] if y is not None else [x]
    flat += [more["sample_weight"]] if "sample_weight" in more else []
    graph = trained(desc, [rows(flat, step) for step in range(STEPS)])

    for theirs_, ours_ in zip(theirs.get_weights(), ours.get_weights(), strict=True):
        assert np.abs(theirs_ - ours_).max() < 1e-5
    results = graph.metrics.results()
    shown = {key: np.asarray(value[-1]) for key, value in history.items()}
    assert len(results) >= len(shown)
    for key, value in kept_losses(shown).items():
        key = key.replace("real_", "").replace("binary_", "") if len(graph.model.output_names) > 1 else key
        found = [value_ for name_, value_ in results.items() if name_.startswith(key)]
        assert any(np.allclose(np.ravel(value), one, atol=1e-5) for one in (found, *([one] for one in found))), key
    assert results["loss"] == pytest.approx(float(shown["loss"]), abs=1e-5)


@pytest.fixture
def policy():
    """Set Keras's global policy; it is put back afterwards."""
    before = keras.config.dtype_policy()
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy(before)


def run(tmp_path, desc, *arrays, **more):
    """A training of one epoch, without monitors."""
    flow = ft.BatchData(ft.DataFromArrays(*arrays), ROWS)
    return ft.train(
        ft.TrainConfig(model=desc, dataflow=flow, max_epoch=1, log_dir=tmp_path / "run", monitors=[], **more)
    )


@pytest.mark.parametrize("name", ["mixed_float16", "mixed_bfloat16", "float16"])
def test_a_global_policy_trains_as_fit_does_with_its_loss_scaling(name, policy, tmp_path):
    policy(name)
    theirs, ours = alike(dense, X)
    small = lambda y, p: 1e-7 * keras.ops.mean(keras.ops.square(keras.ops.cast(p, "float32") - y), -1)  # noqa: E731
    scaled = OPT.SGD(1e4)
    theirs.compile(scaled, small)
    history = theirs.fit(X, REAL, batch_size=ROWS, epochs=1, shuffle=False, verbose=0).history
    trainer = run(tmp_path, ft.KerasModelDesc(ours, small, optimizer=OPT.SGD(1e4)), X, REAL)
    for one, other in zip(theirs.get_weights(), ours.get_weights(), strict=True):
        assert np.abs(one.astype(np.float32) - other.astype(np.float32)).max() < 1e-5
    assert trainer.history["loss"][-1][1] == pytest.approx(history["loss"][-1], rel=1e-4)
    assert ("loss_scale" in trainer.history) == (name == "mixed_float16")


def test_a_precision_that_a_finished_model_does_not_have_is_refused(policy, tmp_path):
    model = dense()
    with pytest.raises(ModelError, match=r"would have no effect.*set_dtype_policy\('mixed_bfloat16'\)"):
        run(tmp_path / "refused", ft.KerasModelDesc(model, "mse"), X, REAL, precision="mixed_bfloat16")
    policy("mixed_bfloat16")
    model = dense()
    policy("float32")
    run(tmp_path, ft.KerasModelDesc(model, "mse"), X, REAL, precision="mixed_bfloat16")


def test_metrics_of_an_epoch_and_of_a_validation_are_those_of_fit(tmp_path):
    metrics = ["accuracy", "AUC", M.Precision()]
    theirs, ours = alike(lambda: dense(1, "sigmoid", kernel_regularizer="l2"), X)
    theirs.compile(OPT.Adam(0.01), "binary_crossentropy", metrics=compile_arguments({"metrics": metrics})["metrics"])
    part = X[:20], BINARY[:20]
    options = {"validation_data": part, "validation_batch_size": ROWS}
    history = theirs.fit(X, BINARY, batch_size=ROWS, epochs=3, shuffle=False, verbose=0, **options).history
    desc = ft.KerasModelDesc(ours, "binary_crossentropy", metrics, OPT.Adam(0.01))
    flow = ft.BatchData(ft.DataFromArrays(X, BINARY), ROWS)
    validation = ft.BatchData(ft.DataFromArrays(*part), ROWS, remainder=True)
    own = [ft.KerasMetric(M.AUC(num_thresholds=200), name="again"), ft.KerasMetric(M.Recall)]
    runner = ft.PeriodicTrigger(ft.InferenceRunner(validation, [ft.KerasMetrics(), *own]), every_k_steps=7)
    at_end = ft.InferenceRunner(validation, [ft.KerasMetrics(), *own], prefix="end")
    config = ft.TrainConfig(
        model=desc, dataflow=flow, max_epoch=3, log_dir=tmp_path, monitors=[], callbacks=[runner, at_end]
    )
    trainer = ft.train(config)
    for ours_, theirs_ in {"loss": "loss", "accuracy": "accuracy", "AUC": "AUC", "precision": "precision"}.items():
        value = next(history[key] for key in history if key.startswith(theirs_))
        assert [v for _, v in trainer.history[ours_]] == pytest.approx(value, abs=1e-5)
        value = next(history[key] for key in history if key.startswith(f"val_{theirs_}"))
        assert [v for _, v in trainer.history[f"end_{ours_}"]] == pytest.approx(value, abs=1e-5)
    assert trainer.history["end_again"] == trainer.history["end_AUC"]
    assert "end_recall" in trainer.history
    names = {name for name in trainer.variable_names() if "metrics" in name}
    assert any(name.endswith("/true_positives") for name in names)


class OwnStep(keras.Model):
    def __init__(self):
        super().__init__()
        self.out = K.Dense(2)

    def call(self, x):
        return self.out(x)

    def train_step(self, data):
        return {}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: ft.KerasModelDesc(dense(), "mse", optimizer=OPT.SGD(0.1, use_ema=True, ema_momentum=0.9)),
            r"EMA\(0.9\)",
        ),
        (
            lambda: ft.KerasModelDesc(dense(), "mse", optimizer=OPT.LossScaleOptimizer(OPT.SGD(0.1))),
            "the plain optimizer",
        ),
        (
            lambda: ft.KerasModelDesc(dense(), "mse", optimizer=OPT.SGD(0.1, loss_scale_factor=8.0)),
            "the plain optimizer",
        ),
        (lambda: ft.KerasModelDesc(OwnStep(), "mse", inputs=[tf.TensorSpec((None, 4))]), "train_step of its own"),
        (lambda: ft.KerasModelDesc(dense(), "mse", sample_weight=WEIGHT), "last component of a datapoint"),
        (lambda: ft.KerasModelDesc(two(), "mse", class_weight={0: 2.0}), "several outputs"),
        (lambda: ft.KerasModelDesc(dense(), "mse", class_weight={0: 2.0}, sample_weight=True), "sample_weight=True"),
        (lambda: ft.KerasModelDesc(two(), {"reel": "mse"}), "no output 'reel'.*'real'"),
        (lambda: ft.KerasModelDesc(two(), ["mse", "mae"], loss_weights=[1.0]), "loss_weights"),
        (lambda: ft.KerasModelDesc(dense()), r"KerasModelDesc\(model, loss=...\)"),
    ],
)
def test_what_would_not_be_trained_as_fit_does_is_refused(make, message):
    with pytest.raises(ModelError, match=message):
        ModelGraph(make())


def test_the_model_stays_compiled_as_it_was():
    model = dense()
    model.compile("sgd", "mae", metrics=["mse"])
    before = model.optimizer, model.loss, model.metrics_names
    ModelGraph(ft.KerasModelDesc(model, "mse", ["mae"]))
    assert (model.optimizer, model.loss, model.metrics_names) == before
    model.fit(X, REAL, verbose=0)


def test_an_optimizer_used_before_starts_anew_or_is_named():
    optimizer = OPT.Adam(0.01)
    model = dense()
    desc = ft.KerasModelDesc(model, "mse", optimizer=optimizer)
    trained(desc, [(X[:4], REAL[:4])])
    assert int(ModelGraph(desc).optimizer.iterations) == 0

    class Kept(ft.ModelDesc):
        def __init__(self):
            self.kept = OPT.Adam(0.01)

        def inputs(self):
            return [tf.TensorSpec((None, 4), tf.float32, "x")]

        def build_graph(self, x):
            return tf.reduce_mean(ft.FullyConnected("line", x, 1))

        def optimizer(self):
            return self.kept

    desc = Kept()
    ModelGraph(desc)
    with pytest.raises(ModelError, match=r"has been used before.*Make a new one"):
        ModelGraph(desc)


LAYERS = {
    "Bidirectional": lambda: [K.Bidirectional(K.GRU(4))],
    "stateful": lambda: [K.GRU(3, stateful=True, return_sequences=True), K.LSTM(3, stateful=True)],
    "cells": lambda: [K.RNN([K.LSTMCell(3), K.GRUCell(2)])],
    "nested": lambda: [keras.Sequential([K.Dense(3), K.Dense(2)]), K.Flatten()],
    "random": lambda: [K.GRU(3, dropout=0.1), K.Dropout(0.1), K.GaussianNoise(0.1)],
    "wrapped": lambda: [K.TimeDistributed(K.Dense(3)), K.SpectralNormalization(K.Dense(2)), K.Flatten()],
}


@pytest.mark.parametrize("name", LAYERS)
def test_names_do_not_depend_on_what_the_process_made_before(name):
    def names():
        model = keras.Sequential([keras.Input(batch_shape=(8, 5, 2)), *LAYERS[name](), K.Dense(1, name="dense_7")])
        return list(ModelGraph(ft.KerasModelDesc(model, "mse")).store.variables)

    first = names()
    assert names() == first
    assert not [part for each in first for part in each.split("/") if part.endswith(tuple("23456789"))]


def test_histograms_and_penalties_of_a_keras_model():
    class Shown(ft.KerasModelDesc):
        def build_graph(self, *tensors):
            cost = super().build_graph(*tensors)
            ft.add_param_summary(".*/kernel", ["histogram"])
            return cost + ft.regularize_cost(".*/kernel", keras.regularizers.L2(0.1))

    graph = ModelGraph(Shown(dense(), "mse"))
    assert sorted(graph.build_tower.histograms) == [
        "keras_model/dense/kernel/histogram",
        "keras_model/dense_1/kernel/histogram",
    ]


def test_any_metric_in_a_model_of_ones_own(tmp_path):
    class Yes(ft.ModelDesc):
        def __init__(self):
            self.precision = M.Precision(name="precise")

        def inputs(self):
            return [tf.TensorSpec((None, 4), tf.float32, "x"), tf.TensorSpec((None, 1), tf.float32, "y")]

        def build_graph(self, x, y):
            probability = tf.sigmoid(ft.FullyConnected("line", x, 1), name="probability")
            ft.add_metric_summary("AUC", y, probability)
            ft.add_metric_summary(self.precision, y, probability)
            ft.add_metric_summary("accuracy", y, probability, name="right")
            return tf.reduce_mean(keras.losses.binary_crossentropy(y, probability), name="loss")

        def optimizer(self):
            return OPT.SGD(0.0)

    runner = ft.InferenceRunner(
        ft.BatchData(ft.DataFromArrays(X, BINARY), ROWS), [ft.KerasMetric("AUC", "probability", "y")]
    )
    trainer = run(tmp_path, Yes(), X, BINARY, callbacks=[runner])
    (probability,) = trainer.get_predictor(["x"], ["probability"])(X)
    for name, metric in {"AUC": M.AUC(), "precise": M.Precision(), "right": M.BinaryAccuracy()}.items():
        metric.update_state(BINARY, probability)
        assert trainer.history[name][-1][1] == pytest.approx(float(metric.result()), abs=1e-5)
    assert trainer.history["validation_AUC"][-1][1] == pytest.approx(trainer.history["AUC"][-1][1], abs=1e-5)
    (batch,) = trainer.get_predictor(["x", "y"], ["right"])(X[:4], BINARY[:4])
    assert batch == pytest.approx(np.mean((probability[:4] > 0.5) == BINARY[:4]))
