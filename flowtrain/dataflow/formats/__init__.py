"""Reading and writing files of datapoints: TFRecord, LMDB, HDF5, npz, tar, CSV, text."""

from .csv import CSVData
from .example import encode_example, parse_example
from .foreign import Noise2NoiseData, OTBTFData
from .hdf5 import HDF5Data
from .lmdb import LMDBData
from .npz import NpzData
from .svmlight import SVMLightData
from .tar import TarData
from .tensorproto import encode_tensor, parse_tensor
from .text import TextLineData
from .tfrecord import TFRecordData, TFRecordWriter
from .write import write

__all__ = [
    "Noise2NoiseData",
    "OTBTFData",
    "CSVData",
    "SVMLightData",
    "TextLineData",
    "HDF5Data",
    "LMDBData",
    "NpzData",
    "TFRecordData",
    "TFRecordWriter",
    "TarData",
    "encode_example",
    "encode_tensor",
    "parse_example",
    "parse_tensor",
    "write",
]
