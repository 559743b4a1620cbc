"""Reports of runs: an HTML page, and a table for the terminal. Reading a run needs no TensorFlow."""

from flowtrain.utils.lazy_names import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
