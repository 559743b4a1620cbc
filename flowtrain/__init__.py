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
        "AugmentImageComponents",
        "AugmentImageCoordinates",
        "BatchData",
        "BatchDataByShape",
        "CacheData",
        "ConcatData",
        "DataFlow",
        "DataFromArrays",
        "DataFromFiles",
        "DataFromGenerator",
        "DataFromIterable",
        "DataFromList",
        "DataFromPandas",
        "DataFromQueue",
        "FakeData",
        "FilterData",
        "FixedSizeData",
        "FlatMapData",
        "ImageFolder",
        "ImageFromFile",
        "InterleaveData",
        "JoinData",
        "LocallyShuffleData",
        "MapData",
        "MapDataComponent",
        "MultiProcessRunnerZMQ",
        "PaddedBatchData",
        "PrefetchData",
        "PrefetchDataZMQ",
        "PrintData",
        "ProxyDataFlow",
        "RNGDataFlow",
        "RandomChooseData",
        "RandomMixData",
        "RepeatedData",
        "RepeatedDataPoint",
        "SelectComponent",
        "ShardData",
        "ShuffleData",
        "SkipData",
        "TakeData",
        "TestDataSpeed",
        "UnbatchData",
        "WindowData",
        "imgaug",
        "rgb_to_ab",
        "rgb_to_lab",
        "rgb_to_luminance",
    ),
    "flowtrain.metrics": ("mse", "psnr", "ssim"),
    "flowtrain.feed": ("from_tf_dataset", "to_tf_dataset", "to_tensor"),
    "flowtrain.model": (
        "CheckGradient",
        "FilterNoneGrad",
        "GlobalNormClip",
        "GradientProcessor",
        "KerasModelDesc",
        "MapGradient",
        "ModelDesc",
        "ModelGraph",
        "PrintGradient",
        "ScaleGradient",
        "SummaryGradient",
        "add_activation_summary",
        "add_image_summary",
        "add_moving_summary",
        "add_param_summary",
        "add_tensor_summary",
        "freeze_variables",
        "get_current_tower_context",
        "get_scalar_var",
        "get_variable",
        "regularize_cost",
        "variable_scope",
    ),
    "flowtrain.layers": (
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
        "PReLU",
        "argscope",
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
    "flowtrain.training": (
        "NoOpTrainer",
        "Preempted",
        "SimpleTrainer",
        "Step",
        "TrainConfig",
        "Trainer",
        "auto_set_dir",
        "default_callbacks",
        "train",
    ),
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
