"""Gradient processors, several costs, scalar variables as hyperparameters."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import flowtrain as ft
from flowtrain.model import ModelGraph
from flowtrain.model.gradient import process_gradients
from flowtrain.utils.errors import ModelError

from .helpers import array, desc, train


def line(x):
    return tf.reduce_mean(tf.square(ft.Dense("a", x, 3)), name="a_loss") + tf.reduce_sum(ft.Dense("b", x, 2))


def changes(processors, rate=1.0):
    model = desc(line, optimizer=lambda: keras.optimizers.SGD(rate), gradient_processors=lambda self: processors)
    graph = ModelGraph(model)
    before = graph.store.get_weights()
    train(graph, array(6, 4))
    after = graph.store.get_weights()
    return {name: before[name] - after[name] for name in graph.store.trainable}, graph


def test_global_norm_clip():
    plain, _ = changes([])
    clipped, _ = changes([ft.GlobalNormClip(0.1)])
    norm = np.sqrt(sum((g**2).sum() for g in plain.values()))
    for name in plain:
        assert np.allclose(clipped[name], plain[name] * 0.1 / norm, atol=1e-6)
    unclipped, _ = changes([ft.GlobalNormClip(1e6)])
    assert np.allclose(unclipped["a/kernel"], plain["a/kernel"], atol=1e-6)


def test_map_and_scale_gradient():
    plain, _ = changes([])
    mapped, _ = changes([ft.MapGradient(lambda g: -g, "a/.*"), ft.ScaleGradient({"b/bias": 0.0, "b/.*": 3.0})])
    assert np.allclose(mapped["a/kernel"], -plain["a/kernel"], atol=1e-6)
    assert np.allclose(mapped["b/kernel"], 3 * plain["b/kernel"], atol=1e-5)
    assert not mapped["b/bias"].any()
    names = []
    changes([ft.MapGradient(lambda g, v: names.append(v.path) or g)])
    signs, _ = changes([ft.MapGradient(tf.sign)])  # its second parameter, name, is optional
    assert all(np.isin(np.round(change, 4), [-1, 0, 1]).all() for change in signs.values())
    assert names == ["a/kernel", "a/bias", "b/kernel", "b/bias"]


def test_a_variable_that_optimizer_makes_is_one_of_the_models():
    def optimizer():
        warmth = ft.get_variable("warmth", (2,), "ones", trainable=False)
        return keras.optimizers.SGD(ft.get_scalar_var("learning_rate", 0.1)) if warmth.shape == (2,) else None

    graph = ModelGraph(desc(line, optimizer=optimizer))
    graph.store.set_weights({"warmth": [2.0, 3.0]})
    assert graph.store.get_weights()["warmth"].tolist() == [2.0, 3.0]


def test_scale_gradient_of_nothing_is_refused():
    with pytest.raises(ModelError, match="matches 'c/"):
        changes([ft.ScaleGradient({"c/.*": 2.0})])


def test_summary_gradient_is_read_with_the_scalars():
    plain, graph = changes([ft.SummaryGradient("a/.*")])
    value = graph.store.get_weights()["a/kernel/gradient_rms"]
    assert value == pytest.approx(np.sqrt((plain["a/kernel"] ** 2).mean()), rel=1e-4)
    assert set(graph.store.summary_scalars) == {"a/kernel/gradient_rms", "a/bias/gradient_rms"}


def test_print_gradient(capfd):
    changes([ft.PrintGradient("a/kernel")])
    assert capfd.readouterr().err.startswith("gradient of a/kernel rms ")


def test_check_gradient_names_the_variable():
    def build(x):
        return tf.reduce_mean(tf.sqrt(ft.Dense("fc", x, 2) * 0.0))

    graph = ModelGraph(desc(build, gradient_processors=lambda self: [ft.CheckGradient()]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="the gradient of fc/"):
        train(graph, array(2, 4))


def test_filter_none_grad(caplog):
    def build(x):
        ft.Dense("unused", x, 3)
        return tf.reduce_mean(tf.square(ft.Dense("fc", x, 2)))

    train(ModelGraph(desc(build, gradient_processors=lambda self: [ft.FilterNoneGrad()])), array(2, 4))
    assert "unused/kernel, unused/bias" in caplog.text


def test_sparse_gradients_pass_through_all():
    spec = tf.TensorSpec((None,), tf.int32, "i")
    processors = [ft.ScaleGradient({".*": 0.5}), ft.GlobalNormClip(9.0), ft.SummaryGradient(), ft.CheckGradient()]
    graph = ModelGraph(
        desc(lambda i: tf.reduce_sum(ft.Embedding("e", i, 5, 2)), spec, gradient_processors=lambda self: processors)
    )
    before = graph.store.get_weights()["e/embeddings"]
    train(graph, np.array([1, 1, 3], np.int32))
    moved = (before - graph.store.get_weights()["e/embeddings"])[:, 0] / 0.05
    assert np.allclose(moved, [0, 2, 0, 1, 0], atol=1e-5)


def test_what_is_not_a_processor_is_refused():
    with pytest.raises(ModelError, match="GradientProcessors"):
        changes([lambda pairs: pairs])
    with pytest.raises(ModelError, match="left no variable"):
        changes([ft.MapGradient(lambda g: None)])
    with pytest.raises(ModelError, match="above 0"):
        ft.GlobalNormClip(0)
    with pytest.raises(ModelError, match="gradient is None"):
        process_gradients([], [(None, tf.Variable(1.0, name="v"))])


# -- several costs -------------------------------------------------------------------------------------


def gan(optimizers):
    def build(x):
        with ft.variable_scope("generator"):
            fake = ft.Dense("out", tf.ones_like(x), 4)

        def discriminate(x, reuse):
            with ft.variable_scope("discriminator", reuse=reuse):
                return ft.Dense("score", ft.Dense("hidden", x, 8, activation=ft.leaky_relu), 1, kernel_regularizer="l2")

        real, fooled = discriminate(x, False), discriminate(fake, True)
        d_loss = tf.reduce_mean(tf.nn.softplus(-real)) + tf.reduce_mean(tf.nn.softplus(fooled))
        return {"d_loss": d_loss, "g_loss": tf.reduce_mean(tf.nn.softplus(-fooled))}

    return desc(build, optimizer=optimizers)


def both():
    return {
        "g_loss": (keras.optimizers.Adam(ft.get_scalar_var("g_rate", 0.01)), "generator/.*"),
        "d_loss": (keras.optimizers.SGD(0.1), "discriminator/.*"),
    }


def test_two_optimizers_change_their_own_variables():
    graph = ModelGraph(gan(both))
    assert list(graph.objectives) == ["d_loss", "g_loss"]
    assert list(graph.objectives["g_loss"].variables) == ["generator/out/kernel", "generator/out/bias"]
    assert "g_rate" in graph.store.variables
    tower = graph.build_tower
    assert tower.costs["d_loss"].op.name == "total_cost"  # only the discriminator has a regularizer
    before = graph.store.get_weights()
    graph.store.variables["g_rate"].assign(0.0)
    train(graph, array(4, 4), steps=2)
    after = graph.store.get_weights()
    assert np.array_equal(before["generator/out/kernel"], after["generator/out/kernel"])
    assert not np.array_equal(before["discriminator/hidden/kernel"], after["discriminator/hidden/kernel"])
    with pytest.raises(ModelError, match="has 2 optimizers"):
        graph.optimizer


def one_for_both():
    optimizer = keras.optimizers.SGD(0.1)
    return {"d_loss": (optimizer, "discriminator/.*"), "g_loss": (optimizer, "generator/.*")}


@pytest.mark.parametrize(
    ("optimizers", "message"),
    [
        (lambda: keras.optimizers.SGD(0.1), "must return a dict"),
        (one_for_both, "each needs its own"),
        (lambda: {"d_loss": (keras.optimizers.SGD(0.1), ".*")}, "names the costs"),
        (lambda: {"d_loss": keras.optimizers.SGD(0.1), "g_loss": 3}, "must be a pair"),
        (lambda: {"d_loss": (keras.optimizers.SGD(0.1), "disc"), "g_loss": 3}, "no trainable variable matches 'disc'"),
    ],
)
def test_wrong_optimizers_of_several_costs_are_refused(optimizers, message):
    with pytest.raises(ModelError, match=message):
        ModelGraph(gan(optimizers))


# -- scalar variables -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["SGD", "Adam", "RMSprop", "AdamW", "Nadam"])
def test_a_scalar_variable_is_a_live_learning_rate(kind):
    optimizer = getattr(keras.optimizers, kind)
    graph = ModelGraph(desc(line, optimizer=lambda: optimizer(ft.get_scalar_var("learning_rate", 0.5, summary=True))))
    before = graph.store.get_weights()["a/kernel"]
    graph.store.variables["learning_rate"].assign(0.0)
    train(graph, array(3, 4))
    assert np.array_equal(graph.store.get_weights()["a/kernel"], before)
    assert graph.last_scalars["learning_rate"] == 0.0
    graph.store.set_weights({"learning_rate": 0.25})
    train(graph, array(3, 4))
    assert not np.array_equal(graph.store.get_weights()["a/kernel"], before)
    assert graph.last_scalars["learning_rate"] == 0.25


def test_a_scalar_variable_in_the_graph_and_in_the_optimizer_is_one():
    def build(x):
        return tf.reduce_mean(tf.square(ft.Dense("a", x, 3))) * ft.get_scalar_var("weight", 2.0)

    graph = ModelGraph(desc(build, optimizer=lambda: keras.optimizers.SGD(ft.get_scalar_var("weight", 2.0))))
    first = train(graph, array(3, 4))[0]
    assert first > 0
    graph.store.variables["weight"].assign(0.0)
    assert train(graph, array(3, 4))[0] == 0.0


def test_a_scalar_variable_with_two_first_values_is_refused():
    def build(x):
        return tf.reduce_mean(ft.Dense("a", x, 3)) * ft.get_scalar_var("w", 2.0) * ft.get_scalar_var("w", 3.0)

    with pytest.raises(ModelError, match=r"'w'.*3\.0 and with 2\.0"):
        ModelGraph(desc(build))
    with pytest.raises(ModelError, match="name of another variable"):
        ModelGraph(desc(lambda x: tf.reduce_mean(ft.Dense("a", x, 3)) * ft.get_scalar_var("a/bias", 2.0)))
