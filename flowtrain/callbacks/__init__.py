"""Callbacks: everything of a training that is neither data nor graph. One idea a file."""

from . import schedules
from .base import HOOKS, STEP_HOOKS, Callback, TrainerView, uses_steps
from .check import check_callback
from .conditional import EnableCallbackIf
from .data_profile import DataProfile
from .ema import EMA
from .factory import CallbackFactory
from .fetching import DumpTensorAsImage, DumpTensors, FetchingCallback, ProcessTensors, TensorPrinter
from .function import RunFunction
from .human_setter import HumanHyperParamSetter
from .hyperparams import HyperParamSetter, HyperParamSetterWithFunc, ScheduledHyperParamSetter
from .inference import InferenceRunner
from .inferencers import (
    BinaryClassificationStats,
    ClassificationError,
    ImageStats,
    Inferencer,
    MetricStats,
    ScalarStats,
)
from .inject_shell import InjectShell
from .keras_metrics import KerasMetric, KerasMetrics
from .lr_finder import LRFinder
from .numerics import CheckNumerics
from .periodic import PeriodicCallback, PeriodicTrigger
from .plateau import StatMonitorParamSetter
from .preemption import PreemptionSaver
from .processes import StartProcOrThread
from .profiler import GraphProfiler
from .progress import ProgressBar
from .proxy import ProxyCallback
from .resources import GPUUtilizationTracker, HostMemoryTracker
from .saving import BestSaver, MaxSaver, MinSaver, ModelSaver
from .stat_sender import SendStat
from .stopping import EarlyStopping, StopTraining
from .summary import MovingAverageSummary, TensorSummaries
from .timing import EstimatedTimeLeft, ThroughputTracker
from .watch import WatchingCallback

__all__ = [
    "EMA",
    "HOOKS",
    "STEP_HOOKS",
    "BestSaver",
    "BinaryClassificationStats",
    "Callback",
    "CallbackFactory",
    "CheckNumerics",
    "ClassificationError",
    "DataProfile",
    "DumpTensorAsImage",
    "DumpTensors",
    "EarlyStopping",
    "EnableCallbackIf",
    "EstimatedTimeLeft",
    "FetchingCallback",
    "GPUUtilizationTracker",
    "GraphProfiler",
    "HostMemoryTracker",
    "HumanHyperParamSetter",
    "HyperParamSetter",
    "HyperParamSetterWithFunc",
    "ImageStats",
    "InferenceRunner",
    "Inferencer",
    "MetricStats",
    "KerasMetric",
    "KerasMetrics",
    "InjectShell",
    "LRFinder",
    "MaxSaver",
    "MinSaver",
    "ModelSaver",
    "MovingAverageSummary",
    "PeriodicCallback",
    "PeriodicTrigger",
    "PreemptionSaver",
    "ProcessTensors",
    "ProgressBar",
    "ProxyCallback",
    "RunFunction",
    "ScalarStats",
    "ScheduledHyperParamSetter",
    "SendStat",
    "StartProcOrThread",
    "StatMonitorParamSetter",
    "StopTraining",
    "TensorPrinter",
    "TensorSummaries",
    "ThroughputTracker",
    "TrainerView",
    "WatchingCallback",
    "check_callback",
    "schedules",
    "uses_steps",
]
