"""Tensorpack's names of layer arguments, with the present ones, for error messages."""

from __future__ import annotations

from flowtrain.utils.arguments import UnknownArgument
from flowtrain.utils.errors import ModelError

__all__ = ["OLD_SPELLINGS", "LayerArgumentError"]


class LayerArgumentError(ModelError, UnknownArgument):
    """A layer was called with arguments that it does not take."""


OLD_SPELLINGS = {
    "keep_prob": "Write rate=1 - keep_prob: rate is the share that is dropped",
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
