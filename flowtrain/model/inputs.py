"""Validation of the inputs that a model declares."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING

import tensorflow as tf

from flowtrain.utils.arguments import refuse_class
from flowtrain.utils.errors import ModelError

from .porting import old_spellings_named

if TYPE_CHECKING:
    from .desc import ModelDesc

__all__ = ["checked_inputs", "checked_specs"]


def checked_inputs(model: ModelDesc) -> list[tf.TensorSpec]:
    """Validate a model's ``inputs()`` against each other and against ``build_graph``.

    Returns:
        The specs, in order.

    Raises:
        ModelError: Not a ModelDesc, or its inputs are not named TensorSpecs that fit ``build_graph``.
    """
    refuse_class("the model", model, ModelError)
    if not hasattr(model, "inputs") or not hasattr(model, "build_graph"):
        raise ModelError(
            f"expected a ModelDesc, got {type(model).__name__}. "
            "Wrap a plain Keras model in KerasModelDesc(model, loss=...)."
        )
    with old_spellings_named(f"{type(model).__name__}.inputs"):
        given = model.inputs()
    specs = checked_specs(given, f"{type(model).__name__}.inputs()")
    _check_signature(model, [str(spec.name) for spec in specs])
    return specs


def checked_specs(specs: object, where: str) -> list[tf.TensorSpec]:
    """Validate a list of ``tf.TensorSpec``.

    Args:
        specs: The value a user gave; not trusted to be a list of specs.
        where: The function or argument that gave it, for messages.

    Returns:
        The specs as a list.

    Raises:
        ModelError: Not a list of TensorSpec, or names missing, unusable or repeated.
    """
    if isinstance(specs, tf.TensorSpec) or not isinstance(specs, (list, tuple)) or not specs:
        raise ModelError(f"{where} must be a list of tf.TensorSpec, got {specs!r:.120}.")
    for place, spec in enumerate(specs):
        if not isinstance(spec, tf.TensorSpec):
            raise ModelError(f"{where}[{place}] is {spec!r:.120}; write tf.TensorSpec(shape, dtype, name).")
        if not spec.name or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", spec.name):
            raise ModelError(
                f"{where}[{place}] needs a name of letters, digits and '_', got {spec.name!r}: "
                f'tf.TensorSpec({spec.shape}, tf.{spec.dtype.name}, "name").'
            )
    names = [spec.name for spec in specs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ModelError(f"{where} has two inputs named {twice[0]!r}.")
    return list(specs)


def _check_signature(model: ModelDesc, names: list[str]) -> None:
    kind = type(model).__name__
    signature = inspect.signature(model.build_graph)
    try:
        signature.bind(*names)
    except TypeError as error:
        raise ModelError(
            f"{kind}.build_graph{signature} cannot take the {len(names)} inputs {names} of inputs(): {error}."
        ) from None
    # Parameters may have any names. Only when they are the inputs' names in another order is it certainly a mistake,
    # and one that trains on swapped data without an error.
    taken = list(signature.parameters)[: len(names)]
    if sorted(taken) == sorted(names) and taken != names:
        raise ModelError(
            f"{kind}.build_graph takes its inputs in the order {taken}, but inputs() declares {names}. "
            f"Inputs are passed by position: put both in the same order."
        )
