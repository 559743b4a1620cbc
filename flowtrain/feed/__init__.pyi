"""The public names of the feed: each is written here once, with its module; ``__init__.py`` serves this list."""

from .jaxdata import to_jax as to_jax
from .kerasdata import to_keras as to_keras
from .tensors import to_tensor as to_tensor
from .tfdata import from_tf_dataset as from_tf_dataset
from .tfdata import to_tf_dataset as to_tf_dataset
from .torchdata import to_torch as to_torch
