"""The public monitors: each is written here once, with its module; ``__init__.py`` serves this list."""

from .console import ConsoleMonitor as ConsoleMonitor
from .csv_file import CSVMonitor as CSVMonitor
from .curves import CurvesMonitor as CurvesMonitor
from .curves import plot_history as plot_history
from .defaults import default_monitors as default_monitors
from .jsonl import JSONLMonitor as JSONLMonitor
from .jsonl import read_jsonl as read_jsonl
from .mlflow_run import MLflowMonitor as MLflowMonitor
from .monitor import Monitor as Monitor
from .tensorboard import TensorBoardMonitor as TensorBoardMonitor
from .timeline import TimelineMonitor as TimelineMonitor
from .wandb_run import WandbMonitor as WandbMonitor
