"""Stages that work in other processes or threads, with the same datapoints in the same order as a serial flow."""

from flowtrain.utils.lazy_names import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
