"""Data as plain Python and NumPy: composable flows of datapoints. Importing this never imports TensorFlow."""

import importlib
from typing import TYPE_CHECKING

from ..utils.errors import closest
from . import imgaug
from .arrays import DataFromArrays, DataFromPandas
from .augment import AugmentImageComponent, AugmentImageComponents, AugmentImageCoordinates
from .base import DataFlow, ProxyDataFlow, RNGDataFlow
from .batch import BatchData
from .cache import CacheData
from .color import lab_to_rgb, rgb_to_ab, rgb_to_lab, rgb_to_luminance
from .combine import ConcatData, InterleaveData, JoinData
from .expand import FlatMapData, UnbatchData
from .files import DataFromFiles
from .grouping import BatchDataByShape, PaddedBatchData, WindowData
from .images import ImageFolder, ImageFromFile
from .map import MapData, MapDataComponent
from .memory import DataFromList, FakeData
from .mix import RandomChooseData, RandomMixData
from .names import old_name
from .parallel import (
    MultiProcessMapAndBatchData,
    MultiProcessMapData,
    MultiProcessRunnerZMQ,
    MultiThreadMapData,
    MultiThreadRunner,
    PrefetchData,
    PrefetchDataZMQ,
)
from .printing import PrintData
from .random_map import RandomMapData
from .repeat import FixedSizeData, RepeatedData, RepeatedDataPoint
from .select import FilterData, SelectComponent
from .sheet import show
from .shuffle import LocallyShuffleData
from .slices import ShardData, ShuffleData, SkipData, TakeData
from .speed import TestDataSpeed
from .streams import DataFromGenerator, DataFromIterable, DataFromQueue

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
    "PrefetchData",
    "PrefetchDataZMQ",
    "PrintData",
    "ProxyDataFlow",
    "RNGDataFlow",
    "RandomChooseData",
    "RandomMapData",
    "RandomMixData",
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
        "SVMLightData",
        "TFRecordData",
        "TarData",
        "TextLineData",
        "write",
    ),
    "datasets": ("BSDS500", "Cifar10", "Cifar100", "FashionMnist", "ILSVRC12", "Mnist", "SVHNDigit"),
    "remote": ("RemoteData", "make_keys", "send_dataflow"),
}
_HOME = {name: module for module, names in _LATER.items() for name in names}

if TYPE_CHECKING:
    from . import datasets, formats
    from .datasets import BSDS500, ILSVRC12, Cifar10, Cifar100, FashionMnist, Mnist, SVHNDigit
    from .formats import (
        CSVData,
        HDF5Data,
        LMDBData,
        Noise2NoiseData,
        NpzData,
        OTBTFData,
        SVMLightData,
        TarData,
        TextLineData,
        TFRecordData,
        write,
    )
    from .remote import RemoteData, make_keys, send_dataflow


def __getattr__(name: str) -> object:
    if name in _LATER:
        return importlib.import_module(f".{name}", __name__)
    if name in _HOME:
        return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    raise old_name(name) or AttributeError(f"flowtrain.dataflow has no {name!r}. {closest(name, __all__)}")


def __dir__() -> list[str]:
    return sorted(__all__)
