"""Named layers: functions of tensors that are called with a name, under which their variables live."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Generic, Literal, ParamSpec, TypeVar, overload

import keras
import tensorflow as tf

from flowtrain.model.internals import (
    Nested,
    fresh_names,
    isolated_keras_state,
    keras_mask,
    make_concrete,
    set_keras_mask,
)
from flowtrain.model.tower import LayerRecord, get_current_tower_context
from flowtrain.model.variables import check_name
from flowtrain.utils.arguments import refuse_unknown
from flowtrain.utils.errors import FlowtrainError, ModelError, annotate_error

from .scopes import scoped_arguments
from .spellings import OLD_SPELLINGS, LayerArgumentError

__all__ = ["REGISTERED", "LayerArgumentError", "NamedLayer", "apply_keras_layer", "compute_cast", "layer_register"]

REGISTERED: dict[str, NamedLayer[Any, Any]] = {}
"""All named layers by name, for LinearWrap."""

P = ParamSpec("P")
R = TypeVar("R")


class NamedLayer(Generic[P, R]):
    """A function of a tensor that is called as ``Layer("name", x, ...)``; made by :func:`layer_register`.

    Its variables and operations lie under the name, and its result is the tensor ``name/output``.
    """

    __name__: str  # set by update_wrapper

    def __init__(
        self, function: Callable[P, R], options_of: object, nameless: Literal["automatic", "inline"] | None
    ) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.nameless = nameless
        self._signature = inspect.signature(function)
        parameters = self._signature.parameters
        self._input = next(iter(parameters), "")
        # Own parameters first, so that an argument which the function takes apart from its **options is listed once.
        own = [p.name for p in parameters.values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        known = [*own, *(option for option in _options(options_of) if option not in own)]
        self.arguments = tuple(name for name in known if name != self._input)

    def __call__(self, *args: Any, **kwargs: Any) -> R:
        """Call the layer with its name, its input, then its own arguments."""
        tower = get_current_tower_context()
        if "name" in kwargs:
            args = (kwargs.pop("name"), *args)
        name, args = self._name_and_rest(args)
        given = [argument for argument in kwargs if argument != self._input]
        refuse_unknown(self.__name__, given, self.arguments, OLD_SPELLINGS, LayerArgumentError)
        call = self._bind(args, {**self._from_scope(args), **kwargs})
        _refuse_old_format(self.__name__, call)
        if not name and self.nameless == "inline":  # as the activation of a layer: its scope and its row are there
            return self.function(*call.args, **call.kwargs)
        name = name or tower.automatic_name(self.__name__.lower())
        row = len(tower.records)  # the summary lists a layer before the layers inside it
        with tower.layer_scope(name) as (path, operations):
            result = self._run(call, operations)
        for suffix, tensor in _outputs(result):
            tower.add_tensor(f"{operations}/{suffix}", tensor)
        tower.records.insert(row, LayerRecord(operations, path, self.__name__, result))
        return result

    def _name_and_rest(self, args: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
        if args and isinstance(args[0], str):
            check_name(args[0], "layer")
            return args[0], args[1:]
        if self.nameless is None:
            layer = self.__name__
            raise LayerArgumentError(
                f'{layer} takes its name first: {layer}("name", x, ...), got {args[0] if args else "nothing"!r:.80}.'
            )
        return "", args

    def _run(self, call: inspect.BoundArguments, operations: str) -> R:
        """The layer's result, named; errors of Keras and TensorFlow gain the layer's name, and keep their type."""
        try:
            return _named_output(self.function(*call.args, **call.kwargs))
        except FlowtrainError:  # it names its layer itself
            raise
        except Exception as error:
            noted = annotate_error(error, f"layer {operations!r}: {self.__name__} of {_shown(call.args)}")
            # Where the type makes its own message it is a new object, which takes over the frames to the user's line.
            raise noted.with_traceback(error.__traceback__) from error.__cause__

    def _from_scope(self, args: tuple[Any, ...]) -> dict[str, Any]:
        """The arguments that an argscope gives, without those that the call gives by position."""
        # Without this, a call that gives the argument by position would have it twice, which bind refuses.
        by_position = list(self._signature.parameters)[: len(args)]
        return {key: value for key, value in scoped_arguments(self).items() if key not in by_position}

    def _bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> inspect.BoundArguments:
        try:
            return self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise LayerArgumentError(
                f"{self.__name__}({', '.join(['name', *map(str, self._signature.parameters.values())])}): {error}."
            ) from None

    def __repr__(self) -> str:
        return f"<layer {self.__name__}>"


def _refuse_old_format(layer: str, call: inspect.BoundArguments) -> None:
    format_ = {**call.arguments, **call.kwargs}.get("data_format")
    if format_ in ("NCHW", "NHWC"):
        raise LayerArgumentError(
            f"{layer}(data_format={format_!r}): pictures are (N, H, W, C) here, channels last. Leave data_format out"
            + (" and transpose what is (N, C, H, W): tf.transpose(x, [0, 2, 3, 1])." if format_ == "NCHW" else ".")
        )


def _shown(args: tuple[Any, ...]) -> str:
    """A layer's input as errors show it: dtype and shape of a tensor."""
    x: Any = args[0] if args else None
    return f"{x.dtype.name} {x.shape}" if tf.is_tensor(x) else f"{x!r:.60}"


def _options(source: object) -> list[str]:
    """The arguments of a Keras class; dtype and trainable are among its **kwargs."""
    if source is None:
        return []
    skipped = {"self", "name", "kwargs", "args"}
    return [p for p in inspect.signature(source.__init__).parameters if p not in skipped] + ["dtype", "trainable"]


@overload
def layer_register(function: Callable[P, R], /) -> NamedLayer[P, R]: ...
@overload
def layer_register(
    *, options_of: object = None, nameless: Literal["automatic", "inline"] | None = None
) -> Callable[[Callable[P, R]], NamedLayer[P, R]]: ...
def layer_register(
    function: Callable[P, R] | None = None,
    /,
    *,
    options_of: object = None,
    nameless: Literal["automatic", "inline"] | None = None,
) -> Any:
    """Make a named layer from a function of a tensor.

    The function may use other layers, ``get_variable`` and any operation. Called with a name, it runs in the scope of
    that name; ``argscope`` and ``LinearWrap`` know it.

    Args:
        function: Its first parameter is the input, the others are the layer's arguments.
        options_of: The Keras class to which the function passes its ``**options``; the arguments of that class are
            accepted too.
        nameless: Whether the layer may be called without a name: ``"automatic"`` gives it one (``dropout``,
            ``dropout_1``), ``"inline"`` runs it in the scope that is open. None: a name is required.

    Returns:
        The layer, called as ``Layer("name", x, ...)``.

    Example:
        >>> @layer_register
        ... def Scale(x, initial=1.0):
        ...     return x * get_variable("scale", (x.shape[-1],), keras.initializers.Constant(initial))
        >>> y = Scale("scale1", x)  # doctest: +SKIP
    """

    def register(function: Callable[P, R]) -> NamedLayer[P, R]:
        layer = REGISTERED[function.__name__] = NamedLayer(function, options_of, nameless)
        return layer

    return register if function is None else register(function)


def apply_keras_layer(make: Callable[..., keras.Layer], x: tf.Tensor, settings: Mapping[str, Any]) -> Nested:
    """Run a Keras layer as the body of the named layer whose scope is open.

    The Keras layer is made once, when the model is built, and found by the scope's path in all later traces.

    Args:
        make: The Keras class.
        x: The input or inputs.
        settings: The constructor's arguments.

    Returns:
        The output of the layer.

    Raises:
        ModelError: A layer of this name exists with other settings, or the model has been built without it.
    """
    tower = get_current_tower_context()
    store, path = tower.store, tower.path
    layer = store.layers.get(path)
    tower.touch(path)
    if layer is None:
        if store.frozen:
            raise ModelError(
                f"the layer {path!r} does not exist in the model: it was not made when the model was built. Layers "
                f"must be the same in every trace of build_graph, for training and for inference, so they cannot "
                f"depend on is_training or on state that changes between calls."
            )
        for setting in settings.values():  # a regularizer may hold tensors of this trace, which the next cannot use
            make_concrete(setting)
        # With a fresh count, the names that Keras gives to parts of the layer do not depend on what was made before.
        with isolated_keras_state(object_name_uids=fresh_names()):
            layer = make(**settings, name=path.replace("/", "."))  # Keras refuses "/" in a name
        if (
            tower.frozen_depth
        ):  # within freeze_variables(): Keras layers ask their own flag, batch norm for its mode too
            layer.trainable = False
        store.layers[path] = layer
        store.settings[path] = dict(settings)  # what a later call that shares the layer is compared with
        tower.own_layers[id(layer)] = layer
    elif reason := _difference(store.settings[path], settings):
        raise ModelError(f"the layer {path!r} is shared with other settings than it was made with: {reason}.")
    return layer(x)


def compute_cast(x: tf.Tensor) -> tf.Tensor:
    """Cast a float tensor to the compute dtype of Keras's dtype policy, as Keras's layers cast their inputs."""
    wanted = tf.as_dtype(keras.config.dtype_policy().compute_dtype)
    return tf.cast(x, wanted) if x.dtype.is_floating and x.dtype != wanted else x


def _difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Name the first setting that differs; "" if none does.

    Only plain values are compared: objects such as initializers are made anew in each trace, and never equal.
    """
    plain = (int, float, str, bool, tuple, list, type(None))
    for key in [*before, *now]:
        a, b = before.get(key), now.get(key)
        if isinstance(a, plain) and isinstance(b, plain) and a != b:
            return f"{key}={a!r} when made, {key}={b!r} here"
    return ""


def _named_output(result: object) -> Nested:
    """Name a layer's result ``output``, or the parts of it ``output``, ``state_0``, ``state_1``, ..."""
    if tf.is_tensor(result):
        named = tf.identity(result, name="output")  # a new tensor, without the mask that Keras keeps as an attribute
        set_keras_mask(named, keras_mask(result))
        return named
    if isinstance(result, (list, tuple)) and all(tf.is_tensor(part) for part in result):
        return type(result)(tf.identity(part, name=suffix) for suffix, part in _outputs(result))
    return result


def _outputs(result: object) -> list[tuple[str, Any]]:
    if tf.is_tensor(result):
        return [("output", result)]
    if isinstance(result, (list, tuple)):
        return [("output" if i == 0 else f"state_{i - 1}", part) for i, part in enumerate(result)]
    return []
