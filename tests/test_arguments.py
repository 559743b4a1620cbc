"""A misspelt argument of any public class is answered with the one that was meant."""

from __future__ import annotations

import inspect

import pytest

import flowtrain as ft
import flowtrain.callbacks
import flowtrain.dataflow
import flowtrain.monitors
from flowtrain.utils.arguments import UnknownArgument

BASES = (ft.DataFlow, ft.imgaug.Augmentor, ft.Callback, flowtrain.monitors.Monitor, ft.Inferencer)
HOMES = (flowtrain.dataflow, ft.imgaug, flowtrain.callbacks, flowtrain.monitors)
CLASSES = {
    thing.__name__: thing
    for home in HOMES
    for thing in (getattr(home, name) for name in home.__all__)
    if inspect.isclass(thing) and issubclass(thing, BASES) and thing not in BASES
}


def arguments(cls):
    parameters = inspect.signature(cls).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return []
    return [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]


@pytest.mark.parametrize("cls", [cls for cls in CLASSES.values() if arguments(cls)], ids=lambda cls: cls.__name__)
def test_a_misspelt_argument_is_answered(cls):
    for name in arguments(cls):
        wrong = f"{name}s" if f"{name}s" not in arguments(cls) else f"{name}ss"
        with pytest.raises(UnknownArgument, match=rf"^{cls.__name__} has no argument '{wrong}'\. "):
            cls(**{wrong: 1})


def test_most_classes_are_walked():
    assert len([cls for cls in CLASSES.values() if arguments(cls)]) > 120


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
