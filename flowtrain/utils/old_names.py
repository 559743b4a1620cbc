"""Names of Tensorpack and of earlier versions, and what to write today: for the errors that say so."""

from __future__ import annotations

__all__ = ["OLD_NAMES"]

OLD_NAMES = {
    "InputDesc": "tf.TensorSpec(shape, dtype, name)",
    "PlaceholderDesc": "tf.TensorSpec(shape, dtype, name)",
    "AugmentImageComponentWithCoords": "AugmentImageCoordinates",
    "BatchDataByShapes": "BatchDataByShape",
    "CaffeLMDB": "LMDBData with a function of your own to decode",
    "DataFromTFDataset": "flowtrain.feed.from_tf_dataset",
    "GeneratorToDataFlow": "DataFromGenerator",
    "HDF5Serializer": "flowtrain.dataflow.formats.write",
    "LMDBDataDecoder": "LMDBData with MapData",
    "LMDBDataPoint": "LMDBData",
    "LMDBSerializer": "flowtrain.dataflow.formats.write and LMDBData",
    "MultiProcessPrefetchData": "PrefetchData",
    "MultiProcessRunner": "PrefetchData",
    "MultiThreadPrefetchData": "MultiThreadRunner",
    "NumpySerializer": "flowtrain.dataflow.formats.write",
    "PlasmaGetData": "PrefetchData, which hands over shared memory by itself",
    "PlasmaPutData": "PrefetchData, which hands over shared memory by itself",
    "PrefetchOnGPUs": "PrefetchData; the trainer feeds the devices",
    "RemoteDataZMQ": "RemoteData",
    "TFRecordSerializer": "flowtrain.dataflow.formats.write and TFRecordData",
    "ThreadedMapData": "MultiThreadMapData",
    "dataset": "flowtrain.dataflow.datasets",
    "dump_dataflow_to_lmdb": "flowtrain.dataflow.formats.write",
    "dump_dataflow_to_process_queue": "PrefetchData",
    "dump_dataflow_to_tfrecord": "flowtrain.dataflow.formats.write",
    "send_dataflow_zmq": "send_dataflow",
}
