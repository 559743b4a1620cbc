"""A hyperparameter that a person turns while training runs."""

from __future__ import annotations

import logging
from pathlib import Path

from flowtrain.utils.arguments import old_spellings

from .hyperparams import HyperParamSetter

__all__ = ["HumanHyperParamSetter"]

logger = logging.getLogger("flowtrain.callbacks")


@old_spellings(file_name="filename")
class HumanHyperParamSetter(HyperParamSetter):
    """Sets a hyperparameter to what stands in a text file, read before each epoch: turn knobs while it runs.

    The file has lines ``name: value``; where it has none for the parameter, or is not there, nothing is set.

    Args:
        param: The variable's name.
        filename: The file, inside the run's folder.

    Example:
        >>> HumanHyperParamSetter("learning_rate")  # echo "learning_rate: 1e-5" > train_log/run/hyper.txt
        HumanHyperParamSetter(learning_rate)
    """

    chief_only = True  # the chief alone has the file; the trainer hands the value on

    def __init__(self, param: str, filename: str = "hyper.txt") -> None:
        super().__init__(param)
        self.filename = filename

    def value_at(self, position: int) -> float | None:
        path = Path(self.trainer.log_dir) / self.filename
        if not path.is_file():
            return None
        for line in path.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == self.param:
                try:
                    return float(value)
                except ValueError:
                    logger.warning("%s: %r is not a number in the line %r", path, value.strip(), line)
        return None
