"""SendStat: runs a shell command with logged numbers, for instance to send a message."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Sequence

from flowtrain.utils.errors import ConfigError

from .base import Callback

__all__ = ["SendStat"]

logger = logging.getLogger("flowtrain.callbacks")


class SendStat(Callback):
    """Runs a shell command with the latest values of scalars, when triggered.

    If the command fails, or takes longer than a minute, there is a warning and training continues.

    Args:
        command: The command, with ``{name}`` in the place of a scalar's value.
        names: Names of the scalars in it.

    Raises:
        ConfigError: The command contains a name that is not in `names`, or braces that are not valid.

    Example:
        >>> SendStat('notify-send "error is {validation_error}"', ["validation_error"])
        SendStat
    """

    _SECONDS = 60.0

    def __init__(self, command: str, names: Sequence[str]) -> None:
        self.command, self.names = command, [names] if isinstance(names, str) else list(names)
        try:  # filled once on trial, so that a misspelt name is an error here and not after the first epoch
            self._filled(dict.fromkeys(self.names, 0.0))
        except (KeyError, IndexError, ValueError) as error:
            raise ConfigError(
                f"SendStat: the command {command!r} cannot be filled with {self.names}: {error!r}. Write {{name}} for "
                "each scalar, {{ and }} for braces."
            ) from None
        super().__init__()

    def trigger(self) -> None:
        history = self.trainer.history
        missing = [name for name in self.names if not history.get(name)]
        if missing:
            logger.warning("SendStat: %s not logged yet; the command is not run", ", ".join(missing))
            return
        command = self._filled({name: history[name][-1][1] for name in self.names})
        try:
            done = subprocess.run(command, shell=True, timeout=self._SECONDS, capture_output=True, text=True)
        except subprocess.TimeoutExpired:
            logger.warning("SendStat: %r took longer than %g s and was ended", command, self._SECONDS)
            return
        if done.returncode != 0:
            logger.warning("SendStat: %r gave exit code %d: %s", command, done.returncode, done.stderr.strip())

    def _filled(self, values: dict[str, float]) -> str:
        return self.command.format_map(values)
