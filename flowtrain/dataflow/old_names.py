"""Names that other libraries have for what is called otherwise here."""

from __future__ import annotations

from ..utils.errors import FlowtrainError

__all__ = ["OldName", "old_name"]

_TODAY = {
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


class OldName(FlowtrainError, ImportError):
    """A name of another library, or of another time; the message holds today's."""


def old_name(name: str) -> OldName | None:
    """The error for a name that is called otherwise here; None for any other name."""
    today = _TODAY.get(name)
    return None if today is None else OldName(f"flowtrain.dataflow has no {name}. Write {today} instead.")
