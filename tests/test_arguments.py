"""A misspelt argument of anything public is answered with the one that was meant."""

from __future__ import annotations

import inspect

import pytest

import flowtrain as ft
import flowtrain.callbacks
import flowtrain.dataflow
import flowtrain.monitors
import flowtrain.report
from flowtrain.utils.arguments import UnknownArgument

HOMES = (ft, flowtrain.dataflow, ft.imgaug, flowtrain.callbacks, flowtrain.monitors, flowtrain.report)
PYTHONS_OWN = {
    # each error of a run or a model goes through them, with a frame more
    "train", "Trainer", "SimpleTrainer", "NoOpTrainer", "ModelGraph",
    "parse_tensor", "to_tensor",  # for each record or batch
    "layer_register",  # its overloads say what it takes
    "Step", "TowerContext", "LoadReport", "RunFolder", "BinaryCounts", "FunctionTransform", "TransformList",
    "Predictor", "LoadedPredictor", "LinearWrap",  # flowtrain makes them
}  # fmt: skip


def arguments(thing):
    """The names that can be misspelt; of a function with a single argument, nobody names it."""
    parameters = inspect.signature(thing).parameters.values()
    optional = [p for p in parameters if p.default is not p.empty]
    if any(p.kind is p.VAR_KEYWORD for p in parameters) or (inspect.isfunction(thing) and not optional):
        return []
    return [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]


def is_checked(thing):
    ours = (inspect.isfunction(thing) or inspect.isclass(thing)) and thing.__module__.startswith("flowtrain.")
    return ours and not (inspect.isclass(thing) and issubclass(thing, (BaseException, tuple, int)))


THINGS = {
    f"{thing.__module__}.{name}": thing
    for home in HOMES
    for name in home.__all__
    if is_checked(thing := getattr(home, name)) and name not in PYTHONS_OWN and arguments(thing)
}


@pytest.mark.parametrize("thing", THINGS.values(), ids=list(THINGS))
def test_a_misspelt_argument_is_answered(thing):
    for name in arguments(thing):
        wrong = f"{name}s" if f"{name}s" not in arguments(thing) else f"{name}ss"
        with pytest.raises(UnknownArgument, match=rf"^{thing.__name__} has no argument '{wrong}'\. "):
            thing(**{wrong: 1})


def test_most_things_are_walked():
    assert len(THINGS) > 190


def test_the_message_and_the_signature():
    ds = ft.DataFromList([[1]])
    with pytest.raises(TypeError, match=r"^BatchData has no argument 'batchsize'\. Did you mean 'batch_size'\?$"):
        ft.BatchData(ds, batchsize=4)
    assert list(inspect.signature(ft.BatchData).parameters)[:2] == ["ds", "batch_size"]
    with pytest.raises(UnknownArgument, match="Mnist has no argument 'splitt'"):
        ft.Mnist(splitt="train")


def test_classes_of_others_are_left_as_they_are():
    class Own(ft.DataFlow):
        def __init__(self, path):
            self.path = path

    assert not hasattr(Own.__init__, "__wrapped__")
    with pytest.raises(TypeError, match="unexpected keyword argument 'pth'"):
        Own(pth=1)
