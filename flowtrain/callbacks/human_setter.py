"""HumanHyperParamSetter: a hyperparameter that a person edits in a text file while training runs."""

from __future__ import annotations

import logging
import math
from pathlib import Path

from flowtrain.utils.arguments import old_spellings
from flowtrain.utils.storage import in_run

from .hyperparams import HyperParamSetter, is_finite

__all__ = ["HumanHyperParamSetter"]

logger = logging.getLogger("flowtrain.callbacks")


@old_spellings(file_name="filename")
class HumanHyperParamSetter(HyperParamSetter):
    """Sets a hyperparameter to the value in a text file, which is read before each epoch.

    The file has lines ``name: value``. If it is missing or has no line for the parameter, nothing is set. A value that
    is not a finite number is logged and ignored.

    Args:
        param: Name of the variable.
        filename: The file, inside the run's folder.

    Example:
        >>> HumanHyperParamSetter("learning_rate")  # echo "learning_rate: 1e-5" > train_log/run/hyper.txt
        HumanHyperParamSetter(learning_rate)
    """

    chief_only = True  # only the chief's machine has the file; the trainer broadcasts the value at the epoch's start

    def __init__(self, param: str, filename: str = "hyper.txt") -> None:
        super().__init__(param)
        self.filename = in_run(filename, "the file of HumanHyperParamSetter")

    def value_at(self, position: int) -> float | None:
        path = Path(self.trainer.log_dir) / self.filename
        if not path.is_file():
            return None
        for line in self._lines(path):
            name, _, value = line.partition(":")
            if name.strip() != self.param:
                continue
            try:
                number = float(value)
            except ValueError:
                number = math.nan
            if is_finite(self, self.param, number):
                return number
            logger.warning("%s: %r is not a finite number in the line %r: nothing is set", path, value.strip(), line)
        return None

    def _lines(self, path: Path) -> list[str]:
        try:
            data = path.read_bytes()
        except OSError as error:  # an editor may be replacing it at this moment: training must not end for that
            logger.warning("%s cannot be read: %s: nothing is set", path, error.strerror or error)
            return []
        try:
            return data.decode("utf-8-sig").splitlines()  # Windows' editors put a byte order mark before the first name
        except UnicodeDecodeError as error:
            logger.warning("%s is not UTF-8 text from byte %d on: such lines count for nothing", path, error.start)
            return data.decode("utf-8", errors="replace").splitlines()
