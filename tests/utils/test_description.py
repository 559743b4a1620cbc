"""What an object was made with, as JSON values."""

from __future__ import annotations

import keras

from flowtrain.utils.description import describe


def test_an_object_of_keras_is_described_whole_however_many_arguments_it_has():
    described = describe(keras.layers.Conv2D(3, 5))
    assert described["type"].endswith("Conv2D") and described["kernel_size"] == [5, 5]
    assert len(described) > 17
