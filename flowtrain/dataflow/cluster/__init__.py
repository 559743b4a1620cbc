"""Workers of parallel stages on many machines: actors of a Ray cluster, beneath the walks that local workers serve."""

from .ray import Ray

__all__ = ["Ray"]
