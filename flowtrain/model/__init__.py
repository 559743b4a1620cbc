"""Models: descriptions, variables, named tensors, graphs for training and inference."""

from flowtrain.utils.malloc import keep_freed_memory

from .average import WeightAverage
from .checkpoint_io import read_checkpoint
from .desc import ModelDesc
from .gradient import (
    CheckGradient,
    FilterNoneGrad,
    GlobalNormClip,
    GradientProcessor,
    MapGradient,
    PrintGradient,
    ScaleGradient,
    SummaryGradient,
    process_gradients,
)
from .graph import ModelGraph
from .inference import InferenceGraph
from .keras_desc import KerasModelDesc
from .keras_names import names_in_run
from .metric_summary import add_metric_summary
from .objectives import Objective
from .predictor import Predictor
from .store import VariableStore, read_value
from .summaries import (
    add_activation_summary,
    add_image_summary,
    add_moving_summary,
    add_param_summary,
    add_tensor_summary,
)
from .tower import TowerContext, get_current_tower_context
from .variables import freeze_variables, get_scalar_var, get_variable, regularize_cost, variable_scope

__all__ = [
    "CheckGradient",
    "FilterNoneGrad",
    "GlobalNormClip",
    "GradientProcessor",
    "InferenceGraph",
    "KerasModelDesc",
    "MapGradient",
    "ModelDesc",
    "ModelGraph",
    "Objective",
    "Predictor",
    "PrintGradient",
    "ScaleGradient",
    "SummaryGradient",
    "TowerContext",
    "VariableStore",
    "WeightAverage",
    "add_activation_summary",
    "add_image_summary",
    "add_metric_summary",
    "add_moving_summary",
    "add_param_summary",
    "add_tensor_summary",
    "freeze_variables",
    "get_current_tower_context",
    "get_scalar_var",
    "get_variable",
    "names_in_run",
    "process_gradients",
    "read_checkpoint",
    "read_value",
    "regularize_cost",
    "variable_scope",
]

keep_freed_memory(one_arena=True)  # here, before TensorFlow starts its threads
