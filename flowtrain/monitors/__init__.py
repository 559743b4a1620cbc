"""Where the numbers and pictures of a training go."""

from .console import ConsoleMonitor
from .csv_file import CSVMonitor
from .curves import CurvesMonitor, plot_history
from .jsonl import JSONLMonitor, read_jsonl
from .mlflow_run import MLflowMonitor
from .monitor import Monitor, Monitors
from .tensorboard import TensorBoardMonitor
from .timeline import TimelineMonitor
from .wandb_run import WandbMonitor

__all__ = [
    "CSVMonitor",
    "ConsoleMonitor",
    "CurvesMonitor",
    "JSONLMonitor",
    "MLflowMonitor",
    "Monitor",
    "Monitors",
    "TensorBoardMonitor",
    "TimelineMonitor",
    "WandbMonitor",
    "default_monitors",
    "plot_history",
    "read_jsonl",
]


def default_monitors() -> list[Monitor]:
    """The monitors of a run that names none: TensorBoard, JSON lines, times, the console and the curves' picture.

    Example:
        >>> [monitor.name for monitor in default_monitors()]
        ['TensorBoardMonitor', 'JSONLMonitor', 'TimelineMonitor', 'ConsoleMonitor', 'CurvesMonitor']
    """
    return [TensorBoardMonitor(), JSONLMonitor(), TimelineMonitor(), ConsoleMonitor(), CurvesMonitor()]
