"""The examples in docstrings run as they are shown."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil

import keras
import numpy as np
import pytest
import tensorflow as tf

import flowtrain as ft
import flowtrain.callbacks
import flowtrain.monitors
import flowtrain.training
from flowtrain.layers import register

LIBRARIES = {"ft": ft, "keras": keras, "np": np, "tf": tf}
HOMES = (flowtrain.monitors, flowtrain.callbacks, flowtrain.training, ft.imgaug, ft)
PACKAGES = [info.name for info in pkgutil.iter_modules(ft.__path__, "flowtrain.") if info.ispkg]


class Finder(doctest.DocTestFinder):
    """The standard library's takes a decorated function for one of its decorator's module, and leaves it out."""

    def _from_module(self, module, thing):
        return super()._from_module(module, inspect.unwrap(thing) if inspect.isfunction(thing) else thing)


def modules_with_examples(package):
    for info in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
        if info.name.endswith("__main__"):
            continue  # it runs
        module = importlib.import_module(info.name)
        if ">>> " in inspect.getsource(module):
            yield module


@pytest.mark.parametrize("package", PACKAGES)
def test_the_examples_run(package, tmp_path, monkeypatch, storage_cache):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(register, "REGISTERED", dict(register.REGISTERED))  # the example of a layer adds one
    names = {name: getattr(home, name) for home in HOMES for name in home.__all__} | LIBRARIES
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for module in modules_with_examples(package):
        for test in Finder().find(module, module.__name__, extraglobs={**names, **vars(module)}):
            runner.run(test)
    assert runner.failures == 0


def test_modules_at_any_depth_are_walked():
    assert len(list(modules_with_examples("flowtrain.dataflow"))) > 50
