from flowtrain.dataflow import DataFlow as DataFlow
from flowtrain.dataflow import ProxyDataFlow as ProxyDataFlow
from flowtrain.dataflow import RNGDataFlow as RNGDataFlow
from flowtrain.dataflow import imgaug as imgaug
from flowtrain.monitors import CSVMonitor as CSVMonitor
from flowtrain.monitors import ConsoleMonitor as ConsoleMonitor
from flowtrain.monitors import CurvesMonitor as CurvesMonitor
from flowtrain.monitors import JSONLMonitor as JSONLMonitor
from flowtrain.monitors import MLflowMonitor as MLflowMonitor
from flowtrain.monitors import Monitor as Monitor
from flowtrain.monitors import TensorBoardMonitor as TensorBoardMonitor
from flowtrain.monitors import WandbMonitor as WandbMonitor
from flowtrain.monitors import plot_history as plot_history
from flowtrain.monitors import read_jsonl as read_jsonl
from flowtrain.utils import FlowtrainError as FlowtrainError
from flowtrain.utils import set_seed as set_seed

__version__: str
