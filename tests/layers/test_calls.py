"""How layers are called: names, argscope, old spellings, activations, chains, layers of one's own."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import flowtrain as ft
from flowtrain import ModelDesc
from flowtrain.model import ModelGraph
from flowtrain.utils.errors import ModelError


def built(function, shape=(None, 8, 8, 3)):
    """The graph of a model whose only layers are the function's."""

    class Model(ModelDesc):
        def inputs(self):
            return [tf.TensorSpec(shape, tf.float32, "x")]

        def build_graph(self, x):
            return tf.reduce_mean(tf.cast(function(x), tf.float32))

    return ModelGraph(Model())


def shapes(graph):
    return {name: tuple(v.shape) for name, v in graph.store.trainable.items()}


# -- argscope -----------------------------------------------------------------------------------------


def test_argscope_gives_defaults_and_the_call_comes_first():
    def build(x):
        with ft.argscope(ft.Conv2D, kernel_size=4, use_bias=False):
            x = ft.Conv2D("scoped", x, 5)
            x = ft.Conv2D("named", x, 5, kernel_size=2)
            x = ft.Conv2D("positional", x, 5, 1)
            with ft.argscope([ft.Conv2D, ft.Deconv2D], kernel_size=6):
                x = ft.Conv2D("inner", x, 5)
                x = ft.Deconv2D("other", x, 5)
            x = ft.Conv2D("again", x, 5)
        return ft.Conv2D("outside", x, 5)

    assert shapes(built(build)) == {
        "scoped/kernel": (4, 4, 3, 5), "named/kernel": (2, 2, 5, 5), "positional/kernel": (1, 1, 5, 5),
        "inner/kernel": (6, 6, 5, 5), "other/kernel": (6, 6, 5, 5), "other/bias": (5,), "again/kernel": (4, 4, 5, 5),
        "outside/kernel": (3, 3, 5, 5), "outside/bias": (5,),
    }  # fmt: skip


def test_argscope_of_required_arguments_and_of_a_module():
    def build(x):
        with ft.argscope(ft.Conv2D, filters=7), ft.argscope(ft.layers, use_bias=False):
            x = ft.Conv2D("a", x)
            return ft.Dense("b", ft.BatchNorm("bn", x), 2)

    assert set(shapes(built(build))) == {"a/kernel", "b/kernel", "bn/gamma", "bn/beta"}


@pytest.mark.parametrize(
    ("scope", "message"),
    [
        (lambda: ft.argscope(ft.Conv2D, kernel_sise=3), "no argument 'kernel_sise'.*'kernel_size'"),
        (lambda: ft.argscope(ft.Conv2D, nl=tf.nn.relu), "Write activation= instead"),
        (lambda: ft.argscope([ft.Conv2D, ft.BatchNorm], strides=2), "BatchNorm has no argument 'strides'"),
        (lambda: ft.argscope("Conv2D", strides=2), "takes layers"),
        (lambda: ft.argscope(tf.nn, strides=2), "no layer in"),
        (lambda: ft.argscope(keras.layers.Conv2D, strides=2), "made layers by layer_register"),
    ],
)
def test_wrong_scopes_are_refused(scope, message):
    with pytest.raises(ModelError, match=message), scope():
        pass


def test_argscope_ends_with_an_error():
    with pytest.raises(KeyError), ft.argscope(ft.Conv2D, use_bias=False):
        raise KeyError
    assert "c/bias" in shapes(built(lambda x: ft.Conv2D("c", x, 2)))


# -- spellings ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "today"),
    [
        (lambda x: ft.Conv2D("c", x, 8, kernel_shape=3), "kernel_size"),
        (lambda x: ft.Conv2D("c", x, out_channel=8), "filters"),
        (lambda x: ft.Conv2D("c", x, 8, stride=2), "strides"),
        (lambda x: ft.Conv2D("c", x, 8, nl=tf.nn.relu), "activation"),
        (lambda x: ft.Conv2D("c", x, 8, W_init="zeros"), "kernel_initializer"),
        (lambda x: ft.Conv2D("c", x, 8, split=2), "groups"),
        (lambda x: ft.FullyConnected("c", x, out_dim=2), "units"),
        (lambda x: ft.Dropout("c", x, keep_prob=0.8), "rate=1 - keep_prob"),
        (lambda x: ft.MaxPooling("c", x, shape=2), "pool_size"),
        (lambda x: ft.LeakyReLU("c", x, alpha=0.1), "negative_slope"),
        (lambda x: ft.ConcatWith("c", x, x, dim=3), "axis"),
        (lambda x: ft.BatchNorm("c", x, decay=0.9), "momentum"),
    ],
)
def test_spellings_of_tensorpack_name_those_of_today(call, today):
    with pytest.raises(TypeError, match=today) as caught:
        built(call)
    assert isinstance(caught.value, ModelError)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: ft.Conv2D(x, 8), 'name first: Conv2D\\("name", x'),
        (lambda x: ft.Conv2D("c", x), "missing a required argument: 'filters'"),
        (lambda x: ft.Conv2D("c", x, 8, fliters=3), "Did you mean 'filters'"),
        (lambda x: ft.Conv2D("a b", x, 8), "cannot be the name"),
        (lambda x: ft.Conv2D("", x, 8), "cannot be the name"),
        (lambda x: ft.Conv2D("c", x, 8, activation="rellu"), "no activation is named 'rellu'"),
        (lambda x: ft.Conv2D("c", x, 8, activation=3), "function of a tensor or a name"),
        (lambda x: ft.Maxout("c", x, 2), "multiple of 2 channels, got 3"),
        (lambda x: ft.FixedUnPooling("c", x, 2, np.ones((3, 3))), r"shape \(3, 3\)"),
    ],
)
def test_wrong_calls_are_refused(call, message):
    with pytest.raises(ModelError, match=message):
        built(call)


def test_an_input_that_does_not_fit_names_the_layer():
    with pytest.raises(ValueError, match=r"layer 'net\.conv1' is incompatible"):
        with_scope = ft.variable_scope

        def build(x):
            with with_scope("net"):
                return ft.Conv2D("conv1", x[0], 8)

        built(build)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (lambda x: ft.Conv2D("c", x, 3, 20, padding="valid"), r"\[in layer 'c': Conv2D of float32 \(None, 8, 8, 3\)\]"),
        (lambda x: ft.Dense("c", x, 3, kernel_initializer="he_norml"), "he_norml.*in layer 'c'"),
        (lambda x: ft.BNReLU("c", x, axis=7), "in layer 'c/bn'"),
        (lambda x: ft.FullyConnected("c", tf.image.resize(x, tf.shape(x)[1:3] + 1), 3), "GlobalAvgPooling before it"),
    ],
)
def test_errors_of_keras_name_the_layer(layer, message):
    with pytest.raises((ValueError, IndexError), match=message):
        built(lambda x: tf.reduce_mean(layer(x)))


# -- activations, nameless layers ------------------------------------------------------------------------


def test_normalising_activations_live_below_the_layer():
    def build(x):
        x = ft.Conv2D("conv1", x, 4, activation=ft.BNReLU)
        x = ft.Conv2D("conv2", x, 4, activation=ft.BNLeakyReLU)
        return ft.PReLU("prelu", ft.BNReLU("named", x))

    graph = built(build)
    names = set(graph.store.variables)
    assert {"conv1/bn/gamma", "conv2/bn/moving_mean", "named/bn/beta", "prelu/alpha"} <= names
    assert {"conv1/bn/output", "conv1/output", "named/output"} <= set(graph.tensor_names())
    x = np.random.default_rng(0).standard_normal((2, 8, 8, 3)).astype(np.float32)
    normal, out1, normal2, out2 = graph.predictor(
        ["x"], ["conv1/bn/output", "conv1/output", "conv2/bn/output", "conv2/output"]
    )(x)
    assert np.array_equal(out1, np.maximum(normal, 0))
    assert np.allclose(out2, np.where(normal2 > 0, normal2, 0.2 * normal2))


def test_layers_without_weights_may_go_without_name():
    def build(x):
        x = ft.Dropout(ft.MaxPooling(x, 2), 0.5)
        return ft.Dropout(ft.LeakyReLU(ft.ConcatWith(x, [x, x])))

    names = built(build).tensor_names()
    assert {"maxpooling/output", "dropout/output", "dropout_1/output", "leakyrelu/output", "concatwith/output"} <= set(
        names
    )


def test_states_of_recurrent_layers_are_named():
    def build(x):
        y, h, c = ft.LSTM("lstm", x, 3, return_state=True)
        return y + h + c

    graph = built(build, (None, 5, 4))
    assert {"lstm/output", "lstm/state_0", "lstm/state_1"} <= set(graph.tensor_names())


# -- chains and own layers -------------------------------------------------------------------------------


@ft.layer_register
def Scale(x, initial=1.0, activation=None):
    x = x * ft.get_variable("scale", (x.shape[-1],), keras.initializers.Constant(initial))
    return x if activation is None else activation(x)


def test_a_chain_of_layers():
    def build(x):
        skip = x
        return (
            ft.LinearWrap(x)
            .Conv2D("conv1", 3, activation="relu")
            .Dropout(0.5)
            .ConcatWith(skip, 3)
            .Scale("scale", 2.0)
            .apply(tf.nn.relu)
            .FullyConnected("fc", 2)()
        )

    graph = built(build)
    assert shapes(graph)["scale/scale"] == (6,)
    assert "fc/output" in graph.tensor_names()
    assert graph.store.get_weights()["scale/scale"].tolist() == [2.0] * 6
    with pytest.raises(AttributeError, match=r"no layer 'Conv3D'.*'Conv2D'"):
        built(lambda x: ft.LinearWrap(x).Conv3D("c", 3)())


def test_a_layer_of_ones_own_knows_argscope_and_errors():
    def build(x):
        with ft.argscope(Scale, initial=3.0):
            return Scale("inner", x, activation=tf.nn.relu)

    assert built(build).store.get_weights()["inner/scale"].tolist() == [3.0] * 3
    with pytest.raises(ModelError, match="Scale has no argument 'inital'"):
        built(lambda x: Scale("s", x, inital=3.0))


@ft.layer_register
def Shifted(x, /, by=1.0):
    return x + by


def test_the_input_may_be_positional_only():
    assert "s/output" in built(lambda x: Shifted("s", x, by=2.0)).tensor_names()
    with pytest.raises(ModelError, match="positional only"):
        built(lambda x: Shifted("s", x=x))


def test_frozen_variables_are_not_trained():
    def build(x):
        with ft.freeze_variables():
            x = ft.Conv2D("trunk", x, 4, activation=ft.BNReLU)
            x = keras.layers.Dense(4)(x) * ft.get_variable("w", (4,)) * tf.Variable([1.0] * 4, name="raw")
        return ft.Dense("head", x, 2)

    graph = built(build)
    assert set(graph.store.trainable) == {"head/kernel", "head/bias"}


def test_instance_norm_has_no_other_groups():
    with pytest.raises(ModelError, match="InstanceNorm has one channel per group"):
        built(lambda x: ft.InstanceNorm("norm", x, groups=3))


# -- the table --------------------------------------------------------------------------------------------


def test_summary_counts_and_shows_shapes():
    def build(x):
        x = ft.Conv2D("conv1", x, 4, activation=ft.BNReLU)
        x = keras.layers.Dense(2, name="plain")(x)
        return x * ft.get_variable("w", (2,)) * ft.get_scalar_var("factor", 1.0)

    graph = built(build)
    table = graph.summary()
    rows = {line.split()[0]: line for line in table.splitlines() if line.strip()}
    assert "(?, 8, 8, 4)" in rows["conv1"] and " 112 " in rows["conv1"]
    assert " 16 " in rows["conv1/bn"]
    assert rows["plain"].split() == ["plain", "Dense", "(?,", "8,", "8,", "2)", "10", "float32"]
    assert "parameters: 140, of which trained: 132, not trained: 8" in table
    assert graph.count_parameters() == 140
    assert graph.count_parameters(trainable_only=True) == 132
    assert graph.model.summary() == table
    assert graph.model.tensor_names() == graph.tensor_names()
