"""Feed: NumPy batches as tensors on the device, ahead of time and without losing a value; flows for other libraries."""

from flowtrain.utils.lazy_names import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
