"""Variables inside ``build_graph``, and the scopes that name, share and freeze them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import keras
import tensorflow as tf

from flowtrain.utils.arguments import check_choice, names_arguments
from flowtrain.utils.errors import ModelError, closest

from .internals import (
    adopt_variable,
    is_generator_state,
    is_unlifted,
    isolated_keras_state,
    keras_owner,
    raw_variable,
    seeded_initial_value,
    set_raw_variable,
    was_made_in_function,
)
from .tower import TowerContext, get_current_tower_context

__all__ = [
    "ScalarVariable",
    "freeze_variables",
    "get_scalar_var",
    "get_variable",
    "regularize_cost",
    "variable_scope",
]


@names_arguments
@contextlib.contextmanager
def variable_scope(name: str, reuse: bool | Literal["auto"] | None = None) -> Iterator[None]:
    """Scope that prefixes the names of layers and variables inside, and shares them on request.

    Example of sharing: a discriminator that is called on real and on fake pictures is called the second time with
    ``reuse=True``; the same names then mean the same variables.

    Args:
        name: The scope, e.g. ``"generator"``; ``"a/b"`` opens two.
        reuse: True: everything inside must exist already. False: everything must be new. ``"auto"``: it is made the
            first time and shared afterwards. None: as in the enclosing scope.

    Yields:
        Nothing.

    Raises:
        ModelError: Not inside ``build_graph``, or the name is not usable.

    Example:
        >>> def discriminator(x, reuse):  # doctest: +SKIP
        ...     with variable_scope("discriminator", reuse=reuse):
        ...         return FullyConnected("score", x, 1)
    """
    check_name(name, "scope")
    check_choice("variable_scope", "reuse", reuse, (True, False, "auto", None), ModelError)
    with get_current_tower_context().scope(name, reuse):
        yield


def check_name(name: object, what: str) -> None:
    """Refuse a name that a scope, layer or variable cannot have; ``what`` it would name is for the error."""
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9.][A-Za-z0-9_.\\/-]*", name) or name[-1] == "/":
        raise ModelError(
            f"{name!r:.80} cannot be the name of a {what}: it should be a string of letters, digits, '_', '.', "
            f"'-' (and '/' between scopes) that begins with a letter or digit."
        )


@contextlib.contextmanager
def variable_making(tower: TowerContext) -> Iterator[None]:
    """Scope in which making a ``tf.Variable`` (Keras's too) finds it in the tower's store, or adds it there."""
    if tower.making_variables:  # get_scalar_var opens it again: with two creators a variable would be named twice
        yield
        return

    def creator(next_creator: Callable[..., Any], **arguments: object) -> tf.Variable:
        return _find_or_make(tower, next_creator, arguments)

    tower.making_variables = True
    try:
        with tf.variable_creator_scope(creator):
            yield
    finally:
        tower.making_variables = False


@contextlib.contextmanager
def kept_apart(tower: TowerContext) -> Iterator[None]:
    """Scope for making metrics during a trace: code runs eagerly, and variables do not go into the store."""
    before, tower.apart = tower.apart, True
    try:
        with tf.init_scope(), isolated_keras_state(name_scope_stack=None):
            yield
    finally:
        tower.apart = before


def _find_or_make(tower: TowerContext, next_creator: Callable[..., Any], arguments: dict[str, Any]) -> tf.Variable:
    if tower.apart:  # of a metric, which keeps its variables itself
        return next_creator(**arguments)
    store = tower.store
    initial_value = arguments.get("initial_value")
    owner = keras_owner(initial_value)
    name = tower.variable_path(arguments.get("name") or "variable", owner)
    tower.touch(name)
    found = store.find(name)
    if found is not None:
        _check_same(name, found, owner, arguments)
        return raw_variable(found)
    if store.frozen:
        raise ModelError(
            f"the variable {name!r} does not exist in the model: it was not made when the model was built. "
            f"Variables must be the same in every trace of build_graph, for training and for inference, so they cannot "
            f"depend on is_training or on state that changes between calls."
        )
    # A tensor of the graph being traced cannot initialise a variable outside of it, unless its value is known now.
    if tf.is_tensor(initial_value) and hasattr(initial_value, "graph"):
        constant = tf.get_static_value(initial_value)
        if constant is None and is_generator_state(arguments):
            raise ModelError("make a tf.random.Generator outside of build_graph, e.g. in __init__ of the model.")
        if constant is None:
            raise ModelError(
                f"the initial value of the variable {name!r} is computed in the graph. Give a function "
                f"instead: tf.Variable(lambda: ...), or use get_variable(name, shape, initializer)."
            )
        arguments["initial_value"] = constant
    else:
        arguments["initial_value"] = seeded_initial_value(initial_value, store.seed_for(name))
    if tower.frozen_depth:  # now, while it is made: the optimizer takes its list of variables once, after the build
        arguments["trainable"] = False
        if owner is not None:  # the Keras variable has its own flag, which the store and optimizers read
            owner.trainable = False
    # init_scope lifts the variable out of the graph being traced. Made inside, it would belong to that graph, and the
    # next trace (inference, another batch shape) could not use it.
    try:
        with tf.init_scope():
            made = next_creator(**arguments)
    except ValueError as error:
        if not was_made_in_function(error):
            raise
        raise _inside_function(name) from error
    if is_unlifted(made):
        raise _inside_function(name)
    if owner is None:
        store.add(name, adopt_variable(made, name))
    else:
        set_raw_variable(owner, made)
        store.add(name, owner)
    return made


def _inside_function(name: str) -> ModelError:
    return ModelError(
        f"the variable {name!r} is made inside a tf.function that build_graph calls. build_graph is compiled as a "
        f"whole already: take the decorator @tf.function away from what it calls."
    )


def _check_same(name: str, found: keras.Variable, owner: keras.Variable | None, arguments: dict[str, Any]) -> None:
    asked = owner.shape if owner is not None else arguments.get("shape")
    if asked is None and not callable(arguments.get("initial_value")):  # tf.Variable(value) in build_graph
        asked = tf.convert_to_tensor(arguments["initial_value"]).shape
    if asked is not None and tuple(asked) != tuple(found.shape):
        raise ModelError(
            f"the variable {name!r} has shape {tuple(found.shape)}, but is now asked for with shape "
            f"{tuple(asked)}. Its input has another size here than where it was made."
        )


@names_arguments
def get_variable(
    name: str,
    shape: Sequence[int] = (),
    initializer: object = "glorot_uniform",
    *,
    dtype: object = "float32",
    trainable: bool = True,
    regularizer: object = None,
    constraint: object = None,
) -> tf.Variable:
    """Make a variable in ``build_graph``, or find it again in later traces.

    Args:
        name: The variable's name below the open scopes.
        shape: The shape, all sizes known.
        initializer: A Keras initializer or its name. One without a seed is seeded from the model's seed and the name.
        dtype: The dtype.
        trainable: Whether the optimizer changes the variable.
        regularizer: A Keras regularizer; its penalty is added to the cost.
        constraint: A Keras constraint, applied after each step.

    Raises:
        ModelError: The name is used already (share it with ``variable_scope(..., reuse=True)``), the variable has
            another shape, or the model was built without it.

    Example:
        >>> scale = get_variable("scale", (64,), "ones")  # doctest: +SKIP
    """
    check_name(name, "variable")
    tower = get_current_tower_context()
    path = tower.full_name(name)
    tower.claim(path, "variable")
    found = tower.store.find(path)
    if found is None:
        tower.forget_number(path)  # the name was claimed: the variable gets it without a number
        *scopes, last = name.split("/")
        with tower.scopes.inside(*scopes), variable_making(tower):  # optimizer() does not run inside the root layer
            found = keras.Variable(
                keras.initializers.get(initializer),
                shape=tuple(shape),
                dtype=tf.as_dtype(dtype).name,
                trainable=trainable,
                name=last,
            )
        found.regularizer = keras.regularizers.get(regularizer)
        found.constraint = keras.constraints.get(constraint)
    elif tuple(found.shape) != tuple(shape):
        raise ModelError(f"the variable {path!r} has shape {tuple(found.shape)}, asked for is {tuple(shape)}.")
    tower.touch(path)
    return raw_variable(found)


class ScalarVariable(keras.Variable):
    """A scalar variable of the model that callbacks set: read in the graph, saved in checkpoints, not trained.

    It is callable because Keras optimizers accept a callable as a learning rate that may change.

    Attributes:
        first_value: The initial value.
    """

    first_value: float

    def __call__(self) -> tf.Variable:
        return self.value


@names_arguments
def get_scalar_var(name: str, init: float, summary: bool = False) -> tf.Tensor:
    """Make or find a scalar variable that can be set during training: a learning rate, the weight of a cost.

    For use in ``build_graph`` and ``optimizer()``, also as the learning rate of any Keras optimizer. The same name
    gives the same variable.

    Args:
        name: The name in the model, e.g. ``"learning_rate"``; schedules and checkpoints use it.
        init: The initial value.
        summary: Show the value among the moving summaries.

    Returns:
        A float32 variable: a number in the graph; ``.assign(value)`` sets it.

    Raises:
        ModelError: Asked for twice with different initial values, or the name is another variable's.

    Example:
        >>> tf.keras.optimizers.Adam(get_scalar_var("learning_rate", 2e-4, summary=True))  # doctest: +SKIP
    """
    check_name(name, "variable")
    tower = get_current_tower_context()
    store = tower.store
    path = tower.full_name(name)
    found = store.find(path)
    if found is None:
        tower.forget_number(path)
        *scopes, last = name.split("/")
        with tower.scopes.inside(*scopes), variable_making(tower):
            found = ScalarVariable(
                lambda shape, dtype: tf.constant(init, dtype), shape=(), dtype="float32", trainable=False, name=last
            )
        found.first_value = float(init)
    elif not isinstance(found, ScalarVariable):
        raise ModelError(f"{path!r} is the name of another variable; give the scalar another name.")
    elif found.first_value != float(init):
        raise ModelError(
            f"get_scalar_var({path!r}) is asked for with {init} and with {found.first_value}. "
            f"Use one first value everywhere."
        )
    tower.touch(path)
    if summary:
        store.summary_scalars[path] = found
    return found


@contextlib.contextmanager
def freeze_variables() -> Iterator[None]:
    """Scope in which new variables and named layers are not trainable, e.g. for a pretrained backbone.

    As with ``layer.trainable = False`` in Keras, a BatchNorm made inside uses its moving statistics and does not update
    them.

    Yields:
        Nothing.

    Example:
        >>> with freeze_variables():  # doctest: +SKIP
        ...     features = Conv2D("conv1", image, 64)
    """
    tower = get_current_tower_context()
    tower.frozen_depth += 1
    try:
        yield
    finally:
        tower.frozen_depth -= 1


def regularize_cost(pattern: str, regularizer: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
    """The summed penalty of the trainable variables made so far whose names match.

    Add it to the cost: ``cost + regularize_cost("fc.*/kernel", keras.regularizers.L2(1e-4))``.

    Args:
        pattern: A regular expression for whole names.
        regularizer: A Keras regularizer, or any function from a tensor to a scalar.

    Returns:
        A float32 scalar.

    Raises:
        ModelError: No variable matches.
    """
    tower = get_current_tower_context()
    # Of layers made outside of build_graph the variables get their names only now. "Made so far" is what this trace has
    # touched: in later traces the store already holds the variables that come after this call.
    tower.adopt()
    tower.touch_layers()
    regularizer = keras.regularizers.get(regularizer)
    names = [name for name in tower.store.trainable if name in tower.touched]
    penalties = [
        tf.cast(regularizer(tower.store.trainable[name].value), tf.float32)
        for name in names
        if re.fullmatch(pattern, name)
    ]
    if not penalties:
        raise ModelError(
            f"regularize_cost: no trainable variable made so far matches {pattern!r}. {closest(pattern, names)}"
        )
    return tf.add_n(penalties)
