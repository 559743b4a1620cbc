from flowtrain.dataflow import imgaug as imgaug
from flowtrain.utils import FlowtrainError as FlowtrainError

__version__: str
