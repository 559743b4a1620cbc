"""argscope: default arguments for layers called inside a with block."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

from flowtrain.utils.arguments import refuse_unknown
from flowtrain.utils.errors import ModelError

from .spellings import OLD_SPELLINGS, LayerArgumentError

__all__ = ["argscope", "scoped_arguments"]

# By id of the layer. A dict in it is never changed but replaced, so that each with block restores what was before it.
# A context variable and not a list of the module: a thread that builds a model does not see the scopes of another.
_scopes: contextvars.ContextVar[dict[int, dict[str, Any]] | None] = contextvars.ContextVar("argscope", default=None)


def scoped_arguments(layer: object) -> dict[str, Any]:
    """The default arguments of a layer in the open scopes."""
    return (_scopes.get() or {}).get(id(layer), {})


@contextlib.contextmanager
def argscope(layers: object, **arguments: object) -> Iterator[None]:
    """Set default arguments of layers for the calls inside the block.

    Arguments of a call, by name or by position, take precedence over the scope, an inner scope over an outer one.

    Args:
        layers: A layer, a list of layers, or a module: all layers in it that take these arguments.
        **arguments: The default arguments.

    Yields:
        Nothing.

    Raises:
        ModelError: A layer does not take one of the arguments, or one of ``layers`` is not a layer.

    Example:
        >>> with argscope([Conv2D, Deconv2D], kernel_size=4, strides=2, activation=BNReLU):  # doctest: +SKIP
        ...     x = Conv2D("conv1", x, 64)
    """
    chosen = _chosen(layers, arguments)
    scopes = dict(_scopes.get() or {})
    for layer in chosen:
        refuse_unknown(f"argscope: {layer.__name__}", arguments, layer.arguments, OLD_SPELLINGS, LayerArgumentError)
        scopes[id(layer)] = {**scopes.get(id(layer), {}), **arguments}
    token = _scopes.set(scopes)
    try:
        yield
    finally:
        _scopes.reset(token)


def _chosen(layers: object, arguments: dict[str, Any]) -> list[Any]:
    if isinstance(layers, ModuleType):
        names = {*vars(layers), *getattr(layers, "__all__", ())}  # vars of a lazy package has only what was used so far
        values = [getattr(layers, name) for name in names]
        inside = {id(value): value for value in values if hasattr(value, "arguments")}  # an alias counts once
        taking = [layer for layer in inside.values() if all(name in layer.arguments for name in arguments)]
        if not taking:
            raise ModelError(f"argscope: no layer in {layers.__name__} takes {', '.join(arguments)}.")
        return taking
    several = list(layers) if isinstance(layers, Sequence) and not isinstance(layers, str) else [layers]
    for layer in several:
        if not hasattr(layer, "arguments"):  # by attribute: NamedLayer's module imports this one
            raise ModelError(
                f"argscope takes layers of flowtrain, or functions made layers by layer_register; got {layer!r:.80}."
            )
    return several
