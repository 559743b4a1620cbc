"""What every public callback keeps in a run under the trainer's loop: used twice, interrupted, killed, copied.

A callback is in here by being exported; one that cannot be made without arguments needs a line in MAKE.
"""

import copy
import functools
import threading

import pytest

import flowtrain.callbacks as public
from flowtrain.callbacks import Callback
from flowtrain.callbacks.base import HOOKS
from flowtrain.training.loop import Preempted
from flowtrain.utils import FlowtrainError

from .test_contract import MAKE, NAMES, TENSORS, Log, validation

MANY = {**MAKE, "StartProcOrThread": lambda: public.StartProcOrThread(lambda: threading.Thread(target=int))}
OPTIONS = {"tensors": TENSORS, "steps_per_epoch": 4, "max_epoch": 4}
# It is a run of its own, not a part of one: a Ctrl-C ends the search, and it is not resumed.
SEARCHES = {"LRFinder"}
# Two runs may have the same values by chance, and a third one others.
MEASURED = {"HostMemoryTracker", "GPUUtilizationTracker", "ThroughputTracker"}


def build(name):
    return MANY.get(name, getattr(public, name))()


class Validation(public.InferenceRunner):
    """Something beside it that validates, so that an interrupt comes into a run with much to lose."""

    def __init__(self):
        super().__init__(validation(), [public.ScalarStats("loss")], prefix="beside")


def outcome(trainer, values=True):
    """What one can see of a run; without the values where they are not the same in two runs (times, memory)."""
    if not values:
        steps = {name: [step for step, _ in pairs] for name, pairs in trainer.history.items()}
        return steps, trainer.saved, trainer.epoch_num, trainer.global_step
    variables = {name: float(variable.numpy().sum()) for name, variable in trainer.variables.items()}
    return trainer.history, trainer.saved, trainer.epoch_num, trainer.global_step, variables


@pytest.fixture(scope="module")
def undisturbed(make_looped):
    """From a callback's name to an undisturbed run with it, and whether another one gives the same values."""

    @functools.cache
    def run(name):
        runs = [make_looped(Log(), build(name), Validation(), **OPTIONS).run() for _ in range(2)]
        return runs[0], name not in MEASURED and outcome(runs[0]) == outcome(runs[1])

    return run


@pytest.mark.parametrize("name", NAMES)
def test_used_for_a_second_run_it_begins_anew(name, undisturbed, make_looped):
    first, values = undisturbed(name)
    callbacks = [Log(), build(name), Validation()]
    make_looped(*callbacks, **{**OPTIONS, "max_epoch": 3}).run()
    second = make_looped(*callbacks, **OPTIONS).run()
    assert outcome(second, values) == outcome(first, values)


@pytest.mark.parametrize("name", NAMES)
def test_a_copy_of_a_used_one_is_a_new_one(name, undisturbed, make_looped):
    first, values = undisturbed(name)
    copied = copy.deepcopy(first.callbacks[1])
    assert "trainer" not in vars(copied)
    again = make_looped(Log(), copied, Validation(), **OPTIONS).run()
    assert outcome(again, values) == outcome(first, values)


class Interrupter(Callback):
    """Ctrl-C in each of its hooks once, each in another epoch or step."""

    def __init__(self):
        self.left = [hook for hook in HOOKS if hook not in ("setup_graph", "before_train", "after_train", "trigger")]

    def _maybe(self, hook, moment):
        if hook in self.left and moment:
            self.left.remove(hook)
            raise KeyboardInterrupt

    def next_step(self):
        return self.trainer.global_step + 1

    def before_epoch(self):
        self._maybe("before_epoch", self.epoch_num == 2)

    def before_run(self):
        self._maybe("before_run", self.global_step == 5)

    def after_run(self, values):
        self._maybe("after_run", self.global_step == 7)

    def trigger_step(self):
        self._maybe("trigger_step", self.global_step == 8)

    def after_epoch(self):
        self._maybe("after_epoch", self.epoch_num == 3)

    def trigger_epoch(self):
        self._maybe("trigger_epoch", self.epoch_num in (1, 3))


def go_on(trainer, interrupts):
    """Run, and run again after each interrupt."""
    for _ in range(interrupts + 1):
        try:
            return trainer.run()
        except KeyboardInterrupt:
            interrupts -= 1
    raise AssertionError("it was interrupted more often than that")


@pytest.mark.parametrize("name", sorted(set(NAMES) - SEARCHES))
@pytest.mark.parametrize("place", [0, 3])
def test_interrupts_in_other_callbacks_change_nothing(name, place, undisturbed, make_looped):
    first, values = undisturbed(name)
    callbacks = [Log(), build(name), Validation()]
    interrupter = Interrupter()
    callbacks.insert(place, interrupter)
    trainer = go_on(make_looped(*callbacks, **OPTIONS), 6)
    assert not interrupter.left
    assert outcome(trainer, values) == outcome(first, values)


def interrupted_in(callback, when, done):
    """Make each hook of a callback raise once, in its second call: before it has done its work or after."""

    def raising(hook, plain):
        calls = []

        def method(*values):
            calls.append(hook)
            due = hook not in done and len(calls) > 1
            if due:
                done.append(hook)
            if due and when == "before":
                raise KeyboardInterrupt
            plain(*values)
            if due:
                raise KeyboardInterrupt

        return method

    for hook in HOOKS:
        own = getattr(type(callback), hook) is not getattr(Callback, hook)
        if own and hook not in ("setup_graph", "before_train", "before_run", "after_train"):
            setattr(callback, hook, raising(hook, getattr(callback, hook)))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("when", ["before", "after"])
def test_interrupts_in_its_own_hooks_do_nothing_twice(name, when, undisturbed, make_looped):
    first, values = undisturbed(name)
    callback, done = build(name), []
    trainer = make_looped(Log(), callback, Validation(), **OPTIONS)
    interrupted_in(callback, when, done)
    go_on(trainer, len(HOOKS))
    for pairs in trainer.history.values():
        steps = [step for step, _ in pairs]
        assert steps == sorted(set(steps))
    assert len(set(trainer.saved)) == len(trainer.saved)
    if when == "after" and name not in SEARCHES:
        assert outcome(trainer, values) == outcome(first, values)


class Leave(Callback):
    """Ends the process at a step, as SIGTERM does."""

    def __init__(self, step):
        self.step = step

    def next_step(self):
        return self.step if self.global_step < self.step else float("inf")

    def trigger_step(self):
        self.trainer.preempt("leave")


@pytest.mark.parametrize("name", sorted(set(NAMES) - SEARCHES))
@pytest.mark.parametrize("step", [4, 6])
def test_left_at_any_step_and_resumed_it_does_what_it_would_have_done(name, step, undisturbed, make_looped):
    first, values = undisturbed(name)
    trainer = make_looped(Log(), build(name), Validation(), Leave(step), **OPTIONS)
    with pytest.raises(Preempted):
        trainer.run()
    again = make_looped(Log(), build(name), Validation(), Leave(-1), **OPTIONS)
    again.load_state_dict(trainer.state).run()
    before, after = outcome(first, values), outcome(again, values)
    assert before[0] == after[0] and before[2:] == after[2:]
    assert again.saved == [save for save in first.saved if save[1] > step or save in again.saved]


@pytest.mark.parametrize("name", NAMES)
def test_an_init_that_forgets_super_is_refused_or_needs_none(name, make_looped):
    def init(self, *arguments):
        self.mine = 1

    kind = getattr(public, name)
    forgetful = type("Forgetful", (kind,), {"__init__": init})()
    try:
        make_looped(Log(), forgetful, **OPTIONS).run()
    except FlowtrainError as error:
        assert "Forgetful.__init__ does not call that of" in str(error) and "super().__init__" in str(error)
    else:
        assert not any("__init__" in vars(cls) for cls in kind.__mro__ if issubclass(cls, Callback) and cls != Callback)
