"""Training: the configuration, the trainers, and runs that survive being killed."""

from .api import train
from .config import TrainConfig
from .defaults import default_callbacks
from .devices import limit_gpus
from .log_folder import auto_set_dir
from .loop import Preempted
from .step import Step
from .trainer import NoOpTrainer, SimpleTrainer, Trainer

__all__ = [
    "NoOpTrainer",
    "Preempted",
    "SimpleTrainer",
    "Step",
    "TrainConfig",
    "Trainer",
    "auto_set_dir",
    "default_callbacks",
    "limit_gpus",
    "train",
]
