"""Callbacks: everything of a training that is neither data nor graph. One idea a file."""

from flowtrain.utils.lazy_names import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
