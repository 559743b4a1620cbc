"""The public names of training: each is written here once, with its module; ``__init__.py`` serves this list."""

from .api import train as train
from .config import TrainConfig as TrainConfig
from .defaults import default_callbacks as default_callbacks
from .devices import limit_gpus as limit_gpus
from .log_folder import auto_set_dir as auto_set_dir
from .loop import Preempted as Preempted
from .step import Step as Step
from .trainer import Trainer as Trainer
from .trainer_kinds import NoOpTrainer as NoOpTrainer
from .trainer_kinds import SimpleTrainer as SimpleTrainer
