"""Well-known data sets, read from ``$FLOWTRAIN_DATA``, to which they are downloaded if their licence permits."""

from flowtrain.utils.lazy_names import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
