"""The public names of the data half: each is written once, here or in the stub of the package that a star names."""

from . import datasets as datasets
from . import formats as formats
from . import imgaug as imgaug
from .cluster import *
from .core.base import DataFlow as DataFlow
from .core.proxy import ProxyDataFlow as ProxyDataFlow
from .core.random_flow import RNGDataFlow as RNGDataFlow
from .datasets import *
from .formats import *
from .inspect.printing import PrintData as PrintData
from .inspect.sheet import show as show
from .inspect.speed import TestDataSpeed as TestDataSpeed
from .parallel import *
from .remote import *
from .sources.arrays import DataFromArrays as DataFromArrays
from .sources.arrays import DataFromPandas as DataFromPandas
from .sources.files import DataFromFiles as DataFromFiles
from .sources.images import ImageFolder as ImageFolder
from .sources.images import ImageFromFile as ImageFromFile
from .sources.lab import lab_to_rgb as lab_to_rgb
from .sources.lab import rgb_to_ab as rgb_to_ab
from .sources.lab import rgb_to_lab as rgb_to_lab
from .sources.lab import rgb_to_luminance as rgb_to_luminance
from .sources.memory import DataFromList as DataFromList
from .sources.memory import FakeData as FakeData
from .sources.streams import DataFromGenerator as DataFromGenerator
from .sources.streams import DataFromIterable as DataFromIterable
from .sources.streams import DataFromQueue as DataFromQueue
from .stages.augment import AugmentImageComponent as AugmentImageComponent
from .stages.augment import AugmentImageComponents as AugmentImageComponents
from .stages.augment import AugmentImageCoordinates as AugmentImageCoordinates
from .stages.batch import BatchData as BatchData
from .stages.cache import CacheData as CacheData
from .stages.combine import ConcatData as ConcatData
from .stages.combine import InterleaveData as InterleaveData
from .stages.combine import JoinData as JoinData
from .stages.expand import FlatMapData as FlatMapData
from .stages.expand import UnbatchData as UnbatchData
from .stages.grouping import BatchDataByShape as BatchDataByShape
from .stages.grouping import PaddedBatchData as PaddedBatchData
from .stages.grouping import WindowData as WindowData
from .stages.map import MapData as MapData
from .stages.map import MapDataComponent as MapDataComponent
from .stages.mix import RandomChooseData as RandomChooseData
from .stages.mix import RandomMixData as RandomMixData
from .stages.random_map import RandomMapData as RandomMapData
from .stages.repeat import FixedSizeData as FixedSizeData
from .stages.repeat import RepeatedData as RepeatedData
from .stages.repeat import RepeatedDataPoint as RepeatedDataPoint
from .stages.select import FilterData as FilterData
from .stages.select import SelectComponent as SelectComponent
from .stages.shuffle import LocallyShuffleData as LocallyShuffleData
from .stages.slices import ShardData as ShardData
from .stages.slices import ShuffleData as ShuffleData
from .stages.slices import SkipData as SkipData
from .stages.slices import TakeData as TakeData
