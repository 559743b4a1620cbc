"""Callbacks that could never work are refused, with what to write instead."""

import keras
import pytest

from flowtrain import callbacks
from flowtrain.callbacks import Callback
from flowtrain.callbacks.base import HOOKS
from flowtrain.callbacks.check import check_callback
from flowtrain.dataflow import DataFromList
from flowtrain.utils import FlowtrainError


def with_method(name, method=lambda self: None):
    return type("Mine", (Callback,), {name: method})()


@pytest.mark.parametrize("hook", HOOKS)
def test_old_spellings_name_todays(hook):
    with pytest.raises(FlowtrainError, match=rf"Mine defines _{hook}, which nothing calls\. Write {hook} instead\."):
        check_callback(with_method(f"_{hook}"))


@pytest.mark.parametrize(
    "wrong,right",
    [
        ("triger_epoch", "trigger_epoch"),
        ("before_trian", "before_train"),
        ("setup_graphs", "setup_graph"),
        ("load_state_dic", "load_state_dict"),
        ("on_epoch_end", "trigger_epoch"),
        ("on_train_begin", "before_train"),
    ],
)
def test_misspelt_hooks_name_the_nearest(wrong, right):
    with pytest.raises(FlowtrainError, match=right):
        check_callback(with_method(wrong))


@pytest.mark.parametrize(
    "name", ["export", "trigger_export", "run", "before", "_draw", "epoch_number", "write_image", "step_time"]
)
def test_other_names_are_free(name):
    check_callback(with_method(name))


@pytest.mark.parametrize(
    "name,method",
    [
        ("trigger_epoch", lambda self, epoch: None),
        ("after_run", lambda self: None),
        ("after_run", lambda self, context, values: None),
        ("before_run", lambda self, context: None),
        ("trigger", None),
    ],
)
def test_a_hook_that_cannot_be_called_is_refused(name, method):
    with pytest.raises(FlowtrainError, match=rf"Mine\.{name}.*[Ww]rite def {name}\(self"):
        check_callback(with_method(name, method))


def test_an_async_hook_is_refused():
    async def trigger(self):
        pass

    with pytest.raises(FlowtrainError, match="async"):
        check_callback(with_method("trigger", trigger))


def test_a_hook_with_a_yield_is_refused():
    def trigger(self):
        yield

    with pytest.raises(FlowtrainError, match=r"Mine\.trigger has a yield in it.*write def trigger\(self\)"):
        check_callback(with_method("trigger", trigger))


def test_a_name_that_is_a_method_is_refused():
    with pytest.raises(FlowtrainError, match=r"Mine\.name is a method and not a string.*@property"):
        check_callback(with_method("name", lambda self: "mine"))


def test_more_arguments_with_defaults_are_fine():
    check_callback(with_method("trigger_epoch", lambda self, quick=False: None))
    check_callback(with_method("after_run", lambda self, *values: None))


def test_mistakes_in_a_base_class_of_the_users_are_found():
    base = type("Base", (Callback,), {"_trigger_epoch": lambda self: None})
    with pytest.raises(FlowtrainError, match="_trigger_epoch"):
        check_callback(type("Derived", (base,), {})())


def test_what_is_no_callback_is_refused():
    with pytest.raises(FlowtrainError, match="must be an object, not its class: "):
        check_callback(Callback)
    with pytest.raises(FlowtrainError, match="expected a Callback"):
        check_callback(print)
    with pytest.raises(FlowtrainError, match=r"Keras's fit calls it, and nothing here does\. Write ModelSaver"):
        check_callback(keras.callbacks.ModelCheckpoint("weights.keras"))
    with pytest.raises(FlowtrainError, match=r"Write flowtrain\.EarlyStopping instead"):
        check_callback(keras.callbacks.EarlyStopping())


@pytest.mark.parametrize("given", ["cost", 3])
def test_what_is_no_list_of_inferencers_is_refused_as_a_whole(given):
    with pytest.raises(FlowtrainError, match=rf"takes a list of Inferencers, e\.g\. .*; got {given!r}\."):
        callbacks.InferenceRunner(DataFromList([[1]]), given)


@pytest.mark.parametrize(
    "call,today",
    [
        (lambda: callbacks.ModelSaver(max_to_keep=3), "keep="),
        (lambda: callbacks.MinSaver(monitor_stat="cost"), "monitor="),
        (lambda: callbacks.ScheduledHyperParamSetter("lr", [(0, 1.0)], interp="linear"), "interpolation="),
        (lambda: callbacks.ClassificationError(wrong_tensor_name="wrong"), "wrong="),
        (lambda: callbacks.InferenceRunner([], infs=[]), "inferencers="),
    ],
)
def test_old_names_of_arguments_name_todays(call, today):
    with pytest.raises(FlowtrainError, match=f"Write {today}"):
        call()
