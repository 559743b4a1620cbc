"""The public names for trained models: each is written here once, with its module; ``__init__.py`` serves this list."""

from .evaluation import evaluate as evaluate
from .exporting import export as export
from .load import load_predictor as load_predictor
from .loader import LoadReport as LoadReport
from .loader import ModelLoader as ModelLoader
from .loader import get_model_loader as get_model_loader
from .offline import LoadedPredictor as LoadedPredictor
from .offline import OfflinePredictor as OfflinePredictor
from .offline import PredictConfig as PredictConfig
from .offline import predict_dataflow as predict_dataflow
from .receptive import ValidCrop as ValidCrop
from .receptive import valid_crop as valid_crop
from .tiling import tiled as tiled
from .weights import read_weights as read_weights
