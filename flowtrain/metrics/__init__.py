"""Measures of how good a result is: for pictures and for classes, on NumPy arrays and on tensors.

Importing this package does not import TensorFlow.
"""

from flowtrain.utils.lazy_names import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
