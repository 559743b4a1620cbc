"""InjectShell: a Python shell inside a running training."""

from __future__ import annotations

import code
import logging
import sys
from pathlib import Path

from flowtrain.utils.arguments import old_spellings
from flowtrain.utils.storage import in_run

from .base import Callback

__all__ = ["InjectShell"]

logger = logging.getLogger("flowtrain.callbacks")


@old_spellings(file="filename")
class InjectShell(Callback):
    """Opens a Python shell at the next trigger if a certain file exists; training continues when the shell is left.

    The file is removed first. Without a terminal there is only a warning. The shell's variables are ``trainer`` and
    ``callback``.

    Args:
        filename: The file, inside the run's folder.

    Example:
        >>> InjectShell()  # then, in another terminal: touch train_log/run/SHELL
        InjectShell
    """

    def __init__(self, filename: str = "SHELL") -> None:
        self.filename = in_run(filename, "the file of InjectShell")
        super().__init__()

    def trigger(self) -> None:
        path = Path(self.trainer.log_dir) / self.filename
        if not path.exists():
            return
        path.unlink()
        # Without a terminal (a cluster's job) code.interact would read end of file, or wait for input for ever.
        if not sys.stdin.isatty():
            logger.warning("InjectShell: found %s, but this process has no terminal for a shell", path)
            return
        banner = "flowtrain: `trainer` is the trainer; leave with Ctrl-D and training goes on."
        code.interact(banner, local={"trainer": self.trainer, "callback": self}, exitmsg="")
