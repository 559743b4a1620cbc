"""What callbacks fetch in a run."""

import numpy as np
import pytest
import tensorflow as tf

from flowtrain.callbacks import Callback
from flowtrain.layers import FullyConnected
from flowtrain.training import train

from .helpers import PlainClassifier, Points, config


def run(tmp_path, model=None, steps_per_call=None, **hooks):
    callback = type("Mine", (Callback,), hooks)()
    return train(
        config(
            tmp_path,
            callbacks=[callback],
            model=model or PlainClassifier(),
            dataflow=Points(2),
            max_epoch=1,
            steps_per_call=steps_per_call,
        )
    )


class Unnamed(PlainClassifier):
    """Its operations have the names that TensorFlow makes up, which the step could take for its own."""

    def build_graph(self, x, side):
        first = tf.cast(x[:, 0] > 0, tf.float32)  # strided_slice, Cast
        logits = FullyConnected("logits", x + first[:, None], 2)  # strided_slice_1, add
        assert tf.get_static_value(tf.constant(7.0)) == 7.0  # Const
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=side, logits=logits)) * 3.0  # mul


@pytest.mark.parametrize("steps_per_call", [None, 1])
def test_operations_without_names_are_fetched_under_the_names_that_they_print(tmp_path, steps_per_call):
    seen = {}
    names = ["x", "strided_slice", "Cast", "strided_slice_1", "add", "Const", "mul"]
    run(
        tmp_path,
        model=Unnamed(),
        steps_per_call=steps_per_call,
        before_run=lambda self: names,
        after_run=lambda self, values: seen.update(values),
    )
    x = seen["x"]
    first = (x[:, 0] > 0).astype(np.float32)
    assert np.array_equal(seen["strided_slice"], x[:, 0]) and np.array_equal(seen["Cast"], first)
    assert np.array_equal(seen["strided_slice_1"], first[:, None])
    assert np.array_equal(seen["add"], x + first[:, None])
    assert seen["Const"] == 7 and seen["mul"] > 0
