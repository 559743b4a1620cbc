"""Monitors: write the scalars, pictures, histograms and events of a training to files, consoles and services."""

from flowtrain.utils.lazy_names import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
