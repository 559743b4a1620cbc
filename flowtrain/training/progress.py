"""Where a training is, counted in epochs and steps."""

from __future__ import annotations

from typing import Any

__all__ = ["Progress"]

_SAVED = ("epoch", "epoch_done", "local_step", "global_step")


class Progress:
    """Counts epochs and steps.

    Args:
        epoch: The last epoch that counts as done.

    Attributes:
        epoch: The epoch under way.
        epoch_done: Whether its last hooks have run.
        epoch_ending: Whether they have begun. Never so in a checkpoint, which is made between rounds of hooks.
        local_step: How many steps of it are done.
        global_step: How many steps are done over all epochs.
    """

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.epoch_done = True
        self.epoch_ending = False
        self.local_step = 0
        self.global_step = 0

    def begin_epoch(self) -> None:
        """Count the next epoch."""
        self.epoch += 1
        self.epoch_done = False
        self.local_step = 0

    def end_epoch(self) -> None:
        """Count the epoch under way as done."""
        self.epoch_done, self.epoch_ending = True, False

    def advance(self, steps: int) -> None:
        """Count steps."""
        self.local_step += steps
        self.global_step += steps

    def state_dict(self) -> dict[str, Any]:
        """All counts."""
        return {name: getattr(self, name) for name in _SAVED}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        for name in _SAVED:
            setattr(self, name, state[name])
