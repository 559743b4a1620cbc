"""The callbacks of a run as one: checked when taken, told at each hook, blamed when they fail."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from flowtrain.callbacks.base import HOOKS, STEP_HOOKS, Callback, TrainerView
from flowtrain.callbacks.check import check_callback
from flowtrain.callbacks.stopping import StopTraining
from flowtrain.utils.errors import ConfigError, annotate_error, closest

__all__ = ["CallbackList"]

logger = logging.getLogger("flowtrain.training")


class CallbackList(Sequence[Callback]):
    """All callbacks of a run, in order.

    Args:
        callbacks: Checked here.
        is_chief: Elsewhere than on the chief, callbacks with ``chief_only`` only take part in what all workers have
            to do alike: they set up their part of the graph, and say which tensors are fetched at which step.

    Raises:
        ConfigError: One is no callback, is there twice, or has a wrong hook.
    """

    def __init__(self, callbacks: Iterable[Any], is_chief: bool = True) -> None:
        self._all: list[Callback] = []
        for callback in callbacks:
            check_callback(callback)
            if any(callback is other for other in self._all):
                raise ConfigError(f"the callback {callback.name} is in the list twice: make two objects, or drop one")
            self._all.append(callback)
        here = {c for c in self._all if is_chief or not c.chief_only}
        fetching = {c for c in self._all if _overrides(c, "before_run")}
        self._by_hook = {}
        for hook in HOOKS:
            told = set(self._all) if hook == "setup_graph" else here
            if hook in ("before_train", "before_epoch", "before_run"):
                told = here | fetching
            self._by_hook[hook] = [c for c in self._all if c in told and _overrides(c, hook)]
        self._here = here
        self._stepwise = [
            c for c in self._all if c in here | fetching and any(_overrides(c, hook) for hook in STEP_HOOKS)
        ]
        self._active = self._stepwise

    def __len__(self) -> int:
        return len(self._all)

    def __getitem__(self, index: Any) -> Any:
        return self._all[index]

    def __iter__(self) -> Iterator[Callback]:
        return iter(self._all)

    def names(self) -> list[str]:
        """A name for each callback that no other has."""
        seen: dict[str, int] = {}
        names = []
        for callback in self._all:
            seen[callback.name] = count = seen.get(callback.name, 0) + 1
            names.append(callback.name if count == 1 else f"{callback.name}-{count}")
        return names

    def set_trainer(self, trainer: TrainerView) -> None:
        """Give each the trainer."""
        for callback in self._all:
            callback.trainer = trainer

    def tell(self, hook: str) -> None:
        """Call one hook of all. An error of one goes up at once, with its name in the message."""
        for callback in self._by_hook[hook]:
            with _Blame(callback, hook):
                getattr(callback, hook)()

    def tell_after_train(self, failing: bool) -> None:
        """Call after_train of all, whatever some of them raise.

        Args:
            failing: Whether training ended by an error, which then is the one that goes up.
        """
        first: BaseException | None = None
        for callback in self._by_hook["after_train"]:
            try:
                with _Blame(callback, "after_train"):
                    callback.after_train()
            except Exception as error:
                if failing or first is not None:
                    logger.exception("callback %s failed in after_train", callback.name)
                else:
                    first = error
        if first is not None:
            raise first

    # ------------------------------------------------------------------ steps

    def next_step(self, done: int) -> float:
        """The next step whose hooks somebody needs; infinite when nobody does."""
        nearest = math.inf
        for callback in self._stepwise:
            step: float | None = None
            with _Blame(callback, "next_step"):
                step = callback.next_step()
            if step is not None and step < nearest:
                nearest = step
        return max(nearest, done + 1)

    def before_run(self, step: int) -> dict[Callback, list[str]]:
        """Call before_run of those that are due at a step; gives the tensors that each wants."""
        self._active = []
        wanted: dict[Callback, list[str]] = {}
        for callback in self._stepwise:
            with _Blame(callback, "before_run"):
                if (callback.next_step() or math.inf) > step:
                    continue
                self._active.append(callback)
                names = callback.before_run()
                if names is None:
                    continue
                if isinstance(names, str) or not all(isinstance(name, str) for name in names):
                    raise ConfigError(f"before_run must return a list of tensor names or None, got {names!r:.100}")
                if names:
                    wanted[callback] = list(names)
        return wanted

    def after_run(self, wanted: dict[Callback, list[str]], values: dict[str, np.ndarray]) -> None:
        """Call after_run and then trigger_step of those that were due."""
        active = [callback for callback in self._active if callback in self._here]
        for callback in active:
            with _Blame(callback, "after_run"):
                callback.after_run({name: values[name] for name in wanted.get(callback, ())})
        for callback in active:
            with _Blame(callback, "trigger_step"):
                callback.trigger_step()

    # ------------------------------------------------------------------ state

    def state_dict(self) -> dict[str, Any]:
        """The states of those that have one."""
        states = {}
        for name, callback in zip(self.names(), self._all, strict=True):
            with _Blame(callback, "state_dict"):
                state = callback.state_dict()
            if state:
                states[name] = state
        return states

    def load_state_dict(self, states: dict[str, Any]) -> None:
        """Give each its state; states without a callback, and callbacks without a state, are logged."""
        names = self.names()
        for name, callback in zip(names, self._all, strict=True):
            if name in states:
                with _Blame(callback, "load_state_dict"):
                    callback.load_state_dict(states[name])
        for name in set(states) - set(names):
            logger.warning(
                "the checkpoint has a state of callback %r, which this run lacks. %s", name, closest(name, names)
            )


def _overrides(callback: Callback, hook: str) -> bool:
    if hook == "trigger_epoch" and type(callback).trigger is not Callback.trigger:
        return True
    return getattr(type(callback), hook) is not getattr(Callback, hook) or hook in vars(callback)


class _Blame:
    """Puts the callback's name, the hook, epoch and step into the message of an error that goes through.

    StopTraining goes no further: it asks the trainer to stop after the round.
    """

    def __init__(self, callback: Callback, hook: str) -> None:
        self._callback, self._hook = callback, hook

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> bool:
        if not isinstance(error, Exception):
            return False
        callback = self._callback
        if isinstance(error, StopTraining):
            callback.trainer.stop(str(error) or f"{callback.name} stopped it")
            return True
        trainer = getattr(callback, "trainer", None)
        when = f", epoch {trainer.epoch_num}, step {trainer.global_step}" if trainer is not None else ""
        noted = annotate_error(error, f"callback {callback.name}, hook {self._hook}{when}")
        if noted is not error:
            raise noted from error
        return False
