"""Helpers for every part of flowtrain: errors, checks of arguments, files that are written whole, seeds, storage."""

from .lazy_names import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
