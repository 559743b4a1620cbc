"""Checks of arguments: bounds, old spellings, signatures that editors see."""

import inspect

import numpy as np
import pytest

from flowtrain.dataflow import DataFromList, JoinData
from flowtrain.utils.arguments import (
    OldName,
    UnknownArgument,
    check_choice,
    check_int,
    check_names,
    check_seconds,
    if_given,
    missing_name,
    old_spellings,
    refuse_class,
)
from flowtrain.utils.errors import ConfigError, DataFlowError, closest, first_few


@pytest.mark.parametrize("value", [1, 7, np.int64(3), np.uint8(200)])
def test_whole_numbers_pass_as_int(value):
    number = check_int("Stage", "count", value)
    assert number == value
    assert type(number) is int


@pytest.mark.parametrize("value", [0, -1, 1.0, "3", None, True, np.bool_(True), np.float32(2), [1], np.array([1, 2])])
def test_anything_else_is_refused_with_owner_name_and_value(value):
    with pytest.raises(ConfigError, match=r"Stage: count must be a whole number of at least 1, got"):
        check_int("Stage", "count", value)


def test_the_bounds_are_said():
    with pytest.raises(ConfigError, match="a whole number from 0 to 100, got 101"):
        check_int("JpegNoise", "quality", 101, least=0, most=100)
    with pytest.raises(ConfigError, match="a whole number, got 'x'"):
        check_int("Stage", "shift", "x", least=None)
    assert check_int("Stage", "shift", -5, least=None) == -5


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf"), True, "3"])
def test_seconds(value):
    with pytest.raises(ConfigError, match="Stage: timeout must be a number of seconds above 0"):
        check_seconds("Stage", "timeout", value)
    assert check_seconds("Stage", "timeout", 3) == 3.0


@old_spellings(nr_proc="num_proc", gone="Put Other(ds) beneath it")
class Stage:
    def __init__(self, ds, num_proc=2, *, buffer_size=10):
        self.given = ds, num_proc, buffer_size


def test_old_spellings_name_todays():
    with pytest.raises(UnknownArgument, match=r"^Stage has no argument 'nr_proc'. Write num_proc= instead.$"):
        Stage(1, nr_proc=3)
    with pytest.raises(UnknownArgument, match=r"^Stage has no argument 'gone'. Put Other\(ds\) beneath it.$"):
        Stage(1, gone=3)


def test_a_typo_is_answered_from_the_real_signature():
    with pytest.raises(TypeError, match=r"Stage has no argument 'buffersize'\. Did you mean 'buffer_size'\?"):
        Stage(1, buffersize=3)


def test_what_is_right_passes_and_the_signature_stays():
    assert Stage(1, 3, buffer_size=4).given == (1, 3, 4)
    assert list(inspect.signature(Stage).parameters) == ["ds", "num_proc", "buffer_size"]


def test_a_function_that_takes_anything_refuses_only_old_spellings():
    @old_spellings(nl="activation")
    def layer(x, activation=None, **options):
        return options

    assert layer(1, other=2) == {"other": 2}
    with pytest.raises(UnknownArgument, match=r"layer has no argument 'nl'\. Write activation= instead"):
        layer(1, nl=3)


def test_a_class_that_others_derive_from_keeps_their_arguments_out():
    class Derived(Stage):
        def __init__(self, ds, extra):
            super().__init__(ds, buffer_size=extra)

    assert Derived(1, 5).given == (1, 2, 5)


def test_names_are_told_with_one_wording():
    error = missing_name("ft", "Old", ["New"], {"Old": "New"})
    assert isinstance(error, OldName)
    assert str(error) == "ft has no 'Old'. Write New instead."
    error = missing_name("ft", "BatchDta", ["BatchData"], {})
    assert isinstance(error, AttributeError)
    assert str(missing_name("ft", "Old", [], {"Old": "A, or B"})) == "ft has no 'Old'. Write A, or B."
    assert str(error) == "ft has no 'BatchDta'. Did you mean 'BatchData'?"


def test_too_many_by_position_names_those_that_there_are():
    with pytest.raises(UnknownArgument, match=r"Stage takes 2 arguments by position \(ds, num_proc\), got 3\."):
        Stage(1, 2, 3)
    with pytest.raises(TypeError, match=r"JoinData takes .* \(flows\), got 2\. .* go into a list: \[a, b\]"):
        JoinData(DataFromList([[1]]), DataFromList([[2]]))


@pytest.mark.parametrize(
    ("name", "known", "answer"),
    [
        ("RandomFlip", ["RandomCrop", "RandomResize", "RandomPaste", "Flip"], "Did you mean 'Flip' or 'RandomCrop'"),
        ("testdataspeed", ["TestDataSpeed", "TestData"], "Did you mean 'TestDataSpeed'?"),
        ("getData", ["get_data", "TakeData"], "Did you mean 'get_data'?"),
        ("logit/output", ["output", "logits/output"], "Did you mean 'logits/output' or 'output'?"),
        ("logits", ["cost", "classifier/logits/output"], "Did you mean 'classifier/logits/output'?"),
        ("xyz", ["cost"], "There are: cost."),
        ("xyz", [f"c{n:02}" for n in range(21)], "There are 21: c00, c01, "),
        ("xyz", [], "There are none."),
    ],
)
def test_the_names_that_may_have_been_meant(name, known, answer):
    assert closest(name, known).startswith(answer)


@pytest.mark.parametrize("value", ["keep", 8, np.int64(8), None])
def test_one_of_a_few_values_passes_as_it_is(value):
    assert check_choice("read_image", "depth", value, ("keep", 8, None)) is value


@pytest.mark.parametrize("value", ["Keep", True, False, 16, ["keep"], np.zeros(3)])
def test_any_other_value_is_refused_with_all_that_are_allowed(value):
    with pytest.raises(ConfigError, match=r"^read_image: depth must be 'keep', 1 or 0, got "):
        check_choice("read_image", "depth", value, ("keep", 1, 0))
    with pytest.raises(DataFlowError, match=r"^TarData: decode must be 'keep' or a function, got "):
        check_choice("TarData", "decode", value, ("keep",), DataFlowError, also="a function")


def test_long_lists_are_cut_and_counted():
    assert first_few("abc", 3) == "a, b, c"
    assert first_few(iter("abcde"), 3) == "a, b, c and 2 more"
    assert first_few([]) == ""


@pytest.mark.parametrize("value", [["a", "b"], ("a", "b"), {"a": 1, "b": 2}.keys(), np.array(["a", "b"]).tolist()])
def test_names_pass_as_a_list(value):
    assert check_names("show", "titles", value, known=["a", "b", "c"]) == ["a", "b"]
    assert if_given(check_names, "show", "titles", value) == ["a", "b"]
    assert if_given(check_names, "show", "titles", None) is None


@pytest.mark.parametrize("value", [["a", 1], {"a", "b"}, {"a": 1}, iter(["a"]), 3, None, b"a"])
def test_what_is_no_list_of_names_is_refused(value):
    with pytest.raises(ConfigError, match=r"^show: titles must be a list of names, got "):
        check_names("show", "titles", value)


def test_a_single_name_is_answered_with_the_list_of_it():
    with pytest.raises(DataFlowError, match=r"^show: titles must be a list of names, got 'ab': write \['ab'\]$"):
        check_names("show", "titles", "ab", DataFlowError)
    with pytest.raises(ConfigError, match=r"^show: titles must be a list of names, at least one, got \[\]$"):
        check_names("show", "titles", [], least=1)
    with pytest.raises(ConfigError, match=r"^show has no 'lable'\. Did you mean 'label'\?$"):
        check_names("show", "titles", ["lable"], known=["label", "image"])


def test_a_class_is_no_object():
    refuse_class("the model", 3)
    with pytest.raises(ConfigError, match=r"^the model must be an object, not its class: dict\(\)$"):
        refuse_class("the model", dict)
