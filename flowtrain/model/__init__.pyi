"""The public names of models: each is written here once, with its module; ``__init__.py`` serves this list."""

from .checkpoint_io import read_checkpoint as read_checkpoint
from .desc import ModelDesc as ModelDesc
from .gradient import CheckGradient as CheckGradient
from .gradient import FilterNoneGrad as FilterNoneGrad
from .gradient import GlobalNormClip as GlobalNormClip
from .gradient import GradientProcessor as GradientProcessor
from .gradient import MapGradient as MapGradient
from .gradient import PrintGradient as PrintGradient
from .gradient import ScaleGradient as ScaleGradient
from .gradient import SummaryGradient as SummaryGradient
from .graph import ModelGraph as ModelGraph
from .keras_desc import KerasModelDesc as KerasModelDesc
from .metric_summary import add_metric_summary as add_metric_summary
from .predictor import Predictor as Predictor
from .summaries import add_activation_summary as add_activation_summary
from .summaries import add_image_summary as add_image_summary
from .summaries import add_moving_summary as add_moving_summary
from .summaries import add_param_summary as add_param_summary
from .summaries import add_tensor_summary as add_tensor_summary
from .tower import TowerContext as TowerContext
from .tower import get_current_tower_context as get_current_tower_context
from .variables import freeze_variables as freeze_variables
from .variables import get_scalar_var as get_scalar_var
from .variables import get_variable as get_variable
from .variables import regularize_cost as regularize_cost
from .variables import variable_scope as variable_scope
