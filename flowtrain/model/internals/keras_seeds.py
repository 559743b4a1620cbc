"""Private Keras used for random numbers; docstrings as in `.keras_private`."""

from __future__ import annotations

import contextlib
import copy
import inspect
import threading
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf
from keras.src.initializers.random_initializers import RandomInitializer

from .tensorflow_private import eager_seed

__all__ = [
    "keras_owner",
    "reseed",
    "seeded_initial_value",
    "seeds_changed",
]


def _closure(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return dict(inspect.getclosurevars(function).nonlocals)
    except (TypeError, ValueError):
        return {}


def keras_owner(initial_value: object) -> keras.Variable | None:
    """The Keras variable for which a ``tf.Variable`` with this initial value is being made; None if there is none.

    Relies on: the function that Keras passes as initial value closing over the Keras variable as ``self``.
    Else: Keras's variables are treated as a user's own, and named after the ``tf.Variable``.
    """
    owner = _closure(initial_value).get("self") if callable(initial_value) else None
    return owner if isinstance(owner, keras.Variable) else None


def seeded_initial_value(initial_value: object, seed: int) -> object:
    """Make an initial value deterministic: if it is random and has no seed of its own, it is drawn from ``seed``.

    Relies on: the function of `keras_owner` closing over ``initializer`` too; ``RandomInitializer._init_seed`` and
    ``SeedGenerator._initial_seed``, which are None if the user gave no seed; ``Variable._dtype``, which unlike
    ``dtype`` does not depend on the layer that runs.
    Else: ``keras.utils.set_random_seed`` before the build, with which values depend on what was drawn before.
    """
    if not callable(initial_value):
        return initial_value
    owner = keras_owner(initial_value)
    initializer: Any = _closure(initial_value).get("initializer") if owner is not None else None
    shape, dtype = (owner.shape, owner._dtype) if owner is not None else (None, None)
    if isinstance(initializer, RandomInitializer):
        if initializer._init_seed is not None:
            return initial_value
        seeded: Any = copy.copy(initializer)  # one initializer may serve several variables, each with a seed of its own
        seeded.seed = seed
        return lambda: seeded(shape, dtype=dtype)
    generator: Any = _closure(initializer).get("self") if callable(initializer) else None
    if isinstance(generator, keras.random.SeedGenerator):
        if generator._initial_seed is not None:
            return initial_value
        return lambda: tf.constant([seed, 0], dtype=dtype)

    def draw() -> object:
        with eager_seed(seed):
            return initial_value()

    return draw


def reseed(layer: keras.Layer, variable: keras.Variable, seed: int) -> None:
    """Restart a layer's random generator from ``seed``, if the variable is its state and the user gave it no seed.

    Relies on: ``SeedGenerator._initial_seed``, None if the user gave no seed; its state, (seed, count).
    Else: two runs of such a layer differ unless it is given a seed.
    """
    for generator in vars(layer).values():
        if isinstance(generator, keras.random.SeedGenerator) and generator.state is variable:
            if generator._initial_seed is None:
                variable.assign([seed, 0])
            return


_draw = keras.random.SeedGenerator.next
_changing: list[Callable[[tf.Tensor], tf.Tensor]] = []  # one entry for each thread that is inside `seeds_changed`
_changing_lock = threading.Lock()


def _draw_changed(generator: keras.random.SeedGenerator, ordered: bool = True) -> tf.Tensor:
    seed = _draw(generator, ordered=ordered)
    # Any entry will do, as all do the same. One step and no look at the length first: the last one out may empty the
    # list meanwhile.
    change = next(iter(_changing), None)
    return seed if change is None else change(seed)


@contextlib.contextmanager
def seeds_changed(change: Callable[[tf.Tensor], tf.Tensor]) -> Iterator[None]:
    """Scope in which every seed that a ``SeedGenerator`` draws, in any thread, is passed through a function.

    Replicas are traced in TensorFlow's own threads, so the scope is that of the process and not of the thread. Several
    may be open at a time, with functions that do the same; the last one to close restores Keras's method.

    Relies on: layers and ``keras.random`` drawing with ``SeedGenerator.next``, which is replaced.
    Else: all replicas drop out the same units; give each a generator of its own.

    Args:
        change: From a seed (2,) to another one.
    """
    with _changing_lock:
        _changing.append(change)
        keras.random.SeedGenerator.next = _draw_changed
    try:
        yield
    finally:
        with _changing_lock:
            _changing.remove(change)
            if not _changing:
                keras.random.SeedGenerator.next = _draw
