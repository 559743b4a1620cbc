"""The examples in the docstrings of the dataflow run as they are shown."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import flowtrain.dataflow as df

MODULES = [module.name for module in pkgutil.iter_modules(df.__path__) if not module.ispkg]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    module = importlib.import_module(f"flowtrain.dataflow.{name}")
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert result.failed == 0
