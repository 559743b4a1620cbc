import doctest
import importlib

import keras
import numpy as np
import pytest

NAMES = {"keras": keras, "np": np}


@pytest.mark.parametrize("module", ["tiling", "receptive", "loader", "weights", "exporting", "load", "offline"])
def test_examples_run(module):
    failed, _ = doctest.testmod(importlib.import_module(f"flowtrain.predict.{module}"), extraglobs=NAMES)
    assert failed == 0
