"""The work of work.py as users of each peer would write it: a function for each row, that returns batches."""

from __future__ import annotations

import tarfile
import tempfile
from pathlib import Path

import cv2
import numpy as np
from work import BATCH, MANY, PATHS, WORKERS, array, batch_of, nth_picture, small_lab, tiny_datapoints

# ---- Tensorpack


def _tensorpack():
    import multiprocessing.util  # noqa: F401  imported first, or tensorpack's processes hang at exit

    for name, value in {"float": float, "object": object, "bool": bool, "int": int}.items():
        if name not in np.__dict__:
            setattr(np, name, value)
    import tensorpack.dataflow as tp

    return tp


def _endless(tp, make):
    """A practically endless source of ``make(index)``."""

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
        # as in Tensorpack's own examples: the runner over datapoints, batches in the trainer's process
        return _reset(tp.BatchData(tp.MultiProcessRunnerZMQ(_tiny(tp), WORKERS, hwm=8 * 128), 128))
    if case == "arrays":
        ds = tp.DataFromList([[row] for row in array()], shuffle=True)
        ds = tp.MapData(ds, lambda dp: [dp[0] * np.float32(2)])
        return _reset(tp.BatchData(ds, 128))
    return tensorpack_runner(lambda i: [nth_picture(i)])


def tensorpack_runner(make):
    """Batches of datapoints, made in worker processes."""
    tp = _tensorpack()
    ds = tp.MapData(_endless(tp, lambda i: [i]), lambda dp: make(dp[0]))
    return _reset(tp.MultiProcessRunnerZMQ(tp.BatchData(ds, BATCH), WORKERS, hwm=4))


def tensorpack_batched(case: str):
    """Batches made in the workers: faster, though its examples do not do so."""
    tp = _tensorpack()
    return _reset(tp.MultiProcessRunnerZMQ(tp.BatchData(_tiny(tp), 128), WORKERS, hwm=8))


def _tiny(tp):
    tiny = tiny_datapoints()
    return _endless(tp, lambda i: [*tiny[i % 1000]])


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
        tiny = tiny_datapoints()
        return DataLoader(Map(lambda index: tiny[index % 1000]), batch_size=128, **options)
    if case == "arrays":
        data = th.from_numpy(array())
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
        ds = grain.MapDataset.source(Source(array().__getitem__, len(array()))).shuffle(seed=0)
        return ds.batch(128).map(lambda rows: rows * np.float32(2))
    if case.startswith("transport"):
        batch = batch_of(case)
        ds = grain.MapDataset.source(Source(lambda index: batch))
    elif case == "tiny":
        tiny = tiny_datapoints()
        ds = grain.MapDataset.source(Source(lambda index: tiny[index % 1000])).batch(128)
    else:
        ds = grain.MapDataset.source(Source(nth_picture)).batch(BATCH)
    return grain_iterated(ds, processes)


def grain_iterated(ds, processes: bool):
    """Iterate with worker processes, or with threads."""
    import grain
    from absl import flags

    if not processes:
        cv2.setNumThreads(1)
        return ds.to_iter_dataset(grain.ReadOptions(num_threads=WORKERS, prefetch_buffer_size=6))
    flags.FLAGS([__name__])  # what starts grain's workers asks for its flags, which absl's own main would have parsed
    read = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
    options = grain.MultiprocessingOptions(num_workers=WORKERS, per_worker_buffer_size=4)
    return ds.to_iter_dataset(read).mp_prefetch(options)


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
        ds = tf.data.Dataset.from_tensor_slices(array()).shuffle(10_000).batch(128, drop_remainder=True)
        ds = ds.map(lambda rows: rows * 2)
        return Again(ds.as_numpy_iterator)

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
    """What fit reads from a PyDataset on the TensorFlow backend: the adapter's tf.data pipeline."""
    adapter = _keras_adapter(case)
    return Again(lambda: keras_epoch(adapter, adapter.get_tf_dataset))


def keras_numpy(case: str):
    """What fit reads from a PyDataset on the JAX backend (and, but for a conversion, on torch): a NumPy iterator."""
    adapter = _keras_adapter(case)
    return Again(lambda: keras_epoch(adapter, adapter.get_numpy_iterator))


def _keras_adapter(case: str):
    import keras as k
    from keras.src.trainers.data_adapters.py_dataset_adapter import PyDatasetAdapter

    cv2.setNumThreads(1)
    images = array()
    order = np.random.default_rng(0).permutation(len(images))

    class Rows(k.utils.PyDataset):
        def __len__(self):
            return len(images) // 128

        def __getitem__(self, index):
            return (images[order[index * 128 : index * 128 + 128]] * np.float32(2),)

    class Pictures(k.utils.PyDataset):
        def __len__(self):
            return MANY

        def __getitem__(self, index):
            return (np.stack([nth_picture(index * BATCH + i) for i in range(BATCH)]),)

    made = Rows() if case == "arrays" else Pictures(workers=WORKERS, max_queue_size=6)
    return PyDatasetAdapter(made, shuffle=False)


def keras_epoch(adapter, batches):
    adapter.on_epoch_begin()
    yield from batches()
    adapter.on_epoch_end()


def jax(case: str):
    """JAX without a data library: NumPy's indexing, then the batch to the device."""
    import jax.numpy as jnp

    images = array()
    order = np.random.default_rng(0).permutation(len(images))
    starts = range(0, len(images) - 127, 128)
    return Again(lambda: (jnp.asarray(images[order[start : start + 128]] * np.float32(2)) for start in starts))


class Again:
    """An iterable that calls `make` for a new iterator each time."""

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
        return small_lab(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB))

    ds = wds.WebDataset([str(folder / f"{i}.tar") for i in range(WORKERS)], resampled=True, shardshuffle=False)
    ds = ds.to_tuple("jpg").map_tuple(decode).batched(BATCH)
    return wds.WebLoader(ds, batch_size=None, num_workers=WORKERS, persistent_workers=True, prefetch_factor=4)
