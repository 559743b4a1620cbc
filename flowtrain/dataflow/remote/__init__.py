"""Flows over the network: one process serves datapoints, another consumes them."""

from flowtrain.utils.lazy_names import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
