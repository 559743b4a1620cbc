"""Trained models at work: predictors, tiled inference, loading of any format, export to any format."""

from .receptive import ValidCrop, valid_crop
from .tiled import tiled

__all__ = ["ValidCrop", "tiled", "valid_crop"]
