"""Reading and writing files of datapoints: TFRecord, LMDB, HDF5, npz, tar, Parquet, CSV, text, rasters."""

from flowtrain.utils.lazy_names import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
