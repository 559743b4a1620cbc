"""Use of trained models: predictors, tiled inference, loading and export of many formats, evaluation."""

from flowtrain.utils.lazy_names import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
