"""Reading and writing files of datapoints: TFRecord, LMDB, HDF5, npz, tar, CSV, text, rasters."""

from .csv import CSVData
from .example import encode_example, parse_example
from .foreign import Noise2NoiseData, OTBTFData
from .hdf5 import HDF5Data
from .lmdb import LMDBData
from .npz import NpzData
from .patches import PatchesImages
from .raster import read_raster, write_raster
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
    "PatchesImages",
    "TFRecordData",
    "TFRecordWriter",
    "TarData",
    "encode_example",
    "encode_tensor",
    "parse_example",
    "parse_tensor",
    "read_raster",
    "write",
    "write_raster",
]
