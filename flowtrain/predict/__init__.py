"""Trained models at work: predictors, tiled inference, loading of any format, export to any format."""

from .loader import LoadReport, ModelLoader, get_model_loader
from .receptive import ValidCrop, valid_crop
from .tiled import tiled
from .weights import read_weights

__all__ = ["LoadReport", "ModelLoader", "ValidCrop", "get_model_loader", "read_weights", "tiled", "valid_crop"]
