"""Variables of the user's own inside ``build_graph``, and the scopes that name, share and freeze them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import keras
import tensorflow as tf

from flowtrain.utils.arguments import names_arguments
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
    """Put a name before all layers and variables made inside, and share them where asked to.

    A discriminator that is called on real and on fake pictures is called the second time with
    ``reuse=True``: the same names then mean the same variables.

    Args:
        name: The scope, e.g. ``"generator"``; ``"a/b"`` opens two.
        reuse: True: everything inside must exist already; False: must be new; ``"auto"``: is made the
            first time and shared afterwards; None: as in the enclosing scope.

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
    with get_current_tower_context().scope(name, reuse):
        yield


def check_name(name: object, what: str) -> None:
    """Refuse what cannot be the name of a scope, layer or variable."""
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9.][A-Za-z0-9_.\\/-]*", name) or name[-1] == "/":
        raise ModelError(
            f"{name!r:.80} cannot be the name of a {what}: it should be a string of letters, digits, '_', '.', "
            f"'-' (and '/' between scopes) that begins with a letter or digit."
        )


@contextlib.contextmanager
def variable_making(tower: TowerContext) -> Iterator[None]:
    """While inside, every ``tf.Variable`` (Keras's too) is found in the tower's store, or made there."""
    if tower.making_variables:
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
    """While inside, in a tower: run eagerly, and make variables (of metrics) that are none of the model's."""
    before, tower.apart = tower.apart, True
    try:
        with tf.init_scope(), isolated_keras_state(name_scope_stack=None):
            yield
    finally:
        tower.apart = before


def _find_or_make(tower: TowerContext, next_creator: Callable[..., Any], arguments: dict[str, Any]) -> tf.Variable:
    if tower.apart:
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
    if tower.frozen_depth:  # when it is made: the optimizer takes its list of variables once, after the build
        arguments["trainable"] = False
        if owner is not None:
            owner.trainable = False
    # init_scope lifts it out of the graph under way: a variable made in a trace would end with that trace, and the next
    # one (inference, another batch shape) would find other weights.
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
    if asked is None and not callable(arguments.get("initial_value")):
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
    """A variable of your own in ``build_graph``: made when the model is built, found again afterwards.

    Args:
        name: Its name below the open scopes.
        shape: Its shape, all sizes known.
        initializer: A Keras initializer or its name; one without a seed follows from the model's seed.
        dtype: Its dtype.
        trainable: Whether the optimizer changes it.
        regularizer: A Keras regularizer; its penalty is added to the cost.
        constraint: A Keras constraint, applied after each step.

    Returns:
        The variable.

    Raises:
        ModelError: The name is used already (share it with ``variable_scope(..., reuse=True)``), or the
            model has been built without it.

    Example:
        >>> scale = get_variable("scale", (64,), "ones")  # doctest: +SKIP
    """
    check_name(name, "variable")
    tower = get_current_tower_context()
    path = "/".join(part for part in (tower.path, name) if part)
    tower.claim(path, "variable")
    found = tower.store.find(path)
    if found is None:
        tower.forget_number(path)
        *scopes, last = name.split("/")
        with contextlib.ExitStack() as stack:
            for part in scopes:
                stack.enter_context(tower.scopes.inside(part))
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
    """A number that lives in the model: read in the graph, set from a callback, saved with the rest.

    It is callable, which is what Keras optimizers expect of a learning rate that may change.

    Attributes:
        first_value: What it was made with.
    """

    first_value: float

    def __call__(self) -> tf.Variable:
        return self.value


@names_arguments
def get_scalar_var(name: str, init: float, summary: bool = False) -> tf.Tensor:
    """A number that can be changed while training: a learning rate, a weight of a cost.

    Usable in ``build_graph`` and in ``optimizer()``, and as the learning rate of any Keras optimizer.
    Asking again for the same name gives the same variable.

    Args:
        name: Its name in the model, e.g. ``"learning_rate"``; schedules and checkpoints use it.
        init: Its first value.
        summary: Show its value among the moving summaries.

    Returns:
        A variable: use it as a number in the graph, ``.assign(value)`` to set it.

    Raises:
        ModelError: Asked for twice with different first values, or the name is another variable's.

    Example:
        >>> tf.keras.optimizers.Adam(get_scalar_var("learning_rate", 2e-4, summary=True))  # doctest: +SKIP
    """
    check_name(name, "variable")
    tower = get_current_tower_context()
    store = tower.store
    path = "/".join(part for part in (tower.path, name) if part)
    found = store.find(path)
    if found is None:
        tower.forget_number(path)
        *scopes, last = name.split("/")
        with contextlib.ExitStack() as stack, variable_making(tower):
            for part in scopes:
                stack.enter_context(tower.scopes.inside(part))
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
    """Variables and named layers made inside are not trained.

    For a trunk that was trained elsewhere. As Keras does for ``layer.trainable = False``, a BatchNorm made
    inside uses its moving statistics and leaves them as they are.

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
    """The penalty of all trainable variables whose name matches, among those made so far.

    Add it to the cost: ``cost + regularize_cost("fc.*/kernel", keras.regularizers.L2(1e-4))``.

    Args:
        pattern: A regular expression, matched from the beginning of the name to its end.
        regularizer: A Keras regularizer, or any function from a tensor to a scalar.

    Returns:
        A float32 scalar.

    Raises:
        ModelError: No variable matches.
    """
    tower = get_current_tower_context()
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
