"""CPU microseconds per record of every format: 10,000 small JPEG pictures, read in order and shuffled.

    python bench/formats.py [--rounds 7] [--write FILE] [--peers-python PYTHON] [--folder FOLDER]

Each library runs in a process of its own and takes its turn within each round, and the median over the rounds is
shown. What is counted is the CPU time of the whole process, all threads, for one pass over all records, which lie in
the page cache. ``--peers-python`` is an interpreter that has Tensorpack and webdataset; a library that is not installed
is a row of "not installed". Nothing decodes pictures: a record is the JPEG's bytes (with a label where the format has
them), checksums compared where a format has them.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measuring import Run

RECORDS = 10_000
SIDE = 180  # pixels: records of about 5.6 kB
PHOTOS = Path(__file__).parent.parent / "examples/colorize/photos/train"


# ---- the files


def make_files(folder: Path) -> None:
    """Write the same pictures in each format, unless the folder has them already."""
    if (folder / "done-3").exists():
        return
    import cv2
    import numpy as np

    from flowtrain.dataflow import DataFromList
    from flowtrain.dataflow.formats import TFRecordWriter, write

    rng = np.random.default_rng(0)
    photos = [cv2.imread(str(path)) for path in sorted(PHOTOS.glob("*.jpg"))]
    records = []
    for i in range(RECORDS):
        photo = photos[i % len(photos)]
        top, left = (int(rng.integers(0, side - SIDE)) for side in photo.shape[:2])
        crop = photo[top : top + SIDE, left : left + SIDE]
        records.append(cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes())
    (folder / "files").mkdir(exist_ok=True)
    for i, record in enumerate(records):
        (folder / "files" / f"{i:05d}.jpg").write_bytes(record)
    with TFRecordWriter(folder / "x.tfrecord") as writer:
        for record in records:
            writer.write(record)
    pairs = DataFromList([[record, i % 10] for i, record in enumerate(records)])
    named = DataFromList([{"jpg": record, "label": i % 10} for i, record in enumerate(records)])
    arrays = DataFromList([[np.frombuffer(record, np.uint8), i % 10] for i, record in enumerate(records)])
    write(arrays, folder / "arrays.lmdb", overwrite=True, progress=False)
    for ending, ds in (("lmdb", pairs), ("tar", named), ("npz", pairs), ("h5", pairs), ("parquet", named)):
        write(ds, folder / f"x.{ending}", overwrite=True, progress=False)
    _write_tensorpack(folder / "tensorpack.lmdb", [[record, i % 10] for i, record in enumerate(records)])
    encoded = [{b"nd": True, b"type": "|u1", b"kind": b"", b"shape": (len(r),), b"data": r} for r in records]
    _write_tensorpack(folder / "tensorpack-arrays.lmdb", [[array, i % 10] for i, array in enumerate(encoded)])
    for name in ("tensorpack", "tensorpack-arrays"):
        # LMDB cannot be opened twice by one process, and Tensorpack opens a file for each reader
        shutil.copy(folder / f"{name}.lmdb", folder / f"{name}-shuffled.lmdb")
    _write_tables(folder, records)
    (folder / "done-3").touch()
    print(f"{RECORDS} records of {sum(map(len, records)) / RECORDS / 1000:.1f} kB on average in {folder}")


NUMBERS = 1_000_000  # rows of the table of numbers
ROW_GROUP = 50_000


def _write_tables(folder: Path, records: list) -> None:
    """Write the pictures, and a table of four columns of numbers, with datasets and pyarrow."""
    import datasets
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    datasets.disable_progress_bars()
    rows = {"jpg": records, "label": [i % 10 for i in range(len(records))]}
    datasets.Dataset.from_dict(rows).save_to_disk(folder / "hub")
    rng = np.random.default_rng(0)
    numbers = pa.table(
        {name: rng.normal(size=NUMBERS).astype(np.float32) for name in "abc"} | {"n": np.arange(NUMBERS)}
    )
    pq.write_table(numbers, folder / "numbers.parquet", row_group_size=ROW_GROUP)
    datasets.Dataset(numbers).save_to_disk(folder / "hub-numbers")


def _write_tensorpack(path: Path, records: list) -> None:
    """Write an LMDB file as Tensorpack's LMDBSerializer does with msgpack (and msgpack_numpy)."""
    import lmdb
    import msgpack

    keys = [f"{i:08d}".encode() for i in range(len(records))]
    with lmdb.open(str(path), subdir=False, map_size=1 << 30, lock=False) as env, env.begin(write=True) as transaction:
        for key, record in zip(keys, records, strict=True):
            transaction.put(key, msgpack.packb(record, use_bin_type=True))
        transaction.put(b"__keys__", msgpack.packb(keys, use_bin_type=True))


# ---- the libraries: for each, row -> function that reads all records once and returns their number


def count(iterable) -> int:
    return sum(1 for _ in iterable)


_TABLE = "1,000,000 rows of 4 numbers, batches of 1000,"


def rows_of_datasets(folder: Path):
    import datasets

    datasets.disable_progress_bars()
    hub = datasets.load_from_disk(folder / "hub")
    mixed = hub.shuffle(seed=0)
    numbers = datasets.load_from_disk(folder / "hub-numbers").with_format("numpy")
    mixed_numbers = numbers.shuffle(seed=0)

    def batches(dataset):
        return lambda: sum(len(batch["n"]) for batch in dataset.iter(1000))

    return {
        "datasets.Dataset, sequential": lambda: count(hub),
        "datasets.Dataset, shuffled": lambda: count(mixed),
        f"{_TABLE} sequential": batches(numbers),
        f"{_TABLE} shuffled": batches(mixed_numbers),
    }


def rows_of_pyarrow(folder: Path):
    import pyarrow.parquet as pq

    def rows():
        return sum(len(b.to_pylist()) for b in pq.ParquetFile(folder / "x.parquet").iter_batches(64, use_threads=False))

    def batches(number=0):
        for batch in pq.ParquetFile(folder / "numbers.parquet").iter_batches(1000, use_threads=False):
            number += len({name: batch[name].to_numpy() for name in batch.schema.names}["n"])
        return number

    return {"Parquet, batches of 64 as Python objects, sequential": rows, f"{_TABLE} of Parquet, sequential": batches}


def rows_of_flowtrain(folder: Path):
    import datasets

    from flowtrain.dataflow import BatchData, DataFromFiles, DataFromHuggingFace, MapData
    from flowtrain.dataflow.formats import HDF5Data, LMDBData, NpzData, ParquetData, TarData, TFRecordData

    def read(dp):
        with open(dp[0], "rb") as file:
            return [file.read()]

    flows = {}
    for order in ("sequential", "shuffled"):
        shuffle = order == "shuffled"
        flows[f"TFRecord, {order}"] = TFRecordData(folder / "x.tfrecord", "raw", shuffle=shuffle)
        flows[f"TFRecord without checksums, {order}"] = TFRecordData(
            folder / "x.tfrecord", "raw", shuffle=shuffle, verify=False
        )
        flows[f"LMDB, {order}"] = LMDBData(folder / "x.lmdb", shuffle=shuffle)
        flows[f"LMDB without checksums, {order}"] = LMDBData(folder / "x.lmdb", shuffle=shuffle, verify=False)
        flows[f"LMDB, uint8 arrays, {order}"] = LMDBData(folder / "arrays.lmdb", shuffle=shuffle)
        flows[f"LMDB of Tensorpack, uint8 arrays, {order}"] = LMDBData(
            folder / "tensorpack-arrays.lmdb", shuffle=shuffle
        )
        flows[f"LMDB of Tensorpack, {order}"] = LMDBData(folder / "tensorpack.lmdb", shuffle=shuffle)
        flows[f"tar, {order}"] = TarData(folder / "x.tar", "raw", shuffle=shuffle)
        flows[f"npz, {order}"] = NpzData(folder / "x.npz", shuffle=shuffle)
        flows[f"HDF5, {order}"] = HDF5Data(folder / "x.h5", shuffle=shuffle)
        flows[f"Parquet, {order}"] = ParquetData(folder / "x.parquet", decode="raw", shuffle=shuffle)
        hub = datasets.load_from_disk(folder / "hub")
        flows[f"datasets.Dataset, {order}"] = DataFromHuggingFace(hub, shuffle=shuffle)
        flows[f"{_TABLE} of Parquet, {order}"] = BatchData(
            ParquetData(folder / "numbers.parquet", shuffle=shuffle), 1000
        )
        hub = datasets.load_from_disk(folder / "hub-numbers")
        flows[f"{_TABLE} of datasets.Dataset, {order}"] = BatchData(DataFromHuggingFace(hub, shuffle=shuffle), 1000)
        flows[f"files, {order}"] = MapData(DataFromFiles(str(folder / "files/*.jpg"), shuffle=shuffle), read)
    return {name: lambda ds=ds: count(ds) for name, ds in flows.items()}


def rows_of_bare_loops(folder: Path):
    """The limit: get, CRC32C and unpack of the libraries underneath, in one loop with nothing around it."""
    import google_crc32c
    import lmdb
    import msgpack
    import numpy as np

    environment = lmdb.open(str(folder / "tensorpack.lmdb"), subdir=False, readonly=True, lock=False, readahead=False)
    transaction = environment.begin()
    get, crc, unpack = transaction.get, google_crc32c.value, msgpack.unpackb
    rng = np.random.default_rng(0)
    keys = [f"{i:08d}".encode() for i in range(RECORDS)]

    def only_get(number=0):
        for i in rng.permutation(RECORDS).tolist():
            get(keys[i])
            number += 1
        return number

    def unchecked(number=0):
        for i in rng.permutation(RECORDS).tolist():
            unpack(get(keys[i]))
            number += 1
        return number

    def checked(number=0):
        for i in rng.permutation(RECORDS).tolist():
            value = get(keys[i])
            crc(value)
            unpack(value)
            number += 1
        return number

    return {
        "LMDB get, shuffled": only_get,
        "LMDB get and unpack, shuffled": unchecked,
        "LMDB get, CRC32C and unpack, shuffled": checked,
    }


def rows_of_tf_data(folder: Path):
    import tensorflow as tf

    records = str(folder / "x.tfrecord")
    files = str(folder / "files/*.jpg")
    return {
        "TFRecord, batches of 64, sequential": lambda: sum(
            len(b.numpy()) for b in tf.data.TFRecordDataset(records).batch(64)
        ),
        "TFRecord, one by one, sequential": lambda: sum(1 for r in tf.data.TFRecordDataset(records) if r.numpy()),
        "files, batches of 64, sequential": lambda: sum(
            len(b.numpy()) for b in tf.data.Dataset.list_files(files, shuffle=False).map(tf.io.read_file).batch(64)
        ),
    }


def rows_of_tensorpack(folder: Path):
    import multiprocessing.util  # noqa: F401  (tensorpack hangs at exit without it)

    os.environ["TENSORPACK_SERIALIZE"] = "msgpack"
    import numpy as np

    np.float, np.object, np.int = float, object, int  # it predates NumPy 2
    from tensorpack.dataflow import LMDBSerializer

    def reader(name, shuffle):
        path = folder / (f"{name}-shuffled.lmdb" if shuffle else f"{name}.lmdb")
        ds = LMDBSerializer.load(str(path), shuffle=shuffle)
        ds.reset_state()
        return lambda: count(ds)

    return {
        "LMDB with decoder, sequential": reader("tensorpack", False),
        "LMDB with decoder, shuffled": reader("tensorpack", True),
        # its tutorials store the JPEG's bytes as an array
        "LMDB with decoder, uint8 arrays, sequential": reader("tensorpack-arrays", False),
        "LMDB with decoder, uint8 arrays, shuffled": reader("tensorpack-arrays", True),
    }


def rows_of_webdataset(folder: Path):
    import webdataset

    path = str(folder / "x.tar")
    return {"tar, sequential": lambda: count(webdataset.WebDataset(path, shardshuffle=False))}


LIBRARIES = {
    "flowtrain": rows_of_flowtrain,
    "bare loops": rows_of_bare_loops,
    "tf.data": rows_of_tf_data,
    "datasets": rows_of_datasets,
    "pyarrow": rows_of_pyarrow,
    "Tensorpack": rows_of_tensorpack,
    "webdataset": rows_of_webdataset,
}
PEERS_ELSEWHERE = ("Tensorpack", "webdataset")


def serve(library: str, folder: Path, only: str) -> None:
    """For each row's name on stdin, read all its records once and print the CPU microseconds per record."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints goes to stderr, so that stdout has answers only
    try:
        rows = {row: run for row, run in LIBRARIES[library](folder).items() if re.search(only, row)}
        for run in rows.values():
            run()
    except ImportError as error:
        print(json.dumps({"missing": str(error)}), file=answers, flush=True)
        return
    print(json.dumps({"rows": list(rows)}), file=answers, flush=True)
    for line in sys.stdin:
        run = rows[line.strip()]
        start = time.process_time()
        number = run()
        if number == NUMBERS // 1000:  # batches of flowtrain
            number = NUMBERS
        known = number in (RECORDS, NUMBERS)
        print((time.process_time() - start) / number * 1e6 if known else -1, file=answers, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", help="only rows whose name this pattern is found in")
    parser.add_argument("--write", type=Path, help="write the table into this Markdown file")
    parser.add_argument("--peers-python", default=sys.executable)
    parser.add_argument("--folder", type=Path, help="where the files are kept; a temporary folder without it")
    parser.add_argument("--serve", choices=LIBRARIES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve, arguments.folder, arguments.only or "")
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        make_files(folder)
        run = Run()
        figures, missing = measure(folder, arguments.rounds, arguments.peers_python, arguments.only or "")
    run.publish(f"{arguments.rounds} rounds", report(figures, missing), arguments.write)


Figures = dict[tuple[str, str], list[float]]


def measure(folder: Path, rounds: int, peers_python: str, only: str) -> tuple[Figures, dict[str, str]]:
    """Measure all rows in turns: (library, row) -> a figure for each round; and library -> why it is missing."""
    workers, figures, missing = {}, {}, {}
    for library in LIBRARIES:
        python = peers_python if library in PEERS_ELSEWHERE else sys.executable
        command = [python, __file__, "--serve", library, "--folder", str(folder), "--only", only]
        worker = subprocess.Popen(command, stdin=-1, stdout=-1, stderr=subprocess.DEVNULL, text=True)
        answer = json.loads(worker.stdout.readline() or '{"missing": "it ended"}')
        if "missing" in answer:
            missing[library] = answer["missing"]
            worker.communicate()
        else:
            workers[library] = worker
            figures.update({(library, row): [] for row in answer["rows"]})
    for _ in range(rounds):
        for (library, row), values in figures.items():
            print(row, file=workers[library].stdin, flush=True)
            values.append(float(workers[library].stdout.readline()))
    for worker in workers.values():
        worker.communicate()
    return figures, missing


TARGETS = [  # our row, the peer and its row, how many times as fast is wanted
    ("datasets.Dataset, sequential", "datasets", "datasets.Dataset, sequential", 1),
    ("datasets.Dataset, shuffled", "datasets", "datasets.Dataset, shuffled", 1),
    (f"{_TABLE} of datasets.Dataset, shuffled", "datasets", f"{_TABLE} shuffled", 1),
    ("Parquet, sequential", "pyarrow", "Parquet, batches of 64 as Python objects, sequential", 1),
    (f"{_TABLE} of Parquet, sequential", "pyarrow", f"{_TABLE} of Parquet, sequential", 1),
    ("TFRecord, sequential", "tf.data", "TFRecord, batches of 64, sequential", 2.5),
    ("LMDB, shuffled", "Tensorpack", "LMDB with decoder, shuffled", 1.5),
    ("LMDB, uint8 arrays, shuffled", "Tensorpack", "LMDB with decoder, uint8 arrays, shuffled", 1.5),
]


def report(figures: Figures, missing: dict[str, str]) -> str:
    """All rows as a table in Markdown, and the ratios."""
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for (library, row), values in figures.items():
        name, order = row.rsplit(", ", 1)
        name = name.rstrip(",")
        cells.setdefault((library, name), {})[order] = f"{statistics.median(values):.2f}"
    lines = ["| CPU us a record | in order | shuffled |", "| --- | ---: | ---: |"]
    for (library, name), found in cells.items():
        shown = f"**{library}**" if library == "flowtrain" else library
        lines.append(f"| {shown} {name} | {found.get('sequential', '')} | {found.get('shuffled', '')} |")
    lines += [f"| {library} | not installed: {why} | |" for library, why in missing.items()]
    lines.append("")
    for ours, library, theirs, target in TARGETS:
        if (library, theirs) in figures and ("flowtrain", ours) in figures:
            pairs = zip(figures[library, theirs], figures["flowtrain", ours], strict=True)
            ratio = statistics.median(a / b for a, b in pairs)
            lines.append(f"{ours}: {ratio:.2f} times as fast as {library}'s {theirs} (wanted: {target}).")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
