"""Named layers over Keras's, ``Conv2D("conv1", x, 64)``; argscope; LinearWrap."""

from .activations import BNLeakyReLU, BNReLU, LeakyReLU, PReLU, leaky_relu
from .argscope import argscope
from .conv import Conv2D, Conv2DTranspose, Deconv2D, DepthwiseConv2D
from .dense import Dense, Dropout, Embedding, FullyConnected
from .lab_to_rgb import lab_to_rgb
from .linear_wrap import LinearWrap
from .norm import BatchNorm, GroupNorm, InstanceNorm, LayerNorm
from .pool import AvgPooling, FixedUnPooling, GlobalAvgPooling, Maxout, MaxPooling
from .recurrent import GRU, LSTM
from .register import NamedLayer, apply_keras_layer, layer_register
from .shape import ConcatWith

__all__ = [
    "AvgPooling",
    "BNLeakyReLU",
    "BNReLU",
    "BatchNorm",
    "ConcatWith",
    "Conv2D",
    "Conv2DTranspose",
    "Deconv2D",
    "Dense",
    "DepthwiseConv2D",
    "Dropout",
    "Embedding",
    "FixedUnPooling",
    "FullyConnected",
    "GRU",
    "GlobalAvgPooling",
    "GroupNorm",
    "InstanceNorm",
    "LSTM",
    "LayerNorm",
    "LeakyReLU",
    "LinearWrap",
    "MaxPooling",
    "Maxout",
    "NamedLayer",
    "PReLU",
    "apply_keras_layer",
    "argscope",
    "lab_to_rgb",
    "layer_register",
    "leaky_relu",
]
