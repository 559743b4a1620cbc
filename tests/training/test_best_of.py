"""The best checkpoints of a run that goes on with other arguments: what is kept, under which names."""

import json

import pytest

from flowtrain.callbacks import BestSaver, Callback, ModelSaver, PeriodicTrigger
from flowtrain.training import train
from flowtrain.utils.errors import ConfigError

from .helpers import PlainClassifier, Points, config

VALUES = [5, 1, 2, 3, 9, 8, 7, 6]  # of each epoch


class Score(Callback):
    def trigger_epoch(self):
        self.trainer.monitors.put_scalar("score", VALUES[self.epoch_num - 1], self.global_step)


def run(folder, epochs, resume=None, **arguments):
    arguments = {"mode": "min", **arguments}
    callbacks = [ModelSaver(), Score(), BestSaver("score", **arguments)]
    options = {"model": PlainClassifier(), "dataflow": Points(1), "max_epoch": epochs, "callbacks": callbacks}
    train(config(folder, monitors=[], default_callbacks=[], **options), resume=resume)
    return callbacks[-1].best


def best(folder):
    """Name -> the value that it was saved for."""
    paths = [path for path in (folder / "checkpoints").iterdir() if not path.name.startswith("step-")]
    return {path.name: VALUES[json.loads((path / "manifest.json").read_text())["epoch"] - 1] for path in paths}


@pytest.mark.parametrize(
    "then,now,expected",
    [
        ({"keep": 2}, {}, {"best-score": 1}),
        ({"keep": 3}, {"keep": 2}, {"best-score-1": 2, "best-score-2": 1}),
        ({}, {"keep": 3}, {"best-score-1": 1, "best-score-2": 7, "best-score-3": 6}),
        ({"keep": 2}, {"keep": 2}, {"best-score-1": 2, "best-score-2": 1}),
        ({}, {"name": "top"}, {"top": 1}),
        ({"keep": 3, "name": "a"}, {"keep": 1, "name": "b"}, {"b": 1}),
        ({"keep": 3, "mode": "max"}, {"keep": 2, "mode": "max"}, {"best-score-1": 8, "best-score-2": 9}),
    ],
)
def test_another_keep_or_name_goes_on_with_the_best(tmp_path, then, now, expected):
    run(tmp_path, 4, **then)
    found = run(tmp_path, 8, resume="auto", **now)
    assert best(tmp_path) == expected
    assert found == (max if now.get("mode") == "max" else min)(expected.values())


def test_and_back_again(tmp_path):
    for epochs, keep in ((3, 3), (4, 1), (5, 2), (8, 3)):
        run(tmp_path, epochs, resume="auto", keep=keep)
        values = best(tmp_path).values()
        assert len(values) <= keep and min(values) == 1


@pytest.mark.parametrize("periodic", [False, True])
def test_two_callbacks_that_log_one_scalar_at_a_step_are_refused(tmp_path, periodic):
    second = PeriodicTrigger(Again(), every_k_epochs=1) if periodic else Again()
    callbacks = [Score(), second, BestSaver("score", "min")]
    with pytest.raises(ConfigError, match=r"Score and .*Again.* log the same scalar 'score' at step 1"):
        train(config(tmp_path, callbacks=callbacks, model=PlainClassifier(), dataflow=Points(1), monitors=[]))


def test_one_value_that_is_logged_in_two_ways_is_one_curve(tmp_path):
    """As by a PeriodicTrigger(MovingAverageSummary()) beside the one that all runs have."""
    callbacks = [Again(), PeriodicTrigger(Again(), every_k_epochs=1)]
    trainer = train(config(tmp_path, callbacks=callbacks, model=PlainClassifier(), dataflow=Points(1), monitors=[]))
    assert {value for _, value in trainer.history["score"]} == {0.0}


class Again(Callback):
    def trigger(self):
        self.trainer.monitors.put_scalar("score", 0.0, self.global_step)
