"""OptunaPruner: ends trials of a hyper-parameter search that Optuna prunes."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from flowtrain.utils.errors import ConfigError
from flowtrain.utils.optional import require

from .watch import WatchingCallback

__all__ = ["OptunaPruner"]

logger = logging.getLogger("flowtrain.callbacks")


class OptunaPruner(WatchingCallback):
    """Reports a scalar to an Optuna trial each epoch, and ends training if the study prunes the trial.

    Training then ends regularly, as with `EarlyStopping`: after_train of all callbacks runs and checkpoints are whole.
    At its very end ``train`` raises ``optuna.TrialPruned``, by which the study knows. Needs the extra ``sweeps``.

    A trial's steps are epochs, from 1: with ``n_warmup_steps=3`` a pruner ignores three epochs. If the scalar is logged
    several times in an epoch, the value at the epoch's end counts, or else the last one. NaN counts as the worst value.

    Args:
        trial: The ``optuna.Trial`` that the objective was called with.
        monitor: Name of the scalar, such as "validation_error".
        mode: "min" if lower is better, "max" if higher is. None: the study's direction.

    Raises:
        ConfigError: `trial` is not a trial, the study has several directions, or `mode` is not the study's.
        MissingPackage: Optuna is not installed.
        optuna.TrialPruned: From ``train``, if the trial was pruned.

    Example:
        >>> import optuna
        >>> def objective(trial):
        ...     rate = trial.suggest_float("rate", 1e-4, 1e-1, log=True)
        ...     pruner = OptunaPruner(trial, monitor="validation_error")
        ...     config = TrainConfig(model=Net(rate), dataflow=ds, max_epoch=20, callbacks=[validation, pruner])
        ...     return train(config).history["validation_error"][-1][1]
        >>> study = optuna.create_study(direction="minimize", pruner=optuna.pruners.MedianPruner())
        >>> study.optimize(objective, n_trials=30)  # doctest: +SKIP
    """

    def __init__(self, trial: Any, monitor: str, mode: str | None = None) -> None:
        optuna = require("optuna", extra="sweeps", needed_for="OptunaPruner")
        if not callable(getattr(trial, "report", None)) or not callable(getattr(trial, "should_prune", None)):
            raise ConfigError(
                "OptunaPruner: trial must be the optuna.Trial that study.optimize calls the objective with, "
                f"got {trial!r:.200}"
            )
        self.trial, self._pruned = trial, optuna.TrialPruned
        super().__init__(monitor, _mode(trial, mode))

    def reset(self) -> None:
        super().reset()
        self._value: float | None = None  # the epoch's last logged value, not yet reported
        self._reported = 0  # the last epoch that was reported

    def heard(self, value: float, step: int) -> None:
        # A value at the epoch's last step is final and reported at once, so that a pruned trial ends with this epoch.
        # An earlier value may be followed by another: it is reported when the next epoch begins.
        self._value = value
        if self.trainer.local_step == self.trainer.steps_per_epoch:
            self._report(self.epoch_num)

    def before_epoch(self) -> None:
        super().before_epoch()
        self._report(self.epoch_num - 1)

    def _report(self, epoch: int) -> None:
        value, self._value = self._value, None
        if value is None or epoch <= self._reported:
            return
        self._reported = epoch
        if epoch in _told(self.trial):  # a second run of the trial, or an epoch repeated after a resume
            logger.info("trial %d was told of epoch %d before: Optuna keeps that value", self.trial.number, epoch)
            return
        self.trial.report(value, epoch)
        if self.trial.should_prune():
            reason = f"Optuna pruned trial {self.trial.number} in epoch {epoch}: {self.monitor} = {value:.6g}"
            self.trainer.stop(reason, then=self._pruned(reason))

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "value": self._value, "reported": self._reported}

    def take_state(self, state: Mapping[str, Any]) -> None:
        super().take_state(state)
        self._value, self._reported = state["value"], int(state["reported"])

    def __deepcopy__(self, memo: dict[int, Any]) -> OptunaPruner:
        """A copy for another run, with the same trial: a trial is an entry in a study, and its copy would not be."""
        return type(self)(self.trial, self.monitor, self.mode)


def _told(trial: Any) -> Mapping[int, float]:
    """The values that were reported to a trial, by step."""
    study = getattr(trial, "study", None)  # an optuna.trial.FixedTrial has none
    return {} if study is None else study.get_trials(deepcopy=False)[trial.number].intermediate_values


def _mode(trial: Any, mode: str | None) -> str:
    study = getattr(trial, "study", None)
    if study is None:
        return mode or "min"
    if len(study.directions) > 1:
        raise ConfigError("OptunaPruner: Optuna prunes trials of studies with one direction; this one has several")
    direction = {"MINIMIZE": "min", "MAXIMIZE": "max"}[study.direction.name]
    if mode not in (None, direction):
        raise ConfigError(
            f'OptunaPruner: mode={mode!r}, but the study has direction="{study.direction.name.lower()}": '
            f'leave mode out, or write mode="{direction}"'
        )
    return direction
