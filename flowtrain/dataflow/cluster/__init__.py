"""Workers of parallel stages on many machines: actors of a Ray cluster, used by the same cursors as local workers."""

from flowtrain.utils.lazy_names import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
