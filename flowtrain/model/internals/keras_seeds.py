"""What is used of Keras's random numbers beyond its public interface; docstrings as in `.keras_private`."""

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
    """The Keras variable that is making a ``tf.Variable`` with this initial value, if one is, else None.

    Relies on: the function that Keras gives as initial value closing over the variable as ``self``.
    Else: Keras's variables are taken for a user's own, and named after the ``tf.Variable``.
    """
    owner = _closure(initial_value).get("self") if callable(initial_value) else None
    return owner if isinstance(owner, keras.Variable) else None


def seeded_initial_value(initial_value: object, seed: int) -> object:
    """The same initial value, drawn from ``seed`` wherever it was random and had no seed of its own.

    Relies on: that function closing over ``initializer`` too; ``RandomInitializer._init_seed`` and
    ``SeedGenerator._initial_seed``, which are None where a user gave no seed; ``Variable._dtype``, which unlike
    ``dtype`` does not depend on the layer that runs.
    Else: ``keras.utils.set_random_seed`` before the build, where values depend on what was drawn before.
    """
    if not callable(initial_value):
        return initial_value
    owner = keras_owner(initial_value)
    initializer: Any = _closure(initial_value).get("initializer") if owner is not None else None
    shape, dtype = (owner.shape, owner._dtype) if owner is not None else (None, None)
    if isinstance(initializer, RandomInitializer):
        if initializer._init_seed is not None:
            return initial_value
        seeded: Any = copy.copy(initializer)
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
    """Start the random numbers of a layer that was made elsewhere, without a seed, from ``seed``.

    Relies on: ``SeedGenerator._initial_seed``, None where a user gave no seed; its state, (seed, count).
    Else: two runs of such a layer differ unless it is given a seed.
    """
    for generator in vars(layer).values():
        if isinstance(generator, keras.random.SeedGenerator) and generator.state is variable:
            if generator._initial_seed is None:
                variable.assign([seed, 0])
            return


_draw = keras.random.SeedGenerator.next
_changing: list[Callable[[tf.Tensor], tf.Tensor]] = []  # one for each thread that is inside `seeds_changed`
_changing_lock = threading.Lock()


def _draw_changed(generator: keras.random.SeedGenerator, ordered: bool = True) -> tf.Tensor:
    seed = _draw(generator, ordered=ordered)
    change = _changing[0] if _changing else None
    return seed if change is None else change(seed)


@contextlib.contextmanager
def seeds_changed(change: Callable[[tf.Tensor], tf.Tensor]) -> Iterator[None]:
    """While inside, every seed that a ``SeedGenerator`` draws, in any thread, goes through a function.

    Replicas are traced in threads of TensorFlow's own, so this is one switch of the process. Several may be inside at a
    time, with functions that do the same; the last one out puts Keras's method back.

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
