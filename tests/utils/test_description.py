"""What an object was made with, as JSON values."""

from __future__ import annotations

import keras
import numpy as np

from flowtrain.utils.description import describe


def test_an_object_of_keras_is_described_whole_however_many_arguments_it_has():
    described = describe(keras.layers.Conv2D(3, 5))
    assert described["type"].endswith("Conv2D") and described["kernel_size"] == [5, 5]
    assert len(described) > 17


def test_numbers_that_python_has_not_are_described():
    assert describe(np.longdouble("0.5")) == "0.5" and describe(np.clongdouble(1)) == "(1+0j)"
