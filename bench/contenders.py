"""The same work written for each library: python contenders.py CASE NAME SECONDS. Used by dataflow.py.

Each function below gives an iterable of batches. What a library's users would write, with two workers and a queue of
about eight batches, is what is written here.
"""

from __future__ import annotations

import os
import sys
import tarfile
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import cv2
import numpy as np
from measuring import measure, report

PHOTOS = sorted(Path(__file__).parent.parent.glob("examples/colorize/photos/**/*.jpg"))
PATHS = [str(path) for path in PHOTOS]
MANY = 1_000_000  # datapoints in an "epoch": none ends while it is measured
BATCH = 32
WORKERS = 2


def picture(path: str) -> np.ndarray:
    """JPEG -> 256 x 256 -> Lab, float32."""
    image = cv2.imread(path, cv2.IMREAD_COLOR_RGB)
    image = cv2.resize(image, (256, 256), interpolation=cv2.INTER_LINEAR)
    return cv2.cvtColor(image.astype(np.float32) * np.float32(1 / 255), cv2.COLOR_RGB2Lab)


def nth_picture(index: int) -> np.ndarray:
    return picture(PATHS[index % len(PATHS)])


def batch_of(case: str) -> np.ndarray:
    shape = (32, 256, 256, 3)
    return np.ones(shape, np.uint8) if case == "transport-uint8" else np.ones(shape, np.float32)


TINY = [(np.full((28, 28), i, np.float32), i) for i in range(1000)]
ARRAY = np.random.default_rng(0).random((60_000, 28, 28), dtype=np.float32)


# ---- flowtrain


def flowtrain(case: str):
    import flowtrain.dataflow as df

    if case.startswith("transport"):
        batch = batch_of(case)

        class Batches(df.DataFlow):
            def __len__(self):
                return MANY

            def get(self, index, epoch=0):
                return [batch]

        return df.PrefetchData(Batches(), 4, WORKERS)
    if case == "tiny":
        tiny = TINY

        class Tiny(df.DataFlow):
            def __len__(self):
                return MANY * 100

            def get(self, index, epoch=0):
                return tiny[index % 1000]

        return df.PrefetchData(df.BatchData(Tiny(), 128), 8, WORKERS)
    if case == "arrays":
        ds = df.MapData(df.DataFromArrays(ARRAY, shuffle=True), _doubled, batched=True)
        return df.BatchData(ds, 128)
    return df.PrefetchData(df.BatchData(_pictures(df), BATCH), 6, WORKERS)


def _doubled(columns):
    return [columns[0] * np.float32(2)]


def _pictures(df):
    return df.MapData(df.DataFromList(range(MANY)), lambda index: [nth_picture(index)])


def flowtrain_threads(case: str):
    import flowtrain.dataflow as df

    cv2.setNumThreads(1)
    return df.MultiThreadRunner(df.BatchData(_pictures(df), BATCH), 6, WORKERS)


def flowtrain_scaled(case: str):
    import flowtrain.dataflow as df

    paths = PATHS * 2000

    def lab(dp):
        image = cv2.resize(dp[0], (256, 256), interpolation=cv2.INTER_LINEAR)
        return [cv2.cvtColor(image.astype(np.float32) * np.float32(1 / 255), cv2.COLOR_RGB2Lab)]

    ds = df.MapData(df.ImageFromFile(paths, channel=3, min_size=256), lab)
    return df.PrefetchData(df.BatchData(ds, BATCH), 6, WORKERS)


# ---- Tensorpack


def _tensorpack():
    import multiprocessing.util  # noqa: F401  first, or tensorpack's processes hang at exit

    for name, value in {"float": float, "object": object, "bool": bool, "int": int}.items():
        if name not in np.__dict__:
            setattr(np, name, value)
    import tensorpack.dataflow as tp

    return tp


def _endless(tp, make):
    """A source without an end, as Tensorpack's users write one."""

    class Endless(tp.DataFlow):
        def __iter__(self):
            for i in range(MANY * 100):
                yield make(i)

        def __len__(self):
            return MANY * 100

    return Endless()


def tensorpack(case: str):
    tp = _tensorpack()
    if case.startswith("transport"):
        batch = batch_of(case)
        return _reset(tp.MultiProcessRunnerZMQ(_endless(tp, lambda i: [batch]), WORKERS, hwm=4))
    if case == "tiny":
        # as in Tensorpack's own examples: the runner over datapoints, the batches in the trainer's process
        return _reset(tp.BatchData(tp.MultiProcessRunnerZMQ(_tiny(tp), WORKERS, hwm=8 * 128), 128))
    if case == "arrays":
        ds = tp.DataFromList([[row] for row in ARRAY], shuffle=True)
        ds = tp.MapData(ds, lambda dp: [dp[0] * np.float32(2)])
        return _reset(tp.BatchData(ds, 128))
    ds = tp.MapData(_endless(tp, lambda i: [i]), lambda dp: [nth_picture(dp[0])])
    return _reset(tp.MultiProcessRunnerZMQ(tp.BatchData(ds, BATCH), WORKERS, hwm=4))


def tensorpack_batched(case: str):
    """Batches made in the workers: the faster way, which its examples do not take."""
    tp = _tensorpack()
    return _reset(tp.MultiProcessRunnerZMQ(tp.BatchData(_tiny(tp), 128), WORKERS, hwm=8))


def _tiny(tp):
    return _endless(tp, lambda i: [*TINY[i % 1000]])


def tensorpack_threads(case: str):
    tp = _tensorpack()
    cv2.setNumThreads(1)
    ds = tp.MultiThreadMapData(
        _endless(tp, lambda i: [i]), WORKERS, lambda dp: [nth_picture(dp[0])], buffer_size=6 * BATCH
    )
    return _reset(tp.BatchData(ds, BATCH))


def _reset(ds):
    ds.reset_state()
    return ds


# ---- torch


def torch(case: str):
    import torch as th
    from torch.utils.data import DataLoader, Dataset

    class Map(Dataset):
        def __init__(self, make, size=MANY):
            self.make, self.size = make, size

        def __len__(self):
            return self.size

        def __getitem__(self, index):
            return self.make(index)

    options = {"num_workers": WORKERS, "persistent_workers": True, "prefetch_factor": 4}
    if case.startswith("transport"):
        batch = batch_of(case)  # an array: a tensor would be moved to shared memory once, and not copied again
        return DataLoader(Map(lambda index: batch), batch_size=None, **options)
    if case == "tiny":
        return DataLoader(Map(lambda index: TINY[index % 1000]), batch_size=128, **options)
    if case == "arrays":
        data = th.from_numpy(ARRAY)
        return DataLoader(Map(lambda index: data[index] * 2, len(data)), batch_size=128, shuffle=True)
    return DataLoader(Map(lambda index: th.from_numpy(nth_picture(index))), batch_size=BATCH, **options)


# ---- grain


def _grain(case: str, processes: bool):
    import grain

    class Source:
        def __init__(self, make, size=MANY):
            self.make, self.size = make, size

        def __len__(self):
            return self.size

        def __getitem__(self, index):
            return self.make(int(index))

        def __repr__(self):
            return "Source"

    if case == "arrays":
        ds = grain.MapDataset.source(Source(ARRAY.__getitem__, len(ARRAY))).shuffle(seed=0)
        return ds.batch(128).map(lambda rows: rows * np.float32(2))
    if case.startswith("transport"):
        batch = batch_of(case)
        ds = grain.MapDataset.source(Source(lambda index: batch))
    elif case == "tiny":
        ds = grain.MapDataset.source(Source(lambda index: TINY[index % 1000])).batch(128)
    else:
        ds = grain.MapDataset.source(Source(nth_picture)).batch(BATCH)
    if processes:
        read = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
        options = grain.MultiprocessingOptions(num_workers=WORKERS, per_worker_buffer_size=4)
        return ds.to_iter_dataset(read).mp_prefetch(options)
    cv2.setNumThreads(1)
    return ds.to_iter_dataset(grain.ReadOptions(num_threads=WORKERS, prefetch_buffer_size=6))


def grain(case: str):
    return _grain(case, processes=case != "arrays")


def grain_threads(case: str):
    return _grain(case, processes=False)


# ---- tf.data and Keras


def tfdata_numpy(case: str):
    """cv2 called through numpy_function, two calls at a time."""
    import tensorflow as tf

    cv2.setNumThreads(1)
    if case == "arrays":
        ds = tf.data.Dataset.from_tensor_slices(ARRAY).shuffle(10_000).batch(128, drop_remainder=True)
        ds = ds.map(lambda rows: rows * 2)
        return _Again(ds.as_numpy_iterator)

    def load(index):
        made = tf.numpy_function(nth_picture, [index], tf.float32)
        return tf.ensure_shape(made, (256, 256, 3))

    ds = tf.data.Dataset.range(MANY).map(load, num_parallel_calls=WORKERS).batch(BATCH)
    return ds.prefetch(6)


def tfdata_native(case: str):
    """Decoding, resizing and Lab in TensorFlow's own operations."""
    import tensorflow as tf

    def load(path):
        image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
        image = tf.image.resize(tf.cast(image, tf.float32) / 255, (256, 256))
        linear = tf.where(image <= 0.04045, image / 12.92, ((image + 0.055) / 1.055) ** 2.4)
        matrix = [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]]
        white = tf.constant([0.950456, 1.0, 1.088754])
        xyz = tf.tensordot(linear, tf.transpose(tf.constant(matrix)), 1) / white
        f = tf.where(xyz > 0.008856, xyz ** (1 / 3), 7.787 * xyz + 16 / 116)
        x, y, z = tf.unstack(f, axis=-1)
        return tf.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)

    ds = tf.data.Dataset.from_tensor_slices(PATHS).repeat().map(load, num_parallel_calls=WORKERS)
    return ds.batch(BATCH).prefetch(6)


def keras(case: str):
    import keras as k

    cv2.setNumThreads(1)

    order = np.random.default_rng(0).permutation(len(ARRAY))

    class Rows(k.utils.PyDataset):
        def __len__(self):
            return len(ARRAY) // 128

        def __getitem__(self, index):
            return ARRAY[order[index * 128 : index * 128 + 128]] * np.float32(2)

    class Pictures(k.utils.PyDataset):
        def __len__(self):
            return MANY

        def __getitem__(self, index):
            return np.stack([nth_picture(index * BATCH + i) for i in range(BATCH)])

    if case == "arrays":
        rows = Rows()
        return _Again(lambda: (rows[i] for i in range(len(rows))))
    from keras.src.trainers.data_adapters.py_dataset_adapter import PyDatasetAdapter

    adapter = PyDatasetAdapter(Pictures(workers=WORKERS, max_queue_size=6), shuffle=False)
    adapter.on_epoch_begin()
    return _Again(adapter.get_numpy_iterator)


class _Again:
    def __init__(self, make):
        self._make = make

    def __iter__(self):
        return iter(self._make())


# ---- webdataset


def webdataset(case: str):
    import webdataset as wds

    folder = Path(tempfile.mkdtemp())
    for shard in range(WORKERS):
        with tarfile.open(folder / f"{shard}.tar", "w") as tar:
            for i, path in enumerate(PATHS * 20):
                tar.add(path, f"{i:06d}.jpg")

    def decode(data: bytes) -> np.ndarray:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
        image = cv2.resize(image, (256, 256), interpolation=cv2.INTER_LINEAR)
        return cv2.cvtColor(image.astype(np.float32) * np.float32(1 / 255), cv2.COLOR_RGB2Lab)

    ds = wds.WebDataset([str(folder / f"{i}.tar") for i in range(WORKERS)], resampled=True, shardshuffle=False)
    ds = ds.to_tuple("jpg").map_tuple(decode).batched(BATCH)
    return wds.WebLoader(ds, batch_size=None, num_workers=WORKERS, persistent_workers=True, prefetch_factor=4)


# ---- the limits


def limit_memcpy(case: str):
    """One process copies a batch in and out of a buffer."""
    source = batch_of(case)
    middle, out = np.empty_like(source), np.empty_like(source)

    class Copies:
        def __iter__(self):
            while True:
                np.copyto(middle, source)
                np.copyto(out, middle)
                yield out

    return Copies()


def limit_cv2(seconds: float) -> dict[str, float]:
    """The same calls in bare processes, with malloc's thresholds raised too: no library at all."""
    import multiprocessing

    with multiprocessing.get_context("spawn").Pool(WORKERS) as pool:
        results = pool.map(_bare, [seconds] * WORKERS, chunksize=1)
    return {"rate": sum(r[0] for r in results), "cpu_ms": sum(r[1] for r in results) / WORKERS}


def _bare(seconds: float) -> tuple[float, float]:
    from flowtrain.ipc.worker import quiet

    quiet()
    cv2.setNumThreads(1)
    out = np.empty((BATCH, 256, 256, 3), np.float32)
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < 0.7:
        nth_picture(count)
        count += 1
    start, cpu, count = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - start < seconds:
        out[count % BATCH] = nth_picture(count)
        count += 1
    return count / (time.perf_counter() - start), 1e3 * (time.process_time() - cpu) / count


# ---- flowtrain's own figures


def own_figures(seconds: float) -> dict[str, float]:
    import psutil

    import flowtrain.dataflow as df
    from flowtrain.ipc import shutdown

    shutdown()
    start = time.perf_counter()
    it = iter(flowtrain("jpeg"))
    next(it)
    first = time.perf_counter() - start
    start = time.perf_counter()
    other = iter(flowtrain("jpeg"))
    next(other)
    again = time.perf_counter() - start
    other.close()
    it.close()

    ds = df.PrefetchData(df.DataFromList([[i] for i in range(100)]), num_proc=2)
    it = iter(ds)
    next(it)
    pss = [psutil.Process(pid).memory_full_info().pss for pid in ds._latest._crew.pids]
    it.close()

    def f(dp):
        return dp

    bare = min(_timed(lambda: [f(f(f(f([i])))) for i in range(20_000)]) for _ in range(5)) / 20_000
    chain = df.DataFromList([[i] for i in range(20_000)])
    for _ in range(4):
        chain = df.MapData(chain, f)
    flow = min(_timed(lambda: [dp for dp in chain]) for _ in range(5)) / 20_000
    return {
        "first": first,
        "again": again,
        "pss_mb": max(pss) / 1e6,
        "overhead_us": 1e6 * (flow - bare),
    }


def _timed(call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    case, name, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
    if name == "limit_cv2":
        report(limit_cv2(seconds))
    elif name == "own_figures":
        report(own_figures(seconds))
    else:
        per_batch = {"tiny": 128, "arrays": 128, "jpeg": BATCH, "jpeg-busy": BATCH}.get(case, 1)
        made = globals()[name]("jpeg" if case == "jpeg-busy" else case)
        report(measure(made, per_batch, seconds, spin_ms=60 if case == "jpeg-busy" else 0))
    os._exit(0)  # some libraries' workers do not end by themselves; whoever started this kills what is left


if __name__ == "__main__":
    main()
