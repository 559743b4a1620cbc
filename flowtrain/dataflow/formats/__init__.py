"""Reading and writing files of datapoints: TFRecord, LMDB, HDF5, npz, tar, CSV, text."""

from .example import encode_example, parse_example
from .hdf5 import HDF5Data
from .lmdb import LMDBData
from .npz import NpzData
from .tar import TarData
from .tensorproto import encode_tensor, parse_tensor
from .tfrecord import TFRecordData, TFRecordWriter
from .write import write

__all__ = [
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
