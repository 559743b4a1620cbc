"""Quality metrics: of pictures, for NumPy arrays and tensors, and of classifiers, for NumPy arrays.

Importing this package does not import TensorFlow.
"""

from flowtrain.utils.lazy_names import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
