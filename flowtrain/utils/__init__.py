"""Small helpers that every part of flowtrain may use and that no library has."""

from .lazy_names import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
