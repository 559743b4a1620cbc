"""Stages that run in worker processes or threads, with the datapoints and the order of the serial flow."""

from flowtrain.utils.lazy_names import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
