"""What every public callback keeps, walked over one by one."""

import inspect
import json
import threading
from pathlib import Path

import numpy as np
import optuna
import pytest

import flowtrain.callbacks as public
from flowtrain.callbacks import Callback, Inferencer
from flowtrain.callbacks.base import HOOKS
from flowtrain.callbacks.check import check_callback
from flowtrain.dataflow import BatchData, DataFromList

TENSORS = {
    "cost": lambda step: 1.0 / step,
    "picture": lambda step: np.full((2, 4, 4, 3), 0.5),
    "image_summary/picture": lambda step: np.full((2, 4, 4, 3), 0.5, np.float32),
}


def validation():
    data = [[np.array([i, 3 - i], np.float32), i % 2] for i in range(7)]
    return BatchData(DataFromList(data, shuffle=False), 3, remainder=True)


class Log(Callback):
    def trigger(self):
        self.trainer.monitors.put_scalar("stat", 10.0 - self.epoch_num, self.global_step)


MAKE = {
    "BestSaver": lambda: public.BestSaver("stat", mode="min", keep=2),
    "CallbackFactory": lambda: public.CallbackFactory(trigger=lambda self: None),
    "CheckNumerics": lambda: public.CheckNumerics(2),
    "DumpTensorAsImage": lambda: public.DumpTensorAsImage("picture"),
    "DumpTensors": lambda: public.DumpTensors(["cost"], every_k_steps=5),
    "EMA": lambda: public.EMA(0.9),
    "EarlyStopping": lambda: public.EarlyStopping("stat", mode="max", patience=2),
    "EnableCallbackIf": lambda: public.EnableCallbackIf(public.ModelSaver(), lambda cb: cb.epoch_num == 2),
    "HumanHyperParamSetter": lambda: public.HumanHyperParamSetter("learning_rate"),
    "HyperParamSetterWithFunc": lambda: public.HyperParamSetterWithFunc("learning_rate", lambda e, v: v / 2),
    "InferenceRunner": lambda: public.InferenceRunner(validation(), [public.ScalarStats("loss")]),
    "LRFinder": lambda: public.LRFinder("cost", steps=10),
    "MaxSaver": lambda: public.MaxSaver("stat"),
    "MinSaver": lambda: public.MinSaver("stat"),
    "MirrorTo": lambda: public.MirrorTo("memory://mirrors/contract"),
    "ModelSaver": lambda: public.ModelSaver(every=2),
    "OptunaPruner": lambda: public.OptunaPruner(optuna.create_study().ask(), "stat"),
    "PeriodicCallback": lambda: public.PeriodicCallback(public.ModelSaver(), 2),
    "PeriodicTrigger": lambda: public.PeriodicTrigger(public.ModelSaver(), every_k_steps=3),
    "ProcessTensors": lambda: public.ProcessTensors(["cost"], lambda cost: None, 3),
    "ProxyCallback": lambda: public.ProxyCallback(public.ModelSaver()),
    "RunFunction": lambda: public.RunFunction(lambda trainer: trainer.get_weights(), run_step=True),
    "ScheduledHyperParamSetter": lambda: public.ScheduledHyperParamSetter("learning_rate", [(1, 0.01)]),
    "SendStat": lambda: public.SendStat("true {stat}", ["stat"]),
    "StartProcOrThread": lambda: public.StartProcOrThread(threading.Thread(target=int)),
    "StatMonitorParamSetter": lambda: public.StatMonitorParamSetter(
        "learning_rate", "stat", lambda x: x / 2, mode="max", patience=1
    ),
    "TensorPrinter": lambda: public.TensorPrinter(["cost", "picture"]),
}
# abstract ones, and those that are made without arguments
ABSTRACT = {"Callback", "FetchingCallback", "HyperParamSetter", "WatchingCallback"}
NAMES = sorted(
    name
    for name in public.__all__
    if isinstance(getattr(public, name), type) and issubclass(getattr(public, name), Callback) and name not in ABSTRACT
)


def build(name):
    return MAKE.get(name, getattr(public, name))()


def test_the_table_names_only_what_is_public():
    assert set(MAKE) <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_it_passes_the_check_and_has_a_name(name):
    callback = build(name)
    check_callback(callback)
    assert callback.name.startswith(name) and repr(callback)


@pytest.mark.parametrize("name", NAMES)
def test_it_runs_in_either_place_of_the_list(name, make_trainer):
    for order in (1, -1):
        callback = build(name)
        callbacks = [Log(), callback][::order]
        trainer = make_trainer(*callbacks, tensors=TENSORS, steps_per_epoch=5)
        trainer.run()
        assert trainer.epoch_num >= 2


@pytest.mark.parametrize("name", NAMES)
def test_after_train_works_when_training_never_began(name, make_trainer):
    callback = build(name)
    make_trainer(callback, tensors=TENSORS)
    callback.before_train()
    callback.after_train()


@pytest.mark.parametrize("name", NAMES)
def test_its_state_is_json_and_comes_back(name, make_trainer):
    trainer = make_trainer(Log(), build(name), tensors=TENSORS)
    trainer.run(until_epoch=2)
    state = trainer.callbacks[1].state_dict()
    again = make_trainer(Log(), build(name), tensors=TENSORS).callbacks[1]
    if state:
        again.load_state_dict(json.loads(json.dumps(state)))
    assert again.state_dict() == state
    trainer.tell("after_train")


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"LRFinder", "ThroughputTracker", "HostMemoryTracker"}))
def test_a_resumed_run_does_what_an_undisturbed_one_does(name, make_trainer):
    whole = make_trainer(Log(), build(name), tensors=TENSORS, max_epoch=5).run()
    first = make_trainer(Log(), build(name), tensors=TENSORS, max_epoch=5).run(until_epoch=2)
    state = first.state_dict()
    first.tell("after_train")
    second = make_trainer(Log(), build(name), tensors=TENSORS, max_epoch=5).load_state_dict(state).run()
    assert second.history == whole.history
    assert second.saved == [save for save in whole.saved if save[1] > 8]
    for variable in whole.variables:
        assert second.get_variable(variable) == whole.get_variable(variable), variable


@pytest.mark.parametrize("name", [*NAMES, *sorted(ABSTRACT - {"Callback"})])
def test_it_is_documented(name):
    kind = getattr(public, name)
    text = inspect.getdoc(kind)
    assert "Example:" in text and ">>>" in text
    parameters = set(inspect.signature(kind.__init__).parameters) - {"self", "hooks", "args", "kwargs"}
    for parameter in parameters:
        assert f"{parameter}:" in text, f"{name} does not document {parameter}"


@pytest.mark.parametrize("name", NAMES)
def test_it_is_in_the_guide(name):
    guide = Path(__file__).parents[2] / "docs" / "howto" / "choose-a-callback.md"
    assert f"`{name}" in guide.read_text(encoding="utf-8")


def test_inferencers_are_documented():
    kinds = [getattr(public, name) for name in public.__all__]
    kinds = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Inferencer)]
    assert len(kinds) == 8
    for kind in kinds:
        assert "Example:" in kind.__doc__


def test_all_hooks_are_called_in_order(make_trainer):
    calls = []

    def recorder(name):
        def noted(hook):
            def method(self, *values):
                calls.append((name, hook))
                if hook == "trigger_epoch":
                    self.trigger()

            return method

        return type(name, (Callback,), {hook: noted(hook) for hook in HOOKS})()

    make_trainer(recorder("a"), recorder("b"), steps_per_epoch=1, max_epoch=1).run()
    both = lambda *hooks: [(name, hook) for hook in hooks for name in "ab"]  # noqa: E731
    assert calls == [
        *both("setup_graph", "before_train", "before_epoch", "before_run", "after_run", "trigger_step", "after_epoch"),
        ("a", "trigger_epoch"), ("a", "trigger"), ("b", "trigger_epoch"), ("b", "trigger"),
        *both("after_train"),
    ]  # fmt: skip
