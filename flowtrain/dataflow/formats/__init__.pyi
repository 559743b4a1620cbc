"""The public formats: each is written here once, with its module; ``__init__.py`` serves this list."""

from .csv import CSVData as CSVData
from .example import encode_example as encode_example
from .example import parse_example as parse_example
from .foreign import Noise2NoiseData as Noise2NoiseData
from .foreign import OTBTFData as OTBTFData
from .hdf5 import HDF5Data as HDF5Data
from .huggingface import DataFromHuggingFace as DataFromHuggingFace
from .lmdb import LMDBData as LMDBData
from .npz import NpzData as NpzData
from .parquet import ParquetData as ParquetData
from .patches import PatchesImages as PatchesImages
from .raster import read_raster as read_raster
from .raster import write_raster as write_raster
from .svmlight import SVMLightData as SVMLightData
from .tar import TarData as TarData
from .tensorproto import encode_tensor as encode_tensor
from .tensorproto import parse_tensor as parse_tensor
from .text import TextLineData as TextLineData
from .tfrecord import TFRecordData as TFRecordData
from .tfrecord import TFRecordWriter as TFRecordWriter
from .writer import write as write
