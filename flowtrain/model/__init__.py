"""Models: descriptions, variables, named tensors, graphs for training and inference."""

from flowtrain.utils.lazy_names import lazy_names
from flowtrain.utils.malloc import keep_freed_memory

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)

# At import: the limit to one heap holds only for threads that start later, and TensorFlow starts its own when it is
# first used.
keep_freed_memory(one_arena=True)
