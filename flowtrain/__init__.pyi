"""The public names: each is written once, in the stub of the package that a star names; ``__init__.py`` serves them."""

from .callbacks import *
from .dataflow import *
from .feed import *
from .layers import *  # its lab_to_rgb, over tensors, holds instead of dataflow's, over arrays
from .metrics import *
from .model import *
from .monitors import *
from .predict import *
from .training import *
from .utils import *

__version__: str
