"""Trained models at work: predictors, tiled inference, loading of any format, export to any format."""

from flowtrain.utils.lazy_names import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
