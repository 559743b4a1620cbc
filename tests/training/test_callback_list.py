"""What callbacks answer to the trainer in a run."""

import numpy as np
import pytest
import tensorflow as tf

from flowtrain.callbacks import Callback
from flowtrain.layers import FullyConnected
from flowtrain.training import train
from flowtrain.utils.errors import ConfigError

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
        before_run=lambda self: iter(names),  # an iterator: its names are read once
        after_run=lambda self, values: seen.update(values),
    )
    x = seen["x"]
    first = (x[:, 0] > 0).astype(np.float32)
    assert np.array_equal(seen["strided_slice"], x[:, 0]) and np.array_equal(seen["Cast"], first)
    assert np.array_equal(seen["strided_slice_1"], first[:, None])
    assert np.array_equal(seen["add"], x + first[:, None])
    assert seen["Const"] == 7 and seen["mul"] > 0


@pytest.mark.parametrize("answer", ["x", 3, [3], [None]])
def test_what_before_run_may_not_return_is_an_error(tmp_path, answer):
    with pytest.raises(ConfigError, match=r"before_run must return a list.*in callback Mine, hook before_run"):
        run(tmp_path, before_run=lambda self: answer)


def test_an_input_of_any_rank(tmp_path):
    class AnyRank(PlainClassifier):
        def inputs(self):
            return [tf.TensorSpec(None, tf.float32, "x"), tf.TensorSpec((None,), tf.int32, "side")]

        def build_graph(self, x, side):
            return super().build_graph(tf.reshape(x, [-1, 6]), side)

    assert run(tmp_path, model=AnyRank()).global_step == 2
