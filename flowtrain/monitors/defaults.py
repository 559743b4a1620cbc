"""The default monitors of a run."""

from .console import ConsoleMonitor
from .curves import CurvesMonitor
from .jsonl import JSONLMonitor
from .monitor import Monitor
from .tensorboard import TensorBoardMonitor
from .timeline import TimelineMonitor

__all__ = ["default_monitors"]


def default_monitors() -> list[Monitor]:
    """The default monitors of a run: TensorBoard, JSON lines, times, the console and a picture of the curves.

    Example:
        >>> [monitor.name for monitor in default_monitors()]
        ['TensorBoardMonitor', 'JSONLMonitor', 'TimelineMonitor', 'ConsoleMonitor', 'CurvesMonitor']
    """
    return [TensorBoardMonitor(), JSONLMonitor(), TimelineMonitor(), ConsoleMonitor(), CurvesMonitor()]
