"""Errors for spellings of Tensorpack and TensorFlow 1 in ``build_graph``: they name today's spelling."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import NoReturn

from flowtrain.utils.errors import ModelError
from flowtrain.utils.old_names import OLD_NAMES

from .internals import summary_writer

__all__ = ["old_spellings_named"]

_ATTRIBUTES = {
    r"\w*Optimizer": "tf.keras.optimizers, e.g. tf.keras.optimizers.Adam(2e-4)",
    "get_variable": "flowtrain.get_variable(name, shape, initializer)",
    "variable_scope": "flowtrain.variable_scope(name)",
    "placeholder": "inputs(self), which returns [tf.TensorSpec(shape, dtype, name), ...]",
    "layers": "flowtrain's layers or keras.layers",
    "get_collection|add_to_collection|GraphKeys": "names: a tensor is found by its name, a penalty by regularize_cost",
    "losses": "keras.losses",
}
_SUMMARIES = (
    'add_image_summary("name", images), add_moving_summary(scalar) or add_tensor_summary(tensor): what tf.summary '
    "writes in build_graph would be shown nowhere"
)


@contextlib.contextmanager
def old_spellings_named(where: str) -> Iterator[None]:
    """Scope for running a method of the user's model: if it fails by an old spelling, the error names today's.

    Args:
        where: The method, for the message: ``"Colorize.build_graph"``.

    Raises:
        ModelError: An old name, an attribute that TensorFlow 2 does not have, or ``tf.summary``.
    """

    def refuse() -> NoReturn:
        raise ModelError(f"{where} calls tf.summary. Write {_SUMMARIES}.")

    try:
        with summary_writer(refuse):
            yield
    except Exception as error:  # the user's code may raise anything; what is no old spelling passes unchanged
        today = _today(error)
        if today is None:
            raise
        raise ModelError(f"{where}: {error}. Write {today} instead.") from error


def _today(error: Exception) -> str | None:
    # tf.summary.image belongs to the package TensorBoard and fails before the writer is asked. The advice is not to
    # install it.
    if "TensorBoard is not installed" in str(error):
        return _SUMMARIES
    name = str(getattr(error, "name", None) or "")
    if isinstance(error, NameError):
        return OLD_NAMES.get(name)
    if isinstance(error, AttributeError) and "tensorflow" in str(error):
        return next((today for pattern, today in _ATTRIBUTES.items() if re.fullmatch(pattern, name)), None)
    return None
