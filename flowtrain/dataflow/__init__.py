"""Data as plain Python and NumPy: composable flows of datapoints. Importing this never imports TensorFlow."""

import importlib
from typing import TYPE_CHECKING

from ..utils.arguments import missing_name
from ..utils.old_names import OLD_NAMES
from . import imgaug
from .core.base import DataFlow
from .core.proxy import ProxyDataFlow
from .core.random_flow import RNGDataFlow
from .inspect.printing import PrintData
from .inspect.sheet import show
from .inspect.speed import TestDataSpeed
from .parallel import (
    MultiProcessMapAndBatchData,
    MultiProcessMapData,
    MultiProcessRunnerZMQ,
    MultiThreadMapData,
    MultiThreadRunner,
    PrefetchData,
    PrefetchDataZMQ,
)
from .sources.arrays import DataFromArrays, DataFromPandas
from .sources.files import DataFromFiles
from .sources.images import ImageFolder, ImageFromFile
from .sources.lab import lab_to_rgb, rgb_to_ab, rgb_to_lab, rgb_to_luminance
from .sources.memory import DataFromList, FakeData
from .sources.streams import DataFromGenerator, DataFromIterable, DataFromQueue
from .stages.augment import AugmentImageComponent, AugmentImageComponents, AugmentImageCoordinates
from .stages.batch import BatchData
from .stages.cache import CacheData
from .stages.combine import ConcatData, InterleaveData, JoinData
from .stages.expand import FlatMapData, UnbatchData
from .stages.grouping import BatchDataByShape, PaddedBatchData, WindowData
from .stages.map import MapData, MapDataComponent
from .stages.mix import RandomChooseData, RandomMixData
from .stages.random_map import RandomMapData
from .stages.repeat import FixedSizeData, RepeatedData, RepeatedDataPoint
from .stages.select import FilterData, SelectComponent
from .stages.shuffle import LocallyShuffleData
from .stages.slices import ShardData, ShuffleData, SkipData, TakeData

__all__ = [
    "BSDS500",
    "ILSVRC12",
    "AugmentImageComponent",
    "AugmentImageComponents",
    "AugmentImageCoordinates",
    "BatchData",
    "BatchDataByShape",
    "CSVData",
    "CacheData",
    "Cifar10",
    "Cifar100",
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
    "FashionMnist",
    "FilterData",
    "FixedSizeData",
    "FlatMapData",
    "HDF5Data",
    "ImageFolder",
    "ImageFromFile",
    "InterleaveData",
    "JoinData",
    "LMDBData",
    "LocallyShuffleData",
    "MapData",
    "MapDataComponent",
    "Mnist",
    "MultiProcessMapAndBatchData",
    "MultiProcessMapData",
    "MultiProcessRunnerZMQ",
    "MultiThreadMapData",
    "MultiThreadRunner",
    "Noise2NoiseData",
    "NpzData",
    "OTBTFData",
    "PaddedBatchData",
    "PatchesImages",
    "PrefetchData",
    "PrefetchDataZMQ",
    "PrintData",
    "ProxyDataFlow",
    "RNGDataFlow",
    "RandomChooseData",
    "RandomMapData",
    "RandomMixData",
    "Ray",
    "RemoteData",
    "RepeatedData",
    "RepeatedDataPoint",
    "SVHNDigit",
    "SVMLightData",
    "SelectComponent",
    "ShardData",
    "ShuffleData",
    "SkipData",
    "TFRecordData",
    "TakeData",
    "TarData",
    "TestDataSpeed",
    "TextLineData",
    "UnbatchData",
    "WindowData",
    "datasets",
    "formats",
    "imgaug",
    "lab_to_rgb",
    "make_keys",
    "rgb_to_ab",
    "rgb_to_lab",
    "rgb_to_luminance",
    "send_dataflow",
    "show",
    "write",
]

# loaded when they are first used: worker processes rarely need them
_LATER = {
    "formats": (
        "CSVData",
        "HDF5Data",
        "LMDBData",
        "Noise2NoiseData",
        "NpzData",
        "OTBTFData",
        "PatchesImages",
        "SVMLightData",
        "TFRecordData",
        "TarData",
        "TextLineData",
        "write",
    ),
    "datasets": ("BSDS500", "Cifar10", "Cifar100", "FashionMnist", "ILSVRC12", "Mnist", "SVHNDigit"),
    "cluster": ("Ray",),
    "remote": ("RemoteData", "make_keys", "send_dataflow"),
}
_HOME = {name: module for module, names in _LATER.items() for name in names}

if TYPE_CHECKING:
    from . import datasets, formats
    from .cluster import Ray
    from .datasets import BSDS500, ILSVRC12, Cifar10, Cifar100, FashionMnist, Mnist, SVHNDigit
    from .formats import (
        CSVData,
        HDF5Data,
        LMDBData,
        Noise2NoiseData,
        NpzData,
        OTBTFData,
        PatchesImages,
        SVMLightData,
        TarData,
        TextLineData,
        TFRecordData,
        write,
    )
    from .remote import RemoteData, make_keys, send_dataflow


if not TYPE_CHECKING:  # a type checker that sees it takes any name for one of ours

    def __getattr__(name: str) -> object:
        if name in _LATER:
            return importlib.import_module(f".{name}", __name__)
        if name in _HOME:
            return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
        raise missing_name("flowtrain.dataflow", name, __all__, OLD_NAMES)


def __dir__() -> list[str]:
    return sorted(__all__)
