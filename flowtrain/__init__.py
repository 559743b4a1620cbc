"""flowtrain: dataflow, named tensors and callbacks for TensorFlow 2.

Every public name is listed here, with the subpackage that holds it, and is loaded when first used: importing
flowtrain costs little, and a data script never imports TensorFlow.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_EXPORTS: dict[str, tuple[str, ...]] = {
    "flowtrain.utils": ("FlowtrainError", "set_seed"),
    "flowtrain.dataflow": (
        "AugmentImageComponent",
        "BatchData",
        "DataFlow",
        "DataFromGenerator",
        "DataFromIterable",
        "DataFromList",
        "DataFromQueue",
        "FakeData",
        "ImageFromFile",
        "MapData",
        "MapDataComponent",
        "PrintData",
        "ProxyDataFlow",
        "RNGDataFlow",
        "TestDataSpeed",
        "imgaug",
        "rgb_to_ab",
        "rgb_to_lab",
        "rgb_to_luminance",
    ),
    "flowtrain.metrics": ("mse", "psnr", "ssim"),
    "flowtrain.feed": (),
    "flowtrain.model": (
        "GradientProcessor",
        "ModelDesc",
        "ModelGraph",
        "add_image_summary",
        "add_moving_summary",
        "freeze_variables",
        "get_current_tower_context",
        "get_scalar_var",
        "get_variable",
        "regularize_cost",
        "variable_scope",
    ),
    "flowtrain.layers": (
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
        "FullyConnected",
        "GroupNorm",
        "InstanceNorm",
        "LayerNorm",
        "LeakyReLU",
        "PReLU",
        "argscope",
        "lab_to_rgb",
        "layer_register",
        "leaky_relu",
    ),
    "flowtrain.monitors": (
        "ConsoleMonitor",
        "CSVMonitor",
        "CurvesMonitor",
        "JSONLMonitor",
        "MLflowMonitor",
        "Monitor",
        "plot_history",
        "read_jsonl",
        "TensorBoardMonitor",
        "WandbMonitor",
    ),
    "flowtrain.callbacks": (),
    "flowtrain.predict": (),
    "flowtrain.training": (),
}

_HOME = {name: module for module, names in _EXPORTS.items() for name in names}
__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        from flowtrain.utils.errors import closest

        raise AttributeError(f"flowtrain has no name {name!r}. {closest(name, list(_HOME))}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
