"""Data as plain Python and NumPy: composable flows of datapoints. Importing this never imports TensorFlow.

The public names are listed in ``__init__.pyi`` and loaded when first used, NumPy with the first of them: a script waits
for the stages that it uses, and for no others.
"""

import importlib

from flowtrain.utils.lazy_names import lazy_names

from .core import explanation

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)


# `core` calls it and must not import `inspect`, which lies above; imported when called, which most scripts never do.
def _explain(*args: object) -> explanation.Explanation:
    return importlib.import_module(f"{__name__}.inspect.explain").explain(*args)


explanation.measure = _explain
