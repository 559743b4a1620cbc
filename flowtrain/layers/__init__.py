"""Named layers, thin functions over Keras's: ``Conv2D("conv1", x, 64)``; argscope; LinearWrap."""

from flowtrain.utils.lazy_names import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
