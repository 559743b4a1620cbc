"""What a script of Tensorpack or TensorFlow 1 does in ``build_graph``, and what to write today, for errors."""

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
    """While a method of the user's model runs, say today's spelling where it fails by an old one.

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
    except Exception as error:  # of whatever the model calls
        today = _today(error)
        if today is None:
            raise
        raise ModelError(f"{where}: {error}. Write {today} instead.") from error


def _today(error: Exception) -> str | None:
    if "TensorBoard is not installed" in str(error):  # tf.summary.image is TensorBoard's; nothing here needs it
        return _SUMMARIES
    name = str(getattr(error, "name", None) or "")
    if isinstance(error, NameError):
        return OLD_NAMES.get(name)
    if isinstance(error, AttributeError) and "tensorflow" in str(error):
        return next((today for pattern, today in _ATTRIBUTES.items() if re.fullmatch(pattern, name)), None)
    return None
