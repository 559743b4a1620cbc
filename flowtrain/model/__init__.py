"""Models: descriptions, variables, named tensors, graphs for training and inference."""

from .desc import ModelDesc
from .gradient import GradientProcessor, process_gradients
from .graph import ModelGraph, Objective
from .inference import InferenceGraph
from .predictor import Predictor
from .store import VariableStore, read_value
from .summaries import add_image_summary, add_moving_summary
from .tower import TowerContext, get_current_tower_context
from .variables import freeze_variables, get_scalar_var, get_variable, regularize_cost, variable_scope

__all__ = [
    "GradientProcessor",
    "InferenceGraph",
    "ModelDesc",
    "ModelGraph",
    "Objective",
    "Predictor",
    "TowerContext",
    "VariableStore",
    "add_image_summary",
    "add_moving_summary",
    "freeze_variables",
    "get_current_tower_context",
    "get_scalar_var",
    "get_variable",
    "process_gradients",
    "read_value",
    "regularize_cost",
    "variable_scope",
]
