"""Data as plain Python and NumPy: composable flows of datapoints. Importing this never imports TensorFlow."""

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
    "MultiProcessMapAndBatchData",
    "MultiProcessMapData",
    "MultiProcessRunnerZMQ",
    "MultiThreadMapData",
    "MultiThreadRunner",
    "PaddedBatchData",
    "PrefetchData",
    "PrefetchDataZMQ",
    "PrintData",
    "ProxyDataFlow",
    "RNGDataFlow",
    "RandomChooseData",
    "RandomMapData",
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
    "lab_to_rgb",
    "rgb_to_ab",
    "rgb_to_lab",
    "rgb_to_luminance",
    "show",
]


def __getattr__(name: str) -> object:
    raise old_name(name) or AttributeError(f"flowtrain.dataflow has no {name!r}. {closest(name, __all__)}")
