"""Every source in worker processes: its files are opened there, and the sequence is the serial one."""

from __future__ import annotations

import numpy as np

from flowtrain.dataflow import ConcatData, DataFromList, MapData, PrefetchData
from flowtrain.dataflow.formats import (
    CSVData,
    HDF5Data,
    LMDBData,
    NpzData,
    ParquetData,
    SVMLightData,
    TarData,
    TextLineData,
    TFRecordData,
    write,
)


def test_all_sources_give_the_serial_sequence(tmp_path, same):
    data = DataFromList([[i, np.full(i % 3, i), f"text {i}"] for i in range(20)])
    written = {"lmdb": LMDBData, "tfrecord": TFRecordData, "h5": HDF5Data, "npz": NpzData, "tar": TarData}
    written["parquet"] = ParquetData
    sources = [kind(write(data, tmp_path / f"x.{end}", progress=False), shuffle=True) for end, kind in written.items()]
    (tmp_path / "x.csv").write_text("a,b\n" + "".join(f"{i},t{i}\n" for i in range(20)))
    (tmp_path / "x.svm").write_text("".join(f"{i} 1:{i}\n" for i in range(20)))
    sources += [
        CSVData(tmp_path / "x.csv", shuffle=True),
        TextLineData(tmp_path / "x.csv", shuffle=True),
        MapData(SVMLightData(tmp_path / "x.svm", shuffle=True), list),
    ]
    flow = ConcatData(sources)
    len(flow)  # opens the files here, before the flow travels
    serial = [list(flow), list(flow)]
    parallel = PrefetchData(ConcatData(sources), num_proc=2)
    same(serial, [list(parallel), list(parallel)])
