"""ModelSaver and BestSaver: save the newest checkpoints and the best ones."""

from __future__ import annotations

import contextlib
import logging
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from flowtrain.model.checkpoint_io import check_checkpoint_name
from flowtrain.model.manifest import read_manifest
from flowtrain.utils.arguments import check_int, if_given, old_spellings
from flowtrain.utils.errors import CheckpointError

from .base import Callback
from .watch import WatchingCallback

__all__ = ["BestSaver", "MaxSaver", "MinSaver", "ModelSaver"]

logger = logging.getLogger("flowtrain.callbacks")


class _Best(NamedTuple):
    """A kept checkpoint: the value that it was saved for, and the number in its folder's name."""

    value: float
    place: int
    step: int = -1  # unknown: saved by an earlier version


@old_spellings(max_to_keep="keep")
class ModelSaver(Callback):
    """Saves the whole run after every k-th epoch and at the end of training. Resuming needs its checkpoints.

    For saving by steps wrap it: ``PeriodicTrigger(ModelSaver(), every_k_steps=1000)``.

    Args:
        keep: Number of checkpoints to keep; older ones are deleted.
        every: k.
        background: Continue training while the files are written, at the cost of a copy of the variables on their
            device. On the CPU this is always so.

    Raises:
        ConfigError: A number is not a whole number from 1.

    Example:
        >>> ModelSaver(keep=3, every=2)
        ModelSaver
    """

    def __init__(self, keep: int = 10, every: int = 1, background: bool = False) -> None:
        if_given(check_int, type(self).__name__, "keep", keep)
        if_given(check_int, type(self).__name__, "every", every)
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
        # Stopped before max_epoch: inside an epoch, or at the end of one that is no multiple of `every`.
        stopped = self.trainer.stop_reason is not None
        if stopped and self._saved_at != self.global_step:
            self.trigger()


@old_spellings(reverse="mode", monitor_stat="monitor", filename="name")
class BestSaver(WatchingCallback):
    """Saves the run whenever a scalar is better than before, with the weights that it was measured on.

    Its place in the list of callbacks does not matter: it hears the value when that is logged, and the checkpoint is
    written once all callbacks have had the same hook, before the weights change.

    Args:
        monitor: Name of the scalar, such as "validation_l2_loss".
        mode: "min" if a lower scalar is better, "max" if a higher one is.
        keep: How many of the best to keep, as ``checkpoints/best-<monitor>``; if several, as ``...-1`` to ``...-k``,
            which are not ordered by value. A resumed run with a smaller `keep` deletes the worst ones.
        name: Another name instead of ``best-<monitor>``.

    Raises:
        ConfigError: The mode, `keep` or the name is invalid.

    Example:
        >>> BestSaver("validation_psnr", mode="max")
        BestSaver(validation_psnr)
    """

    def __init__(self, monitor: str, mode: str, keep: int = 1, name: str | None = None) -> None:
        super().__init__(monitor, mode)
        if_given(check_int, type(self).__name__, "keep", keep)
        self.keep = keep
        self.checkpoint = check_checkpoint_name(name or "best-" + re.sub(r"[^\w.-]+", "_", monitor), self.name)

    def reset(self) -> None:
        super().reset()
        self._kept: list[_Best] = []  # the best first
        self._dropped: list[_Best] = []  # kept in the checkpoint's run, which had a larger keep
        self._rearrange = False  # whether folders are to be renamed and deleted when training begins

    def setup_graph(self) -> None:
        super().setup_graph()
        for place in range(1, self.keep + 1):
            self.trainer.claim_file(f"checkpoints/{self._file(place)}", self)

    def before_train(self) -> None:
        # Not in load_state_dict: a resume that fails after it must not have deleted checkpoints.
        if self._rearrange:
            self._rearrange = False
            self._name_as_kept()

    def heard(self, value: float, step: int) -> None:
        # A new best takes the folder of the worst one. The trainer replaces a folder only once the new checkpoint is
        # whole, so a kill in between leaves the old one.
        full = len(self._kept) >= self.keep
        if not self.better(value, self._kept[-1].value if full else None):
            return
        if full:
            place = self._kept.pop().place
        else:
            taken = {kept.place for kept in self._kept}
            place = next(place for place in range(1, self.keep + 1) if place not in taken)
        self._kept.append(_Best(value, place, self.global_step))
        self._sort()
        logger.info("%s is %.6g at step %d: saving %s", self.monitor, value, step, self._file(place))
        self.trainer.save_checkpoint(name=self._file(place))

    def state_dict(self) -> dict[str, Any]:
        return {"kept": [list(kept) for kept in self._kept], "mode": self.mode, "checkpoint": self.checkpoint}

    def take_state(self, state: Mapping[str, Any]) -> None:
        self._kept = [_Best(float(value), int(place), *map(int, step)) for value, place, *step in state["kept"]]
        self._sort()
        self._kept, self._dropped = self._kept[: self.keep], self._kept[self.keep :]
        self._before = state.get("checkpoint", self.checkpoint)
        self._rearrange = True

    def _sort(self) -> None:
        self._kept.sort(key=lambda kept: kept.value, reverse=self.mode == "max")
        self.best = self._kept[0].value if self._kept else None

    def _file(self, place: int) -> str:
        return self.checkpoint if self.keep == 1 else f"{self.checkpoint}-{place}"

    def _name_as_kept(self) -> None:
        """After a resume: rename the folders for the current `keep` and `name`, and delete those no longer kept.

        A folder is identified by the step in its manifest, not by its name, so that this can be killed and repeated.
        """
        folder = Path(self.trainer.log_dir) / "checkpoints"
        there: dict[int, Path] = {}
        for path in folder.glob("*"):
            if re.fullmatch(rf"({re.escape(self._before)}|{re.escape(self.checkpoint)})(-\d+)?", path.name):
                with contextlib.suppress(CheckpointError, KeyError):
                    there.setdefault(read_manifest(path)["global_step"], path)
        for dropped in self._dropped:
            path = there.get(dropped.step)
            if path is not None:
                logger.warning("%s: keep=%d, so %s (%.6g) is deleted", self.name, self.keep, path.name, dropped.value)
                shutil.rmtree(path, ignore_errors=True)
        # A kept checkpoint moves only if its name is none of the current ones, and only to a name that none has: so no
        # rename meets another checkpoint, in whatever order they come. One whose folder is lost counts by its place.
        names = [self._file(place) for place in range(1, self.keep + 1)]
        now = [there[kept.step].name if kept.step in there else self._file(kept.place) for kept in self._kept]
        free = [name for name in names if name not in now]
        for index, (kept, name) in enumerate(zip(self._kept, now, strict=True)):
            if name not in names:
                name = free.pop(0)
                if kept.step in there:
                    shutil.rmtree(folder / name, ignore_errors=True)  # of no kept value, but rename() needs it gone
                    there[kept.step].rename(folder / name)
                    logger.info("%s: %s is called %s now", self.name, there[kept.step].name, name)
            self._kept[index] = kept._replace(place=names.index(name) + 1)


@old_spellings(monitor_stat="monitor", filename="name")
class MinSaver(BestSaver):
    """Saves the run whenever a scalar is lower than ever before; see `BestSaver`.

    Args:
        monitor: Name of the scalar.
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
    """Saves the run whenever a scalar is higher than ever before; see `BestSaver`.

    Args:
        monitor: Name of the scalar.
        keep: How many of the best to keep.
        name: Another name for the checkpoint.

    Example:
        >>> MaxSaver("validation_accuracy")
        MaxSaver(validation_accuracy)
    """

    def __init__(self, monitor: str, keep: int = 1, name: str | None = None) -> None:
        super().__init__(monitor, "max", keep, name)
