"""Checkpoints: the newest ones, and the best ones."""

from __future__ import annotations

import logging
import re
from typing import Any

from flowtrain.utils.arguments import old_spellings
from flowtrain.utils.errors import ConfigError

from .base import Callback
from .periodic import check_period
from .watch import WatchingCallback

__all__ = ["BestSaver", "MaxSaver", "MinSaver", "ModelSaver"]

logger = logging.getLogger("flowtrain.callbacks")


@old_spellings(max_to_keep="keep")
class ModelSaver(Callback):
    """Saves the whole run every so many epochs, and at the end of training; without it nothing can be resumed.

    For saving by steps wrap it: ``PeriodicTrigger(ModelSaver(), every_k_steps=1000)``.

    Args:
        keep: How many checkpoints to keep; older ones are deleted.
        every: Save after each k-th epoch.
        background: Let training go on while the file is written; it stops for the copy alone.

    Raises:
        ConfigError: A number is not a whole number from 1.

    Example:
        >>> ModelSaver(keep=3, every=2)
        ModelSaver
    """

    def __init__(self, keep: int = 10, every: int = 1, background: bool = False) -> None:
        check_period(self, "keep", keep)
        check_period(self, "every", every)
        self.keep, self.every, self.background = keep, every, background
        super().__init__()

    def reset(self) -> None:
        self._saved_at = -1

    def trigger_epoch(self) -> None:
        if self.epoch_num % self.every == 0 or self.epoch_num >= self.trainer.max_epoch:
            self.trigger()

    def trigger(self) -> None:
        """Save now."""
        self._saved_at = self.global_step
        self.trainer.save_checkpoint(keep=self.keep, background=self.background)

    def after_train(self) -> None:
        stopped = self.trainer.stop_reason is not None  # the last epoch came sooner than expected
        if stopped and self._saved_at != self.global_step:
            self.trigger()


@old_spellings(reverse="mode", monitor_stat="monitor", filename="name")
class BestSaver(WatchingCallback):
    """Saves the run whenever a logged number is better than before: the weights that it was measured on.

    The place in the list of callbacks does not matter: the value is heard when it is logged, and saving is
    done at the end of that same round of hooks, before the weights change.

    Args:
        monitor: The scalar's name, such as "validation_l2_loss".
        mode: "min" when less is better, "max" when more is.
        keep: How many of the best to keep, as ``checkpoints/best-<monitor>`` (``...-1`` to ``...-k`` in no
            order when there are several).
        name: Another name for the checkpoint.

    Raises:
        ConfigError: A wrong mode.

    Example:
        >>> BestSaver("validation_psnr", mode="max")
        BestSaver(validation_psnr)
    """

    def __init__(self, monitor: str, mode: str, keep: int = 1, name: str | None = None) -> None:
        super().__init__(monitor, mode)
        check_period(self, "keep", keep)
        self.keep = keep
        self.checkpoint = name or "best-" + re.sub(r"[^\w.-]+", "_", monitor)
        if self.checkpoint != re.sub(r"[^\w.-]+", "_", self.checkpoint) or self.checkpoint.startswith("."):
            raise ConfigError(f"{self.name}: name={name!r} is not a plain file name.")

    def reset(self) -> None:
        super().reset()
        self._kept: list[tuple[float, int]] = []  # (value, place), the best first

    def setup_graph(self) -> None:
        super().setup_graph()
        for place in range(1, self.keep + 1):
            self.trainer.claim_file(f"checkpoints/{self._file(place)}", self)

    def heard(self, value: float, step: int) -> None:
        full = len(self._kept) == self.keep
        if not self.better(value, self._kept[-1][0] if full else None):
            return
        place = self._kept.pop()[1] if full else len(self._kept) + 1
        self._kept.append((value, place))
        self._kept.sort(key=lambda pair: pair[0], reverse=self.mode == "max")
        self.best = self._kept[0][0]
        logger.info("%s is %.6g at step %d: saving %s", self.monitor, value, step, self._file(place))
        self.trainer.save_checkpoint(name=self._file(place))

    def state_dict(self) -> dict[str, Any]:
        return {"kept": [list(pair) for pair in self._kept]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._kept = [(float(value), int(place)) for value, place in state["kept"]]
        self.best = self._kept[0][0] if self._kept else None

    def _file(self, place: int) -> str:
        return self.checkpoint if self.keep == 1 else f"{self.checkpoint}-{place}"


@old_spellings(monitor_stat="monitor", filename="name")
class MinSaver(BestSaver):
    """Saves the run whenever a logged number is less than ever before; see `BestSaver`.

    Args:
        monitor: The scalar's name.
        keep: How many of the best to keep.
        name: Another name for the checkpoint.

    Example:
        >>> MinSaver("validation_l2_loss")
        MinSaver(validation_l2_loss)
    """

    def __init__(self, monitor: str, keep: int = 1, name: str | None = None) -> None:
        super().__init__(monitor, "min", keep, name)


@old_spellings(monitor_stat="monitor", filename="name")
class MaxSaver(BestSaver):
    """Saves the run whenever a logged number is more than ever before; see `BestSaver`.

    Args:
        monitor: The scalar's name.
        keep: How many of the best to keep.
        name: Another name for the checkpoint.

    Example:
        >>> MaxSaver("validation_accuracy")
        MaxSaver(validation_accuracy)
    """

    def __init__(self, monitor: str, keep: int = 1, name: str | None = None) -> None:
        super().__init__(monitor, "max", keep, name)
