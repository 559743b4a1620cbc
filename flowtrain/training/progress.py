"""Counters of a training: epochs and steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["Progress"]

_SAVED = ("epoch", "epoch_done", "local_step", "global_step")


@dataclass
class Progress:
    """Counters of a training: the epoch, and the steps in it and in all.

    Attributes:
        epoch: The epoch under way; given is the last epoch that counts as done.
        epoch_done: Whether the hooks at its end have run.
        epoch_ending: Whether the hooks at its end have begun. It is not saved: a checkpoint is made between rounds of
            hooks, when it is False.
        local_step: How many steps of the epoch are done.
        global_step: How many steps are done in all epochs.
    """

    epoch: int
    epoch_done: bool = True
    epoch_ending: bool = False
    local_step: int = 0
    global_step: int = 0

    def begin_epoch(self) -> None:
        """Begin the next epoch."""
        self.epoch += 1
        self.epoch_done = False
        self.local_step = 0

    def end_epoch(self) -> None:
        """Mark the epoch under way as done."""
        self.epoch_done, self.epoch_ending = True, False

    def advance(self, steps: int) -> None:
        """Count steps; a negative number takes back steps that were started and failed."""
        self.local_step += steps
        self.global_step += steps

    def state_dict(self) -> dict[str, Any]:
        """The counters, for a checkpoint."""
        return {name: getattr(self, name) for name in _SAVED}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the counters of a checkpoint."""
        for name in _SAVED:
            setattr(self, name, state[name])
