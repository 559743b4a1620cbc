"""Data as plain Python and NumPy: composable flows of datapoints. Importing this never imports TensorFlow."""

from . import imgaug
from .base import DataFlow, ProxyDataFlow, RNGDataFlow

__all__ = ["DataFlow", "ProxyDataFlow", "RNGDataFlow", "imgaug"]
