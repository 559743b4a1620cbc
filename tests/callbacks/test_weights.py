"""The moving average of the weights, and the learning rate finder."""

import cv2
import numpy as np
import pytest

from flowtrain.callbacks import EMA, Callback, LRFinder
from flowtrain.utils import FlowtrainError


class Look(Callback):
    def __init__(self):
        self.seen = []

    def trigger(self):
        self.seen.append(float(self.trainer.get_variable("weight")))


def averaged(decay, steps):
    average = 0.0
    for step in range(1, steps + 1):
        kept = min(decay, (step - 1) / (9 + step - 1))
        average = kept * average + (1 - kept) * step  # the weight after each step is the step's number
    return average


def test_the_average_follows_its_formula_and_stands_in_for_the_weights(make_trainer):
    held, beside = Look(), Look()
    ema = EMA(0.7, held)
    trainer = make_trainer(ema, beside).run()
    expected = [averaged(0.7, steps) for steps in (4, 8, 12)]
    np.testing.assert_allclose(held.seen, expected, rtol=1e-5)
    assert beside.seen == [4.0, 8.0, 12.0]
    np.testing.assert_allclose(ema.get_weights()["weight"], expected[-1], rtol=1e-5)
    with pytest.raises(ZeroDivisionError), ema.applied():
        np.testing.assert_allclose(trainer.get_weights()["weight"], expected[-1], rtol=1e-5)
        1 / 0
    assert trainer.get_weights()["weight"] == 12.0
    assert {"average/weight", "average/steps"} <= set(trainer.variable_names())


def test_the_average_starts_from_loaded_weights(make_trainer):
    ema = EMA(0.999)
    trainer = make_trainer(ema)
    trainer.set_variable("weight", 100.0)
    trainer.run()
    assert 101.0 < ema.get_weights()["weight"] < 112.0


def test_a_decay_is_a_share():
    with pytest.raises(FlowtrainError, match="such as"):
        EMA(1.5)


def test_the_finder_suggests_a_rate_where_the_cost_falls(make_trainer, tmp_path):
    state = {"cost": 10.0}

    def train(trainer):  # the cost falls fast for rates about 0.01 and rises from 0.3 on
        rate = float(trainer.get_variable("learning_rate"))
        state["cost"] *= np.exp(-0.1 * np.exp(-(np.log10(rate / 0.01) ** 2))) * (1.2 if rate > 0.3 else 1.0)

    finder = LRFinder("cost", start=1e-5, end=10.0, steps=120)
    tensors = {"cost": lambda step: state["cost"]}
    trainer = make_trainer(finder, tensors=tensors, step=train, steps_per_epoch=500).run()
    assert 0.003 < finder.suggestion < 0.03
    assert trainer.stop_reason is not None and f"{finder.suggestion:.2g}" in trainer.stop_reason
    assert len(finder.rates) == len(finder.costs) <= 120
    assert finder.rates[0] == pytest.approx(1e-5) and max(finder.rates) > 0.3
    assert cv2.imread(str(tmp_path / "lr_finder.png")).std() > 5
    assert trainer.get_variable("weight") == 0.0
    assert trainer.get_variable("learning_rate") == pytest.approx(0.1)
    assert trainer.get_variable("global_step") == trainer.global_step

    steps, trainer.stop_reason = len(finder.rates), None  # go on, as in a notebook
    trainer.run()
    assert len(finder.rates) == steps and trainer.get_variable("learning_rate") == pytest.approx(0.1)


def test_the_finder_searches_in_one_process(make_trainer):
    with pytest.raises(FlowtrainError, match="searches in one process"):
        make_trainer(LRFinder(), workers=2)


def test_the_finder_says_when_the_cost_never_falls(make_trainer):
    finder = LRFinder("cost", steps=50)
    trainer = make_trainer(finder, tensors={"cost": lambda step: 1.0 + step}, steps_per_epoch=100).run()
    assert finder.suggestion is None and "never fell" in trainer.stop_reason


@pytest.mark.parametrize("options", [{"start": 1.0, "end": 0.1}, {"steps": 3}, {"smoothing": 1.0}])
def test_a_range_that_makes_no_sense_is_refused(options):
    with pytest.raises(FlowtrainError, match="LRFinder"):
        LRFinder("cost", **options)
