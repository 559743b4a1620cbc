"""Schedules against their closed forms."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowtrain.callbacks import schedules
from flowtrain.utils import FlowtrainError


def test_piecewise_holds_joins_and_ends():
    points = [(1, 1.0), (3, 0.01)]
    held = schedules.piecewise(points)
    assert [held(p) for p in (0, 1, 2.9, 3, 99)] == [1.0, 1.0, 1.0, 0.01, 0.01]
    assert schedules.piecewise(points, "linear")(2) == pytest.approx(0.505)
    assert schedules.piecewise(points, "log")(2) == pytest.approx(0.1)


@given(st.floats(0, 200))
def test_ramp_down_follows_its_formula(position):
    rate = schedules.cosine_squared_ramp_down(3e-4, total=200, fraction=0.3)
    t = max(0.0, (min(position, 200) - 140) / 60)
    assert rate(position) == pytest.approx(3e-4 * (0.5 + 0.5 * math.cos(math.pi * t)) ** 2, abs=1e-12)


def test_ramps_of_the_mri_experiment():
    rise, fall = schedules.gaussian_ramp_up(1.0, 10), schedules.gaussian_ramp_down(1.0, 300, 30)
    assert rise(4) == pytest.approx(math.exp(-5 * 0.6**2))
    assert rise(11) == 1.0
    assert fall(100) == 1.0
    assert fall(280) == pytest.approx(math.exp(-(5**2) / 30))
    assert schedules.product(rise, fall)(4) == rise(4)


def test_the_others_meet_their_ends():
    assert schedules.cosine(1.0, 10, end=0.2)(99) == pytest.approx(0.2)
    assert schedules.polynomial(1.0, 10, end=0.5)(5) == pytest.approx(0.75)
    assert schedules.exponential(1.0, 0.5, every=2)(4) == pytest.approx(0.25)
    assert schedules.step(1.0, every=2, factor=0.5)(5) == pytest.approx(0.25)
    warm = schedules.warm_up(schedules.cosine(1.0, 10), length=5)
    assert warm(0) == 0.0
    assert warm(5) == pytest.approx(0.5)
    assert warm(10) == pytest.approx(0.0)


@pytest.mark.parametrize(
    "call,word",
    [
        (lambda: schedules.piecewise([]), "at least one"),
        (lambda: schedules.piecewise([(3, 1.0), (1, 1.0)]), "grow"),
        (lambda: schedules.piecewise([0.1, 0.2]), "pairs"),
        (lambda: schedules.piecewise([(0, 0.0)], "log"), "positive"),
        (lambda: schedules.piecewise([(0, 0.0)], "cubic"), "cubic"),
        (lambda: schedules.cosine(1.0, 0), "total"),
        (lambda: schedules.cosine_squared_ramp_down(1.0, 10, 2.0), "fraction"),
    ],
)
def test_mistakes_are_named(call, word):
    with pytest.raises(FlowtrainError, match=word):
        call()
