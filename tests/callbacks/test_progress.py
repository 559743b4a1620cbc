"""The bar, the time left and the speed."""

import logging

import pytest

from flowtrain.callbacks import EstimatedTimeLeft, ProgressBar, ThroughputTracker
from flowtrain.utils.errors import ConfigError


def test_the_bar_shows_epoch_loss_and_speed(make_trainer, capsys):
    averages = lambda step: {"l2_loss": 0.25, "cost": 1 / 3, "a": 1.0, "b": 2.0}  # noqa: E731
    make_trainer(ProgressBar(), averages=averages).run()
    shown = capsys.readouterr().err
    for words in ("epoch 3/3: 100%", "4/4", "step/s", "cost=0.3333, l2_loss=0.25, a=1"):
        assert words in shown
    assert "b=2" not in shown
    assert shown.count("\n") == 3


def test_the_bar_shows_what_it_is_told_to(make_trainer, capsys):
    make_trainer(ProgressBar(["a", "unknown"]), averages=lambda step: {"cost": 1.0, "a": 5.0}).run()
    shown = capsys.readouterr().err
    assert "a=5" in shown and "cost" not in shown


def test_fast_steps_are_not_told_one_by_one(make_trainer, capsys):
    trainer = make_trainer(ProgressBar(), steps_per_epoch=2000, max_epoch=1).run()
    assert 1 <= len(trainer.told) < 1000
    assert "2000/2000" in capsys.readouterr().err


def test_the_time_left_is_logged_but_for_the_last_epoch(make_trainer, caplog):
    with caplog.at_level(logging.INFO, "flowtrain"):
        make_trainer(EstimatedTimeLeft()).run()
    assert [record.getMessage().split("left")[1] for record in caplog.records] == [" for 2 epochs", " for 1 epoch"]


@pytest.mark.parametrize("wrong", [0, 2.5, "5"])
def test_the_median_is_of_a_whole_number_of_epochs(wrong):
    with pytest.raises(ConfigError, match="EstimatedTimeLeft: last_k_epochs must be a whole number of at least 1"):
        EstimatedTimeLeft(wrong)


def test_the_speed_is_logged_in_steps_or_samples(make_trainer):
    trainer = make_trainer(ThroughputTracker(), ThroughputTracker(samples_per_step=32)).run()
    steps, samples = trainer.history["steps_per_second"], trainer.history["samples_per_second"]
    assert [step for step, _ in steps] == [step for step, _ in samples] == [4, 8, 12]
    assert all(value > 0 for _, value in steps + samples)
