"""Callbacks: code that the trainer calls around epochs and steps (saving, validation, schedules, ...); one a module."""

from flowtrain.utils.lazy_names import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
