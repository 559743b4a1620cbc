"""Which weights are saved, under which name."""

import math

import pytest

from flowtrain.callbacks import BestSaver, Callback, MaxSaver, MinSaver, ModelSaver, PeriodicTrigger
from flowtrain.utils import FlowtrainError


class Log(Callback):
    """Logs given values, one each epoch (None: nothing)."""

    def __init__(self, *values, name="stat"):
        self.values, self.stat = values, name

    def trigger(self):
        value = self.values[self.epoch_num - 1]
        if value is not None:
            self.trainer.monitors.put_scalar(self.stat, value, self.global_step)


def test_the_newest_are_saved_and_the_last_always(make_trainer):
    trainer = make_trainer(ModelSaver(every=2), max_epoch=5).run()
    assert [step for _, step, _ in trainer.saved] == [8, 16, 20]


def test_an_early_end_is_saved_too(make_trainer):
    class Stop(Callback):
        def trigger_step(self):
            if self.global_step == 6:
                self.trainer.stop("enough")

    for callbacks in ([ModelSaver(), Stop()], [Stop(), ModelSaver()]):
        trainer = make_trainer(*callbacks).run()
        assert [step for _, step, _ in trainer.saved] == [4, 6]


@pytest.mark.parametrize("order", [1, -1])
def test_the_best_are_saved_with_the_weights_they_were_measured_on(make_trainer, order):
    values = [5.0, 3.0, math.nan, 4.0, 2.0, 6.0]
    callbacks = [Log(*values), MinSaver("stat"), MaxSaver("stat", name="high")][::order]
    trainer = make_trainer(*callbacks, max_epoch=6).run()
    low = [save[1:] for save in trainer.saved if save[0] == "best-stat"]
    high = [save[1:] for save in trainer.saved if save[0] == "high"]
    assert low == [(4, 4.0), (8, 8.0), (20, 20.0)]
    assert high == [(4, 4.0), (24, 24.0)]


def test_several_best_keep_their_places(make_trainer):
    saver = BestSaver("stat", mode="max", keep=2)
    trainer = make_trainer(Log(1.0, 3.0, 2.0, 0.0, 4.0), saver, max_epoch=5).run()
    assert [save[0] for save in trainer.saved] == ["best-stat-1", "best-stat-2", "best-stat-1", "best-stat-1"]
    assert saver.best == 4.0 and sorted(value for value, *_ in saver._kept) == [3.0, 4.0]


def test_a_name_that_nobody_logs_is_an_error_at_the_first_epochs_end(make_trainer):
    trainer = make_trainer(MinSaver("stats"), Log(1.0, 2.0, 3.0))
    with pytest.raises(FlowtrainError, match=r"'stats'.*'stat'"):
        trainer.run()
    assert trainer.global_step == 4


def test_a_name_that_nobody_logs_is_an_error_in_a_run_of_one_epoch(make_trainer):
    with pytest.raises(FlowtrainError, match="'stats'"):
        make_trainer(MinSaver("stats"), Log(1.0), max_epoch=1).run()


def test_a_name_that_is_logged_every_few_epochs_is_waited_for(make_trainer):
    late = PeriodicTrigger(Log(None, None, 1.0, 1.0), every_k_epochs=3)
    trainer = make_trainer(MinSaver("stat"), late, max_epoch=4).run()
    assert [save[1] for save in trainer.saved] == [12]
    late = PeriodicTrigger(Log(None, None, 1.0, 1.0), every_k_epochs=3)
    trainer = make_trainer(MinSaver("other"), late, max_epoch=9)
    with pytest.raises(FlowtrainError, match="'other'"):
        trainer.run()
    assert trainer.epoch_num == 4


def test_two_that_write_one_file_are_refused(make_trainer):
    with pytest.raises(FlowtrainError, match="best-stat"):
        make_trainer(MinSaver("stat"), MaxSaver("stat"))


def test_wrong_arguments_are_named():
    with pytest.raises(FlowtrainError, match="'min' or 'max'"):
        BestSaver("stat", mode="lowest")
    with pytest.raises(TypeError, match="mode"):
        BestSaver("stat")
    with pytest.raises(FlowtrainError, match="keep must be a whole number of at least 1, got 0"):
        ModelSaver(keep=0)
    with pytest.raises(FlowtrainError, match="file name"):
        MinSaver("stat", name="../elsewhere")


@pytest.mark.parametrize("mode", ["min", "max"])
def test_what_was_best_in_another_mode_is_forgotten(make_trainer, mode, caplog):
    other = {"min": "max", "max": "min"}[mode]
    state = make_trainer(Log(5.0, 1.0, 3.0), BestSaver("stat", other)).run().state_dict()
    again = make_trainer(Log(5.0, 1.0, 3.0, 3.5, 3.2), BestSaver("stat", mode), max_epoch=5)
    again.load_state_dict(state).run()
    assert [save[1] for save in again.saved] == {"min": [16, 20], "max": [16]}[mode]
    assert f"its mode is {mode!r}" in caplog.text
