from flowtrain.dataflow import DataFlow as DataFlow
from flowtrain.dataflow import ProxyDataFlow as ProxyDataFlow
from flowtrain.dataflow import RNGDataFlow as RNGDataFlow
from flowtrain.dataflow import imgaug as imgaug
from flowtrain.utils import FlowtrainError as FlowtrainError
from flowtrain.utils import set_seed as set_seed

__version__: str
