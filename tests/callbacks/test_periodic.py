"""When held callbacks are called."""

import pytest

from flowtrain.callbacks import (
    Callback,
    CallbackFactory,
    EnableCallbackIf,
    PeriodicCallback,
    PeriodicTrigger,
    ProcessTensors,
    ProxyCallback,
    RunFunction,
)
from flowtrain.utils import FlowtrainError


class Count(Callback):
    def __init__(self):
        self.at = []

    def trigger(self):
        self.at.append(self.global_step)


@pytest.mark.parametrize(
    "period,expected",
    [
        ({"every_k_steps": 3}, [3, 6, 9, 12]),
        ({"every_k_steps": 5}, [5, 10, 12]),
        ({"every_k_epochs": 2}, [8, 12]),
        ({"every_k_epochs": 3}, [12]),
        ({"every_k_steps": 5, "every_k_epochs": 1}, [4, 5, 8, 10, 12]),
        ({"every_k_epochs": 2, "before_train": True}, [0, 8, 12]),
    ],
)
def test_a_periodic_trigger_fires_in_time_and_at_the_end(make_trainer, period, expected):
    count = Count()
    make_trainer(PeriodicTrigger(count, **period)).run()
    assert count.at == expected


def test_a_periodic_trigger_fires_at_an_early_end(make_trainer):
    count = Count()
    stop = RunFunction(lambda t: t.stop("enough") if t.global_step == 6 else None, run_step=True)
    make_trainer(PeriodicTrigger(count, every_k_steps=4), stop).run()
    assert count.at == [4, 6]


def test_steps_in_between_are_not_told(make_trainer):
    trainer = make_trainer(PeriodicTrigger(Count(), every_k_steps=5)).run()
    assert trainer.told == [5, 10]


def test_what_is_held_keeps_its_own_steps(make_trainer):
    seen = []
    held = ProcessTensors(["cost"], lambda cost: seen.append(float(cost)), every_k_steps=4)
    trigger = type("Both", (ProcessTensors,), {"trigger": lambda self: seen.append("trigger")})
    tensors = {"cost": lambda step: step}
    make_trainer(ProxyCallback(held), tensors=tensors).run()
    assert seen == [4, 8, 12]
    seen.clear()
    both = trigger(["cost"], lambda cost: seen.append(float(cost)), every_k_steps=4)
    make_trainer(PeriodicTrigger(both, every_k_steps=6), tensors=tensors).run()
    assert seen == [4, "trigger", 8, 12, "trigger"]


def test_a_periodic_callback_hears_all_of_some_epochs(make_trainer):
    calls = []
    hooks = {hook: (lambda h: lambda self: calls.append((h, self.epoch_num)))(hook) for hook in
             ("before_epoch", "trigger_step", "after_epoch", "trigger_epoch", "after_train")}  # fmt: skip
    make_trainer(PeriodicCallback(CallbackFactory(**hooks), 2), steps_per_epoch=1, max_epoch=3).run()
    epochs = [("before_epoch"), ("trigger_step"), ("after_epoch"), ("trigger_epoch")]
    assert calls == [(hook, epoch) for epoch in (2, 3) for hook in epochs] + [("after_train", 3)]


def test_a_condition_is_asked_at_each_trigger(make_trainer):
    count = Count()
    make_trainer(EnableCallbackIf(count, lambda callback: callback.global_step > 5)).run()
    assert count.at == [8, 12]


def test_a_function_runs_when_told(make_trainer):
    at = []
    make_trainer(RunFunction(lambda trainer: at.append(trainer.global_step), run_before=True)).run()
    assert at == [0, 4, 8, 12]


def test_a_factory_takes_any_callable(make_trainer):
    class Called:
        def __call__(self, callback):
            self.epoch = callback.epoch_num

    called = Called()
    make_trainer(CallbackFactory(trigger_epoch=called)).run()
    assert called.epoch == 3


@pytest.mark.parametrize(
    "call,word",
    [
        (lambda: PeriodicTrigger(Count()), "every_k_steps"),
        (lambda: PeriodicTrigger(Count(), every_k_steps=0), "every_k_steps must be .* at least 1, got 0"),
        (lambda: PeriodicTrigger(Count(), every_k_epochs=1.5), "1.5"),
        (lambda: PeriodicTrigger(CallbackFactory(trigger_epoch=lambda self: None), 1), "trigger"),
        (lambda: PeriodicTrigger(Count, every_k_steps=1), "a Callback must be an object, not its class"),
        (lambda: CallbackFactory(trigger_epochs=lambda self: None), "trigger_epoch"),
        (lambda: CallbackFactory(trigger=3), "no function"),
    ],
)
def test_mistakes_are_named(call, word):
    with pytest.raises(FlowtrainError, match=word):
        call()


def test_hooks_that_an_object_was_given_are_called_in_a_list_and_through_a_proxy(make_looped):
    def given(seen):
        callback = Callback()
        callback.trigger_step = lambda: seen.append("step")
        callback.trigger = lambda: seen.append("trigger")
        return callback

    alone, wrapped, periodic = [], [], []
    callbacks = [given(alone), ProxyCallback(given(wrapped)), PeriodicTrigger(given(periodic), every_k_steps=2)]
    make_looped(*callbacks, steps_per_epoch=2, max_epoch=2).run()
    assert alone == wrapped == periodic == ["step", "step", "trigger"] * 2
