"""The graph of a model: variables, names, traces, what is refused when it is built."""

from __future__ import annotations

import traceback

import keras
import numpy as np
import pytest
import tensorflow as tf

import flowtrain as ft
from flowtrain.model import ModelGraph
from flowtrain.utils.errors import ModelError, TensorNameError

from .helpers import array, desc, train

X4 = tf.TensorSpec((None, 4), tf.float32, "x")


def squared(y):
    return tf.reduce_mean(tf.square(y), name="l2_loss")


def test_variables_and_tensors_have_the_names_of_the_layers():
    def build(x):
        with ft.variable_scope("encoder"):
            x = ft.Dense("fc1", x, 3, activation=ft.BNReLU)
        return squared(ft.Dense("fc2", x, 2, activation="tanh"))

    graph = ModelGraph(desc(build))
    assert list(graph.store.trainable) == [
        "encoder/fc1/kernel", "encoder/fc1/bias", "encoder/fc1/bn/gamma", "encoder/fc1/bn/beta",
        "fc2/kernel", "fc2/bias",
    ]  # fmt: skip
    assert {"encoder/fc1/bn/moving_mean", "learning_rate"} <= set(graph.store.variables)
    assert {"x", "encoder/fc1/output", "fc2/output", "l2_loss"} <= set(graph.tensor_names())


def test_the_name_that_print_shows_is_the_name_a_predictor_takes():
    shown = []

    def build(x):
        y = ft.Dense("prediction", x, 2)
        z = tf.nn.relu(y, name="positive") + 1.0
        shown.extend([y.name, z.name, tf.sqrt(tf.abs(z)).name])
        return squared(z)

    graph = ModelGraph(desc(build))
    for name in set(shown):
        (value,) = graph.predictor(["x"], [name])(array(3, 4))
        assert value.shape == (3, 2)
    assert "positive" not in graph.tensor_names()
    assert {"positive", "prediction/output"} <= set(graph.tensor_names(operations=True))


def test_training_moves_the_weights_and_a_predictor_sees_it():
    def build(x, y):
        return squared(ft.Dense("line", x, 1) - y)

    graph = ModelGraph(desc(build, X4, tf.TensorSpec((None, 1), tf.float32, "y")))
    predictor = graph.predictor(["x"], ["line/output"])
    x = array(16, 4)
    before = predictor(x)[0]
    costs = train(graph, x, x[:, :1], steps=30)
    assert costs[-1] < costs[0] / 10
    assert np.abs(predictor(x)[0] - before).max() > 0.01


def test_equal_seeds_give_equal_weights_whatever_ran_before():
    def build(x):
        x = ft.Dropout("drop", ft.Dense("fc", x, 8), 0.5)
        raw = tf.Variable(lambda: tf.random.normal([3]), name="raw")
        own = ft.get_variable("own", (4, 4))
        x = keras.layers.Dropout(0.2)(keras.layers.Dense(5)(x))
        return squared(x) + tf.reduce_sum(raw) + tf.reduce_sum(own)

    first = ModelGraph(desc(build), seed=3).store.get_weights()
    keras.layers.Dense(3).build((1, 2))
    tf.random.normal([2])
    second = ModelGraph(desc(build), seed=3).store.get_weights()
    other = ModelGraph(desc(build), seed=4).store.get_weights()
    assert list(first) == list(second)
    for name in first:
        assert np.array_equal(first[name], second[name]), name
    for name in ("fc/kernel", "raw", "own", "dense/kernel", "drop/seed_generator/seed_generator_state"):
        assert not np.array_equal(first[name], other[name]), name
    assert "seed_generator/seed_generator_state" in first


def test_building_a_model_leaves_the_random_streams_of_the_user_alone():
    tf.random.set_seed(5)
    expected = tf.random.normal([3]).numpy()
    tf.random.set_seed(5)
    ModelGraph(desc(lambda x: squared(x * tf.Variable(lambda: tf.random.normal([4]), name="w"))))
    assert np.array_equal(tf.random.normal([3]).numpy(), expected)


def test_the_initial_weights_of_a_layer_do_not_depend_on_the_other_layers():
    one = ModelGraph(desc(lambda x: squared(ft.Dense("fc", x, 8))))
    two = ModelGraph(desc(lambda x: squared(ft.Dense("fc", ft.Dense("first", x, 4), 8))))
    assert np.array_equal(one.store.get_weights()["fc/kernel"], two.store.get_weights()["fc/kernel"])


# -- anything of Keras and TensorFlow inside -----------------------------------------------------------


def test_plain_keras_layers_are_named_see_training_and_are_trained():
    def build(x):
        x = keras.layers.Dense(6, name="mine")(x)
        x = keras.layers.BatchNormalization()(x)
        x = keras.layers.Dense(6)(x)
        x = keras.layers.Dense(2)(keras.layers.Dropout(0.5)(x))
        return squared(tf.identity(x, name="end"))

    graph = ModelGraph(desc(build))
    assert {"mine/kernel", "dense/kernel", "dense_1/kernel", "batch_normalization/moving_mean"} <= set(
        graph.store.variables
    )
    x = array(8, 4) + 3
    predictor = graph.predictor(["x"], ["end"])
    assert np.array_equal(predictor(x)[0], predictor(x)[0])
    before = graph.store.get_weights()
    train(graph, x)
    after = graph.store.get_weights()
    for name in before:
        assert name == "learning_rate" or not np.array_equal(before[name], after[name]), name


def test_a_functional_model_inside_and_as_an_attribute():
    def small():
        inputs = keras.Input((4,))
        hidden = keras.layers.BatchNormalization()(keras.layers.Dense(5, activation="relu")(inputs))
        return keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Dropout(0.1)(hidden)))

    model = desc(lambda x: squared(tf.identity(model.backbone(x), name="out")))
    model.backbone = small()
    graph = ModelGraph(model)
    assert {"backbone/dense/kernel", "backbone/dense_1/kernel", "backbone/batch_normalization/gamma"} <= set(
        graph.store.trainable
    )
    assert any(name.startswith("backbone/dropout/") for name in graph.store.variables)
    x = array(7, 4)
    train(graph, x, steps=2)
    assert np.abs(graph.predictor(["x"], ["out"])(x)[0] - model.backbone(x, training=False).numpy()).max() < 1e-6
    assert set(ModelGraph(model).store.variables) == set(graph.store.variables)


def test_layers_made_outside_without_a_seed_draw_the_same_numbers_in_each_run():
    def states(seed):
        net = keras.Sequential([keras.Input((4,)), keras.layers.Dropout(0.5), keras.layers.Dropout(0.5, seed=5)])
        graph = ModelGraph(desc(lambda x: squared(ft.Dense("fc", net(x), 2))), seed=seed)
        return [v.tolist() for n, v in graph.store.get_weights().items() if n.endswith("seed_generator_state")]

    assert states(1) == states(1)
    assert states(1)[0] != states(2)[0]
    assert states(1)[1] == states(2)[1] == [5, 0]


def test_a_model_from_a_closure_has_its_variables_in_the_store():
    net = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)], name="net")
    graph = ModelGraph(desc(lambda x: squared(net(x))))
    assert set(graph.store.trainable) == {"net/dense/kernel", "net/dense/bias"}


def test_a_subclassed_model_with_its_own_training_argument():
    class Noisy(keras.Model):
        def __init__(self):
            super().__init__()
            self.fc = keras.layers.Dense(3)

        def call(self, x, training=False):
            return self.fc(x) + (100.0 if training else 0.0)

    net = Noisy()
    graph = ModelGraph(desc(lambda x: tf.reduce_mean(tf.identity(net(x), name="out"))))
    assert train(graph, array(4, 4))[0] > 50
    assert np.abs(graph.predictor(["x"], ["out"])(array(4, 4))[0]).max() < 50
    assert "noisy/dense/kernel" in graph.store.trainable


def test_cond_loops_recurrent_layers_and_attention():
    def build(x):
        for i in range(2):
            x = ft.LSTM(f"lstm{i}", x, 6, return_sequences=True)
        x = keras.layers.Bidirectional(keras.layers.GRU(3, return_sequences=True))(x)
        x = keras.layers.MultiHeadAttention(2, 4)(x, x)
        x = tf.cond(tf.reduce_mean(x) > 0, lambda: ft.Dense("positive", x, 2), lambda: ft.Dense("negative", x, 2))
        _, x = tf.while_loop(lambda i, _: i < 3, lambda i, y: (i + 1, y * 0.9), [0, x])
        return squared(tf.identity(x, name="end"))

    spec = tf.TensorSpec((None, None, 4), tf.float32, "x")
    graph = ModelGraph(desc(build, spec, gradient_processors=lambda self: [ft.FilterNoneGrad()]))
    names = set(graph.store.trainable)
    assert {"lstm0/lstm_cell/kernel", "positive/kernel", "negative/kernel"} <= names
    assert len([n for n in names if n.startswith("bidirectional/")]) == 6
    train(graph, array(2, 5, 4), steps=2)
    assert graph.predictor(["x"], ["end"])(array(3, 7, 4))[0].shape == (3, 7, 2)
    with pytest.raises(TensorNameError):
        graph.predictor(["x"], ["positive/output"])


def test_height_and_width_may_be_unknown():
    def build(x):
        x = ft.Conv2D("c1", x, 4, 3, strides=2, activation=ft.leaky_relu)
        return squared(ft.Deconv2D("c2", x, 1))

    graph = ModelGraph(desc(build, tf.TensorSpec((None, None, None, 1), tf.float32, "x")))
    predictor = graph.predictor(["x"], ["c2/output"])
    for height, width in [(8, 12), (32, 16)]:
        assert predictor(array(2, height, width, 1))[0].shape == (2, height, width, 1)


def test_random_numbers_of_keras_and_recomputed_layers():
    def build(x):
        @tf.recompute_grad
        def block(y):
            return ft.Dense("inner", y, 4, activation="tanh")

        return squared(block(x) + keras.random.normal((4,)))

    graph = ModelGraph(desc(build))
    assert "seed_generator/seed_generator_state" in graph.store.variables
    assert len(set(train(graph, array(4, 4), steps=3))) == 3


def test_add_loss_and_regularizers_are_part_of_the_cost():
    def build(x):
        x = ft.Dense("fc", x, 3, kernel_regularizer="l2")
        x = keras.layers.ActivityRegularization(l1=0.5)(x)
        w = ft.get_variable("w", (3,), "ones", regularizer=keras.regularizers.L1(0.25))
        return squared(x * w) + ft.regularize_cost("fc/.*", keras.regularizers.L2(2.0))

    graph = ModelGraph(desc(build))
    x = array(5, 4)
    weights = graph.store.get_weights()
    y = x @ weights["fc/kernel"] + weights["fc/bias"]
    l2 = (weights["fc/kernel"] ** 2).sum()
    expected = (y**2).mean() + 0.01 * l2 + 0.5 * np.abs(y).sum() / 5 + 0.25 * 3 + 2 * l2
    assert train(graph, x)[0] == pytest.approx(expected, rel=1e-5)


# -- names used wrongly -------------------------------------------------------------------------------


def test_a_second_layer_of_one_name_is_refused():
    def build(x):
        return squared(ft.Dense("fc", ft.Dense("fc", x, 4), 4))

    with pytest.raises(ModelError, match="'fc' is used twice"):
        ModelGraph(desc(build))


def test_reuse_shares_variables():
    def build(x):
        def net(y, reuse):
            with ft.variable_scope("net", reuse=reuse):
                y = keras.layers.Dense(3)(y)
                return ft.Dense("fc", y, 2, activation=ft.BNReLU) * ft.get_variable("scale", (2,), "ones")

        return squared(tf.identity(net(x, False), name="a") - tf.identity(net(x, True), name="b") + 1.0)

    graph = ModelGraph(desc(build))
    assert "net/fc/kernel" in graph.store.trainable
    assert not [name for name in graph.store.variables if "_1" in name]
    a, b, again = graph.predictor(["x"], ["a", "b", "net_1/fc/output"])(array(3, 4))
    assert np.array_equal(a, b)
    assert again.shape == (3, 2)


def test_reuse_auto_and_reuse_of_nothing():
    def auto(x):
        for _ in range(2):
            with ft.variable_scope("net", reuse="auto"):
                x = ft.Dense("fc", x, 4)
        return squared(x)

    assert list(ModelGraph(desc(auto)).store.trainable) == ["net/fc/kernel", "net/fc/bias"]

    def nothing(x):
        with ft.variable_scope("net", reuse=True):
            return squared(ft.Dense("fc", x, 4))

    with pytest.raises(ModelError, match="no layer named 'net/fc' to reuse"):
        ModelGraph(desc(nothing))

    def misspelt(x):
        with ft.variable_scope("net", reuse="Auto"):
            return squared(ft.Dense("fc", x, 4))

    with pytest.raises(ModelError, match="reuse must be True, False, 'auto' or None, got 'Auto'"):
        ModelGraph(desc(misspelt))


def test_a_shared_layer_must_be_asked_for_alike():
    def build(x):
        with ft.variable_scope("net", reuse="auto"):
            y = ft.Dense("fc", x, 4)
        with ft.variable_scope("net", reuse="auto"):
            return squared(ft.Dense("fc", y, 5))

    with pytest.raises(ModelError, match="units=4 when made, units=5 here"):
        ModelGraph(desc(build))


@pytest.mark.parametrize("what", ["layer", "keras", "variable", "raw"])
def test_what_is_made_only_in_training_is_refused(what):
    def build(x):
        if ft.get_current_tower_context().is_training:
            if what == "layer":
                x = ft.Dense("extra", x, 4)
            elif what == "keras":
                x = keras.layers.Dense(4, name="extra")(x)
            elif what == "variable":
                x = x * ft.get_variable("extra", (4,))
            else:
                x = x * tf.Variable([1.0, 2.0, 3.0, 4.0], name="extra")
        return squared(ft.Dense("fc", x, 4))

    with pytest.raises(ModelError, match=r"'extra.*made only when is_training is True"):
        ModelGraph(desc(build))


def test_what_is_made_only_in_inference_is_refused():
    def build(x):
        if not ft.get_current_tower_context().is_training:
            x = ft.Dense("extra", x, 4)
        return squared(ft.Dense("fc", x, 4))

    with pytest.raises(ModelError, match="'extra' does not exist"):
        ModelGraph(desc(build))


def test_a_new_name_after_the_build_is_refused():
    names = iter(["one", "one", "two"])
    graph = ModelGraph(desc(lambda x: squared(ft.Dense(next(names), x, 4))))
    with pytest.raises(ModelError, match="'two' does not exist"):
        train(graph, array(2, 4))


def test_layers_outside_of_build_graph_are_refused():
    with pytest.raises(ModelError, match="inside build_graph"):
        ft.Dense("fc", tf.zeros([1, 2]), 3)


def test_a_variable_with_a_value_computed_in_the_graph_is_refused():
    with pytest.raises(ModelError, match="Give a function instead"):
        ModelGraph(desc(lambda x: squared(x * tf.Variable(tf.reduce_mean(x), name="w"))))


def test_variables_inside_a_tf_function_are_refused():
    @tf.function
    def named(x):
        return ft.Dense("fc", x, 3)

    @tf.function
    def plain(x):
        return keras.layers.Dense(3)(x)

    for net in (named, plain):
        with pytest.raises(Exception, match=r"inside a tf\.function that build_graph calls"):
            ModelGraph(desc(lambda x, net=net: squared(net(x))))


def test_random_generators_of_tensorflow_are_saved_when_made_outside():
    generator = tf.random.Generator.from_seed(3)
    graph = ModelGraph(desc(lambda x: squared(ft.Dense("fc", x + generator.normal(tf.shape(x)), 3))))
    assert "StateVar" in graph.store.variables
    before = graph.store.get_weights()["StateVar"]
    train(graph, array(2, 4))
    assert not np.array_equal(before, graph.store.get_weights()["StateVar"])
    with pytest.raises(ModelError, match=r"outside of build_graph"):
        ModelGraph(desc(lambda x: squared(x + tf.random.Generator.from_seed(3).normal(tf.shape(x)))))


def test_modules_of_tensorflow():
    class Linear(tf.Module):
        def __init__(self):
            super().__init__()
            self.w = tf.Variable(tf.ones([4, 2]), name="w")

        def __call__(self, x):
            return x @ self.w

    outside = Linear()
    for net in (outside, lambda x: Linear()(x)):
        graph = ModelGraph(desc(lambda x, net=net: squared(net(x))))
        assert list(graph.store.trainable) == ["w"]
        costs = train(graph, array(4, 4), steps=2)
        assert costs[1] < costs[0]


def test_constant_values_of_raw_variables_are_kept():
    def build(x):
        return squared(x * tf.Variable(tf.fill([4], 2.0), name="w") + keras.Variable(np.full(4, 3.0, "f"), name="k"))

    weights = ModelGraph(desc(build)).store.get_weights()
    assert weights["w"].tolist() == [2.0] * 4
    assert weights["k"].tolist() == [3.0] * 4


# -- costs and errors of the user ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda x: tf.square(ft.Dense("fc", x, 2)), r"shape \(None, 2\); it must be a scalar"),
        (lambda x: None, "returned nothing"),
        (lambda x: (squared(x), squared(x)), "return one scalar tensor"),
        (lambda x: 3.0, "not a tensor"),
        (lambda x: tf.reduce_sum(tf.cast(x, tf.int32)), "must be a float"),
        (lambda x: squared(x), "no trainable variables"),
        (lambda x: squared(x) + 0 * (ft.get_variable("w", ()) is None), "does not depend on any trainable variable"),
        (lambda x: {"a": squared(ft.Dense("fc", x, 1))}, "optimizer\\(\\) must return a dict"),
    ],
)
def test_a_cost_that_is_not_one_is_refused(build, message):
    with pytest.raises(ModelError, match=message):
        ModelGraph(desc(build))


def test_a_variable_without_gradient_is_named():
    def build(x):
        ft.Dense("unused", x, 3)
        return squared(ft.Dense("fc", x, 2))

    with pytest.raises(ModelError, match="unused/kernel, unused/bias: their gradient is None"):
        ModelGraph(desc(build))


def test_a_variable_whose_gradient_is_cut_is_named_in_the_step():
    def build(x):
        return squared(ft.Dense("fc", tf.stop_gradient(ft.Dense("cut", x, 3)), 2))

    graph = ModelGraph(desc(build))
    with pytest.raises(ModelError, match="cut/kernel, cut/bias"):
        train(graph, array(2, 4))


class Refusal(Exception):
    def __init__(self, code, text):
        super().__init__(f"{code}: {text}")
        self.code = code


def test_an_error_in_build_graph_arrives_as_it_was_raised():
    def build(x):
        raise Refusal(7, "not today")

    with pytest.raises(Refusal, match=r"^7: not today$") as caught:
        ModelGraph(desc(build))
    frames = traceback.extract_tb(caught.value.__traceback__)
    inside = [i for i, frame in enumerate(frames) if "flowtrain/" in frame.filename and "/tests/" not in frame.filename]
    first_of_user = next(i for i, frame in enumerate(frames) if frame.name == "build_graph")
    assert first_of_user > max(inside)
    assert not any("keras" in frame.filename for frame in frames)


def test_python_branches_on_tensors_give_tensorflows_error():
    def build(x):
        y = ft.Dense("fc", x, 1)
        return squared(y) if tf.reduce_mean(y) > 0 else squared(y + 1)

    with pytest.raises(TypeError, match="Python `bool`") as caught:
        ModelGraph(desc(build))
    where, why = caught.value.__notes__
    assert "Model.build_graph, traced for training" in where and "test_graph.py" in where
    assert "tf.cond" in why


# -- descriptions ------------------------------------------------------------------------------------


@pytest.mark.parametrize("old", ["_get_inputs", "_build_graph", "_get_optimizer", "_get_gradient_processor"])
def test_methods_of_tensorpack_are_refused_by_name(old):
    with pytest.raises(ModelError, match=r"which nothing calls\. Write"):
        type("Old", (ft.ModelDesc,), {old: lambda self: None})


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        ([], "must be a list"),
        ([tf.TensorSpec((None, 4), tf.float32)], "needs a name"),
        ([tf.TensorSpec((None, 4), tf.float32, "a/b")], "needs a name"),
        ([X4, X4], "two inputs named 'x'"),
        ([(None, 4)], "write tf.TensorSpec"),
        ([X4, tf.TensorSpec((), tf.float32, "y")], "cannot take the 2 inputs"),
    ],
)
def test_inputs_that_are_not_ones_are_refused(specs, message):
    class Model(ft.ModelDesc):
        def inputs(self):
            return specs

        def build_graph(self, x):
            return squared(ft.Dense("fc", x, 1))

    with pytest.raises(ModelError, match=message):
        ModelGraph(Model())


def test_inputs_in_another_order_are_refused():
    class Model(ft.ModelDesc):
        def inputs(self):
            return [X4, tf.TensorSpec((None, 4), tf.float32, "y")]

        def build_graph(self, y, x):
            return squared(ft.Dense("fc", x, 4) - y)

    with pytest.raises(ModelError, match="same order"):
        ModelGraph(Model())


def test_what_is_not_a_model_is_refused():
    class Model(ft.ModelDesc):
        pass

    with pytest.raises(ModelError, match=r"not its class: Model\(\)"):
        ModelGraph(Model)
    with pytest.raises(ModelError, match="KerasModelDesc"):
        ModelGraph(keras.Sequential([keras.layers.Dense(1)]))


def test_a_model_without_optimizer_predicts():
    graph = ModelGraph(desc(lambda x: squared(ft.Dense("fc", x, 2)), optimizer=None))
    assert graph.optimizer is None
    assert graph.predictor(["x"], ["fc/output"])(array(1, 4))[0].shape == (1, 2)


@pytest.mark.parametrize("given", ["adam", 0.1])
def test_an_optimizer_that_is_not_keras_is_refused(given):
    with pytest.raises(ModelError, match="must return a Keras optimizer"):
        ModelGraph(desc(lambda x: squared(ft.Dense("fc", x, 2)), optimizer=given))


def test_training_inputs_that_do_not_fit_are_named():
    graph = ModelGraph(desc(lambda x: squared(ft.Dense("fc", x, 2))))
    with pytest.raises(ModelError, match=r"'x' expects float32 of shape \(None, 4\), got float32 of shape \(2, 5\)"):
        train(graph, array(2, 5))
    with pytest.raises(ModelError, match="expects float32"):
        train(graph, np.zeros((2, 4), np.uint8))
    with pytest.raises(ModelError, match="has 1 inputs"):
        train(graph, array(2, 4), array(2, 4))
    with pytest.raises(ModelError, match=r"traced in a tf\.function"):
        graph.training_tower([tf.zeros([2, 4])])


# -- precision ----------------------------------------------------------------------------------------


def test_mixed_precision_keeps_float32_weights_and_cost():
    def build(x):
        y = ft.Dense("fc", x, 3)
        assert y.dtype == tf.bfloat16
        return squared(y)

    graph = ModelGraph(desc(build), precision="mixed_bfloat16")
    assert keras.config.dtype_policy().name == "float32"
    assert graph.store.get_weights()["fc/kernel"].dtype == np.float32
    assert graph.build_tower.cost.dtype == tf.float32
    assert graph.predictor(["x"], ["fc/output"])(array(2, 4))[0].dtype == np.float32
    assert train(graph, array(2, 4), steps=3)[-1] < 10
