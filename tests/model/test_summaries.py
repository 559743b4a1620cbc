"""Summaries of build_graph."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import flowtrain as ft
from flowtrain.model import ModelGraph
from flowtrain.utils.errors import ModelError

from .helpers import array, desc, train

PICTURES = tf.TensorSpec((None, 4, 4, 3), tf.float32, "x")


def test_scalars_are_known_by_the_names_of_their_operations():
    def build(x):
        y = ft.Dense("fc", x, 2)
        cost = tf.reduce_mean(tf.square(y), name="l2_loss")
        ft.add_moving_summary(cost, tf.reduce_sum(tf.cast(y > 0, tf.int32), name="positive"))
        return cost

    graph = ModelGraph(desc(build))
    cost = train(graph, array(5, 4))[0]
    assert graph.last_scalars["l2_loss"] == pytest.approx(cost)
    assert graph.last_scalars["positive"] in range(11)
    assert {"l2_loss", "positive"} <= set(graph.tensor_names())


def test_summaries_of_tensors_activations_and_parameters():
    def build(x):
        ft.add_param_summary(".*/kernel", ["rms", "mean", "norm"])
        y = ft.Dense("fc", x, 2, activation="relu")
        ft.add_activation_summary(y)
        ft.add_tensor_summary(y, ["mean"], name="mine")
        return tf.reduce_mean(tf.square(y))

    graph = ModelGraph(desc(build))
    kernel = graph.store.get_weights()["fc/kernel"]
    x = array(5, 4)
    train(graph, x)
    found = graph.last_scalars
    y = np.maximum(x @ kernel, 0)
    assert found["fc/kernel/rms"] == pytest.approx(np.sqrt((kernel**2).mean()), rel=1e-5)
    assert found["fc/kernel/norm"] == pytest.approx(np.sqrt((kernel**2).sum()), rel=1e-5)
    assert found["fc/kernel/mean"] == pytest.approx(kernel.mean(), rel=1e-4)
    assert found["fc/output/sparsity"] == pytest.approx((y == 0).mean())
    assert found["mine/mean"] == pytest.approx(y.mean(), rel=1e-5)
    assert np.allclose(graph.last_histograms["fc/output/histogram"], y, atol=1e-5)
    assert "histogram_summary/fc/output/histogram" in graph.build_tower.tensors


def test_inference_computes_no_statistics():
    def build(x):
        y = ft.Dense("fc", x, 2)
        ft.add_activation_summary(y)
        ft.add_param_summary(".*")
        return tf.reduce_mean(y)

    graph = ModelGraph(desc(build))
    assert not graph.inference.tower.histograms
    assert not graph.inference.tower.scalars


def test_pictures_of_the_batch():
    def build(x):
        y = ft.Conv2D("conv", x, 3)
        ft.add_image_summary("colorized", y, max_outputs=2)
        return tf.reduce_mean(y)

    graph = ModelGraph(desc(build, PICTURES))
    (pictures,) = graph.predictor(["x"], ["image_summary/colorized"])(array(5, 4, 4, 3))
    assert pictures.shape == (2, 4, 4, 3)
    assert list(graph.build_tower.images) == ["colorized"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda y: ft.add_moving_summary(y), r"takes scalars; 'fc/output' has shape \(None, 2\)"),
        (lambda y: ft.add_moving_summary(3.0), "needs a tensor of this graph, got 3.0"),
        (lambda y: ft.add_image_summary("p", y), "takes pictures"),
        (lambda y: ft.add_image_summary("p", tf.zeros([1, 2, 2, 3], tf.int32)), "takes uint8 or floats"),
        (lambda y: [ft.add_image_summary("p", tf.zeros([1, 2, 2, 3])) for _ in "ab"], "two image summaries named 'p'"),
        (lambda y: ft.add_tensor_summary(y, ["max"]), "no kind 'max'. There are: histogram"),
        (lambda y: ft.add_tensor_summary(y, "rms"), r"takes a list of kinds: \['rms'\]"),
        (lambda y: ft.add_param_summary("conv.*"), "no trainable variable matches 'conv"),
    ],
)
def test_wrong_summaries_are_refused(call, message):
    def build(x):
        y = ft.Dense("fc", x, 2)
        call(y)
        return tf.reduce_mean(y)

    with pytest.raises(ModelError, match=message):
        ModelGraph(desc(build))


def test_a_summary_inside_a_branch_is_refused():
    def build(x):
        y = tf.reduce_mean(ft.Dense("fc", x, 2))

        def branch():
            ft.add_moving_summary(y * 2)
            return y

        return tf.cond(y > 0, branch, lambda: y)

    with pytest.raises(ModelError, match="inside a branch or loop"):
        ModelGraph(desc(build))
