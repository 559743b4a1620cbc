"""Trained models at work: predictors, tiled inference, loading of any format, export to any format."""

from .evaluate import evaluate
from .exporting import export
from .load import load_graph, load_predictor
from .loader import LoadReport, ModelLoader, get_model_loader
from .offline import LoadedPredictor, OfflinePredictor, PredictConfig, predict_dataflow
from .receptive import ValidCrop, valid_crop
from .tiled import tiled
from .weights import read_weights

__all__ = [
    "LoadReport",
    "LoadedPredictor",
    "ModelLoader",
    "OfflinePredictor",
    "PredictConfig",
    "ValidCrop",
    "evaluate",
    "export",
    "get_model_loader",
    "load_graph",
    "load_predictor",
    "predict_dataflow",
    "read_weights",
    "tiled",
    "valid_crop",
]
