"""Values that move during training."""

import logging
import math

import pytest

from flowtrain.callbacks import (
    Callback,
    HumanHyperParamSetter,
    HyperParamSetterWithFunc,
    ScheduledHyperParamSetter,
    StatMonitorParamSetter,
    schedules,
)
from flowtrain.utils import FlowtrainError


class Track(Callback):
    def __init__(self, param="learning_rate"):
        self.param, self.rates = param, []

    def before_run(self):
        self.rates.append(round(float(self.trainer.get_variable(self.param)), 6))


def rates(make_trainer, setter, **options):
    track = Track()
    make_trainer(setter, track, **options).run()
    return track.rates


def test_pairs_mean_after_so_many_epochs(make_trainer):
    setter = ScheduledHyperParamSetter("learning_rate", [(1, 0.01), (2, 0.001)])
    assert rates(make_trainer, setter, steps_per_epoch=2) == [0.1, 0.1, 0.01, 0.01, 0.001, 0.001]


def test_pairs_may_count_steps_and_wake_only_then(make_trainer):
    setter = ScheduledHyperParamSetter("learning_rate", [(0, 0.5), (3, 0.25)], step_based=True)
    assert rates(make_trainer, setter, steps_per_epoch=5, max_epoch=1) == [0.5, 0.5, 0.5, 0.25, 0.25]
    alone = make_trainer(ScheduledHyperParamSetter("learning_rate", [(0, 1.0), (3, 0.5)], step_based=True)).run()
    assert alone.told == [3]


def test_pairs_are_joined(make_trainer):
    setter = ScheduledHyperParamSetter("learning_rate", [(0, 0.0), (4, 1.0)], "linear", step_based=True)
    assert rates(make_trainer, setter, max_epoch=1) == [0.0, 0.25, 0.5, 0.75]
    setter = ScheduledHyperParamSetter("learning_rate", [(1, 1.0), (3, 0.0)], "linear")
    assert rates(make_trainer, setter, steps_per_epoch=1) == [0.1, 1.0, 0.5]


def test_a_schedule_is_a_function_of_what_is_done(make_trainer):
    setter = ScheduledHyperParamSetter("learning_rate", schedules.polynomial(0.9, 3))
    assert rates(make_trainer, setter, steps_per_epoch=1) == [0.9, 0.6, 0.3]


def test_functions_of_position_and_value(make_trainer):
    setter = HyperParamSetterWithFunc("learning_rate", lambda epoch, value: value / 2 if epoch else None)
    assert rates(make_trainer, setter, steps_per_epoch=1) == [0.1, 0.05, 0.025]
    setter = HyperParamSetterWithFunc("learning_rate", lambda step: 1.0 / (step + 1), step_based=True)
    assert rates(make_trainer, setter, max_epoch=1) == [1.0, 0.5, 0.333333, 0.25]


def test_a_run_that_goes_on_inside_an_epoch_sets_nothing_twice(make_trainer):
    def halve():
        return HyperParamSetterWithFunc("learning_rate", lambda epoch, value: value / 2)

    first = make_trainer(halve())
    first.epoch_num = 1
    first.tell("before_epoch")
    first.run_step()
    second = make_trainer(halve()).load_state_dict(first.state_dict())
    second.tell("before_epoch")
    assert float(second.get_variable("learning_rate")) == pytest.approx(0.05)
    second.epoch_num = 2
    second.tell("before_epoch")
    assert float(second.get_variable("learning_rate")) == pytest.approx(0.025)


def test_a_human_turns_the_knob(make_trainer, tmp_path, caplog):
    class Human(Callback):
        def after_epoch(self):
            lines = {1: "weight: 3\nlearning_rate: 0.5\n", 2: "learning_rate: fast\n"}
            (tmp_path / "hyper.txt").write_text(lines.get(self.epoch_num, ""))

    track = Track()
    make_trainer(HumanHyperParamSetter("learning_rate"), Human(), track, steps_per_epoch=1).run()
    assert track.rates == [0.1, 0.5, 0.5]
    assert "'fast' is not a finite number" in caplog.text


@pytest.mark.parametrize(
    "content,said",
    [
        (b"learning_rate: nan", "'nan' is not a finite"),
        (b"learning_rate: -inf", "'-inf' is not a finite"),
        (b"learning_rate: 1e300", "'1e300' is not a finite"),
        (b"learning_rate: 0.5 # caf\xe9", "not UTF-8 text from byte 24"),
        (b"\xff\xfel\x00r\x00", "not UTF-8 text from byte 0"),
        (b"", ""),
        (b"learning_rate", "'' is not a finite"),
    ],
)
def test_what_a_human_writes_wrongly_sets_nothing(make_trainer, tmp_path, caplog, content, said):
    (tmp_path / "hyper.txt").write_bytes(content)
    assert rates(make_trainer, HumanHyperParamSetter("learning_rate"), max_epoch=1) == [0.1] * 4
    assert said in caplog.text


@pytest.mark.parametrize("content", [b"note: caf\xe9\nlearning_rate: 0.5\n", b"\xef\xbb\xbflearning_rate: 0.5\r\n"])
def test_a_line_that_can_be_read_counts(make_trainer, tmp_path, content):
    (tmp_path / "hyper.txt").write_bytes(content)
    assert rates(make_trainer, HumanHyperParamSetter("learning_rate"), max_epoch=1) == [0.5] * 4


@pytest.mark.parametrize(
    "setter",
    [
        lambda: HyperParamSetterWithFunc("learning_rate", lambda epoch: math.nan),
        lambda: ScheduledHyperParamSetter("learning_rate", lambda epoch: math.nan),
        lambda: ScheduledHyperParamSetter("learning_rate", lambda step: math.nan, step_based=True),
    ],
)
def test_a_function_that_gives_nan_is_an_error(make_trainer, setter):
    with pytest.raises(FlowtrainError, match="'learning_rate' to NaN"):
        make_trainer(setter()).run()


@pytest.mark.parametrize("order", [1, -1])
def test_a_plateau_changes_the_value(make_trainer, order):
    class Log(Callback):
        def trigger(self):
            self.trainer.monitors.put_scalar("loss", [3, 2, 2, 1.99, 1, 1, 1][self.epoch_num - 1], self.global_step)

    setter = StatMonitorParamSetter("learning_rate", "loss", lambda x: x / 10, mode="min", patience=2, min_delta=0.1)
    track = Track()
    make_trainer(*[Log(), setter][::order], track, steps_per_epoch=1, max_epoch=7).run()
    assert track.rates == [0.1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01]


def test_any_variable_can_be_set(make_trainer):
    track = Track("optimizer/momentum/weight")
    setter = ScheduledHyperParamSetter("optimizer/momentum/weight", [(0, 7.0)])
    make_trainer(setter, track, max_epoch=1).run()
    assert track.rates == [7.0] * 4


def test_the_chief_alone_sets_nothing_inside_an_epoch(make_trainer):
    class Log(Callback):
        def trigger_step(self):
            self.trainer.monitors.put_scalar("loss", 1.0, self.global_step)

    setter = StatMonitorParamSetter("learning_rate", "loss", lambda rate: rate / 2, mode="min", patience=1)
    trainer = make_trainer(Log(), setter, workers=2)
    with pytest.raises(FlowtrainError, match=r"sets 'learning_rate' inside an epoch.*at the end of epochs"):
        trainer.run()


def test_changes_are_logged(make_trainer, caplog):
    with caplog.at_level(logging.INFO, "flowtrain"):
        make_trainer(ScheduledHyperParamSetter("learning_rate", [(1, 0.01)])).run()
    assert [r.getMessage() for r in caplog.records] == [
        "ScheduledHyperParamSetter(learning_rate): learning_rate from 0.1 to 0.01 after step 4"
    ]


def test_unknown_names_are_refused_before_any_step(make_trainer):
    with pytest.raises(FlowtrainError, match=r"'learning_rat'.*'learning_rate'"):
        make_trainer(ScheduledHyperParamSetter("learning_rat", [(0, 1.0)]))
    with pytest.raises(FlowtrainError, match=r"beta_1=get_scalar_var\(\"beta_1\", 0.9\)"):
        make_trainer(HyperParamSetterWithFunc("beta_1", lambda epoch: 0.5))


@pytest.mark.parametrize(
    "call,word",
    [
        (lambda: ScheduledHyperParamSetter("lr", [(3, 1.0), (2, 1.0)]), "grow"),
        (lambda: ScheduledHyperParamSetter("lr", lambda p: p, "linear"), "interpolation"),
        (lambda: ScheduledHyperParamSetter(0.1, [(0, 1.0)]), "name of a variable"),
        (lambda: HyperParamSetterWithFunc("lr", lambda: 1.0), "position"),
        (lambda: StatMonitorParamSetter("lr", "loss", abs, mode="down"), '"min"'),
    ],
)
def test_mistakes_are_named(call, word):
    with pytest.raises(FlowtrainError, match=word):
        call()
