"""Data as plain Python and NumPy: composable flows of datapoints. Importing this never imports TensorFlow."""

from . import imgaug
from .augment import AugmentImageComponent
from .base import DataFlow, ProxyDataFlow, RNGDataFlow
from .batch import BatchData
from .color import lab_to_rgb, rgb_to_ab, rgb_to_lab, rgb_to_luminance
from .images import ImageFromFile
from .map import MapData, MapDataComponent
from .memory import DataFromList, FakeData
from .printing import PrintData
from .speed import TestDataSpeed
from .streams import DataFromGenerator, DataFromIterable, DataFromQueue

__all__ = [
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
    "lab_to_rgb",
    "rgb_to_ab",
    "rgb_to_lab",
    "rgb_to_luminance",
]
