"""Reading and writing files of datapoints: TFRecord, LMDB, HDF5, npz, tar, CSV, text."""

from .example import encode_example, parse_example
from .tensorproto import encode_tensor, parse_tensor
from .tfrecord import TFRecordData, TFRecordWriter

__all__ = [
    "TFRecordData",
    "TFRecordWriter",
    "encode_example",
    "encode_tensor",
    "parse_example",
    "parse_tensor",
]
