"""flowtrain: dataflow, named tensors and callbacks for TensorFlow 2.

The public names are listed in ``__init__.pyi`` and loaded when first used: importing flowtrain costs little, and a data
script never imports TensorFlow.
"""

from flowtrain.utils.lazy_names import lazy_names

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
__all__ += ["__version__"]
