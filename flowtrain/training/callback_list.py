"""The callbacks of a run as one list: checked when taken, called hook by hook, named in the errors that they raise."""

from __future__ import annotations

import collections
import contextlib
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from flowtrain.callbacks.base import HOOKS, Callback, TrainerView, overrides, uses_steps
from flowtrain.callbacks.check import check_callback
from flowtrain.callbacks.stopping import StopTraining
from flowtrain.model.checkpoint_io import pack_state
from flowtrain.monitors.monitor import WRITER
from flowtrain.utils.errors import ConfigError, annotate_error, closest

__all__ = ["CallbackList"]

logger = logging.getLogger("flowtrain.training")

Values = dict[str, np.ndarray]


class CallbackList(Sequence[Callback]):
    """All callbacks of a run, in the order in which they are called.

    A *round* is one hook (or some hooks in a row) called on every callback. A KeyboardInterrupt may end a round in its
    middle. The calls that are left are kept, and `finish_round` goes on with the callback after the interrupted one, so
    that every callback has each hook once and no value is logged twice. Only a callback with ``repeats_interrupted``
    has the interrupted hook again.

    Args:
        callbacks: The callbacks; each is checked here.
        is_chief: Whether this process is the chief. On other workers, callbacks with ``chief_only`` take part only in
            what all workers must do alike: they set up their part of the graph, and say which tensors are fetched at
            which step.

    Raises:
        ConfigError: An entry is no callback, is in the list twice, or has a hook of a wrong signature.
    """

    def __init__(self, callbacks: Iterable[Any], is_chief: bool = True) -> None:
        self._all: list[Callback] = []
        for callback in callbacks:
            check_callback(callback)
            if any(callback is other for other in self._all):
                raise ConfigError(f"the callback {callback.name} is in the list twice: make two objects, or drop one")
            self._all.append(callback)
        here = {c for c in self._all if is_chief or not c.chief_only}
        # All workers must call the same compiled step with the same fetches, since exchanges between them are matched
        # by call. So a chief-only callback that may fetch is asked on every worker, after the hooks that prepare its
        # answer; what it does with the values (after_run and all later hooks) happens on the chief alone.
        fetching = {c for c in self._all if overrides(c, "before_run")}
        self._by_hook: dict[str, list[Callback]] = {}
        for hook in HOOKS:
            told = set(self._all) if hook == "setup_graph" else here
            if hook in ("before_train", "before_epoch", "before_run"):
                told = here | fetching
            self._by_hook[hook] = [c for c in self._all if c in told and overrides(c, hook)]
        self._here = here
        self._with_step_hooks = [c for c in self._all if c in here | fetching and uses_steps(c)]
        self._round: collections.deque[tuple[Callback, str, tuple[Any, ...]]] = collections.deque()
        self._step = -1  # the step for which _fetches holds answers; -1: none
        self._fetches: dict[Callback, list[str]] = {}  # the answer of before_run of each callback that is due

    def __len__(self) -> int:
        return len(self._all)

    def __getitem__(self, index: Any) -> Any:
        return self._all[index]

    def __iter__(self) -> Iterator[Callback]:
        return iter(self._all)

    def named(self) -> dict[str, Callback]:
        """Unique name -> callback, in order: the callback's own name, numbered from the second one of it on."""
        named: dict[str, Callback] = {}
        for callback in self._all:
            name, count = callback.name, 1
            while name in named:
                count += 1
                name = f"{callback.name}-{count}"
            named[name] = callback
        return named

    def attach(self, trainer: TrainerView) -> None:
        """Give each callback the trainer of a new run, and reset what it holds of an earlier run."""
        for callback in self._all:
            with _ErrorContext(callback, "reset"):
                callback.attach(trainer)

    # ------------------------------------------------------------------ rounds of hooks

    @property
    def interrupted(self) -> bool:
        """Whether calls of a round are still to be made, because a KeyboardInterrupt ended it."""
        return bool(self._round)

    def begin_round(self, *hooks: str) -> None:
        """Note the calls of some hooks without arguments, on all callbacks, one hook after the other."""
        self._round.extend((callback, hook, ()) for hook in hooks for callback in self._by_hook[hook])

    def call(self, *hooks: str) -> None:
        """Call some hooks without arguments on all callbacks, one hook after the other."""
        self.begin_round(*hooks)
        self.finish_round()

    def finish_round(self) -> None:
        """Make the calls of a round, or those that an interrupt has left of it.

        Raises:
            Exception: What a callback raised, at once, with its name added.
        """
        while self._round:
            # Taken out before the call: a hook that a Ctrl-C came into has done part of its work (logged a value,
            # written a file), and doing it twice is worse than leaving the rest of it out. A callback for which it is
            # not sets repeats_interrupted.
            callback, hook, arguments = self._round.popleft()
            try:
                with _ErrorContext(callback, hook):
                    getattr(callback, hook)(*arguments)
            except KeyboardInterrupt:
                if callback.repeats_interrupted:
                    self._round.appendleft((callback, hook, arguments))
                raise

    def call_before_train(self) -> None:
        """Call before_train of all callbacks; not a round, as after an interrupt it is called again from the start.

        An interrupted train() has called after_train, which ended what an earlier before_train began.
        """
        for callback in self._by_hook["before_train"]:
            with _ErrorContext(callback, "before_train"):
                callback.before_train()

    def call_before_epoch_again(self, silence: Callable[[], contextlib.AbstractContextManager[None]]) -> None:
        """Call before_epoch again when a run goes on inside an epoch, so that callbacks reopen what they need in it.

        A callback that had this epoch's before_epoch already (in this process, or before the checkpoint) keeps its
        state, and what it logs is dropped, as it was logged before. A callback that a Ctrl-C kept from having the hook
        has it now for the first time, and logs.

        Args:
            silence: Makes a scope in which nothing is logged.
        """
        first_time = {callback for callback, hook, _ in self._round if hook == "before_epoch"}
        for callback in self._by_hook["before_epoch"]:
            if callback in first_time:
                continue
            # Its state is put back: a before_epoch that counts or clears would do so twice in one epoch, and the run
            # would no longer be the one that was never killed.
            with _ErrorContext(callback, "before_epoch"), silence():
                state = callback.state_dict()
                try:
                    callback.before_epoch()
                finally:
                    if state:
                        callback.load_state_dict(state)
        if first_time:
            self.finish_round()

    def call_after_train(self, failing: bool) -> None:
        """Call after_train of all callbacks, also when some of them raise.

        Args:
            failing: Whether training ended by an error. The caller raises that error, so errors of the callbacks are
                only logged.

        Raises:
            BaseException: The first one that a callback raised, unless `failing`; a Ctrl-C or exit in any case.
        """
        first: BaseException | None = None
        for callback in self._by_hook["after_train"]:
            try:
                with _ErrorContext(callback, "after_train"):
                    callback.after_train()
            except BaseException as error:
                if first is None and (not failing or not isinstance(error, Exception)):
                    first = error
                else:
                    logger.exception("callback %s failed in after_train", callback.name)
        if first is not None:
            raise first

    # ------------------------------------------------------------------ steps

    def next_step(self, done: int) -> float:
        """The next global step that a callback wants to see; infinite if none does.

        Args:
            done: How many steps are done. A callback may answer with a step that is done (its period is over): it is
                then due at the next one.
        """
        nearest = math.inf
        for callback in self._with_step_hooks:
            step: float | None = None
            with _ErrorContext(callback, "next_step"):
                step = callback.next_step()
            if step is not None and step < nearest:
                nearest = step
        return max(nearest, done + 1)

    def before_run(self, step: int) -> dict[Callback, list[str]]:
        """Call before_run of the callbacks that are due at a step.

        When it is called again for the same step, after an interrupt, callbacks that have answered are not asked again.

        Returns:
            Callback -> names of the tensors that it wants fetched; only callbacks that want some.
        """
        if step != self._step:
            self._step, self._fetches = step, {}
        for callback in self._with_step_hooks:
            if callback in self._fetches:
                continue
            names: list[str] = []
            with _ErrorContext(callback, "before_run"):
                due = callback.next_step()
                if due is None or due > step:
                    continue
                names = _names_of(callback.before_run())
            self._fetches[callback] = names
        return {callback: names for callback, names in self._fetches.items() if names}

    def step_done(self, values: Values) -> None:
        """Begin the round after a step: after_run of the callbacks that were due, then trigger_step of the same.

        The calls are only noted; `finish_round` makes them.

        Args:
            values: The fetched tensors by name; each callback gets the ones that it asked for.
        """
        fetches = self._fetches
        self._step, self._fetches = -1, {}
        due = [callback for callback in self._with_step_hooks if callback in fetches and callback in self._here]
        self._round.extend(
            (callback, "after_run", ({name: values[name] for name in fetches[callback]},)) for callback in due
        )
        self._round.extend((callback, "trigger_step", ()) for callback in due)

    # ------------------------------------------------------------------ state

    def state_dict(self) -> dict[str, Any]:
        """Unique name -> state, of the callbacks that have a state."""
        states = {}
        for name, callback in self.named().items():
            with _ErrorContext(callback, "state_dict"):
                state = callback.state_dict()
                if state:
                    pack_state(state)  # a trial: an error here names the callback, one of the whole state would not
                    states[name] = state
        return states

    def load_state_dict(self, states: dict[str, Any], same: Mapping[str, str] | None = None) -> None:
        """Give each callback its saved state; a state without a callback is dropped with a warning.

        Args:
            states: Name in the checkpoint -> state.
            same: Name here -> name in the checkpoint; None: names are the same. See `same_callbacks`.
        """
        named = self.named()
        same = {name: name for name in named} if same is None else same
        for name, callback in named.items():
            state = states.get(same.get(name, ""))
            if state is not None:
                with _ErrorContext(callback, "load_state_dict"):
                    callback.load_state_dict(state)
        for name in set(states) - set(same.values()):
            logger.warning(
                "the checkpoint has a state of callback %r, which this run lacks: it is dropped. %s",
                name,
                closest(name, list(named)),
            )


def _names_of(answer: object) -> list[str]:
    """The answer of a callback's before_run: names of tensors. An iterator is read here, as it can be read once."""
    names = [] if answer is None else answer
    if isinstance(names, Iterable) and not isinstance(names, str):
        names = list(names)
        if all(isinstance(name, str) for name in names):
            return names
    raise ConfigError(f"before_run must return a list of tensor names or None, got {answer!r:.100}")


class _ErrorContext:
    """Context of one hook call: adds callback, hook, epoch and step to the message of an error that passes through.

    Inside it, `WRITER` is the callback, so that monitors know who logs. StopTraining is caught here: it asks the
    trainer to stop after the round. A KeyboardInterrupt or SystemExit passes unchanged.
    """

    def __init__(self, callback: Callback, hook: str) -> None:
        self._callback, self._hook = callback, hook

    def __enter__(self) -> None:
        self._token = WRITER.set(self._callback)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> bool:
        WRITER.reset(self._token)
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
