"""The public clusters: each is written here once, with its module; ``__init__.py`` serves this list."""

from .ray import Ray as Ray
