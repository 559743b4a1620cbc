"""Trained models at work: predictors, tiled inference, loading of any format, export to any format."""

from .tiled import tiled

__all__ = ["tiled"]
