"""What arguments were called in Tensorpack and are called here; used only to say so in errors."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["refuse_old_spelling"]

_TODAY = {
    "nl": "activation",
    "nonlin": "activation",
    "kernel_shape": "kernel_size",
    "stride": "strides",
    "shape": "pool_size",
    "pool_shape": "pool_size",
    "out_channel": "filters",
    "out_channels": "filters",
    "nr_out_channel": "filters",
    "channel": "filters",
    "out_dim": "units",
    "nr_out": "units",
    "num_outputs": "units",
    "W_init": "kernel_initializer",
    "b_init": "bias_initializer",
    "W_regularizer": "kernel_regularizer",
    "b_regularizer": "bias_regularizer",
    "use_scale": "scale",
    "use_bias_": "use_bias",
    "decay": "momentum",
    "split": "groups",
    "dim": "axis",
    "alpha": "negative_slope",
    "num_unit": "num_units",
    "padding_mode": "padding",
}


def refuse_old_spelling(layer: str, argument: str, arguments: Sequence[str], error: type[Exception]) -> None:
    """Raise an error that says today's spelling, if the argument is an old one.

    Args:
        layer: The layer's name, for the message.
        argument: What was given.
        arguments: What the layer takes.
        error: The type to raise.
    """
    if argument == "keep_prob":
        raise error(f"{layer}(keep_prob=p) is spelled rate=1 - p here: rate is the share that is dropped.")
    today = _TODAY.get(argument)
    if today is not None and today in arguments:
        raise error(f"{layer}({argument}=...) is spelled {today}=... here.")
