"""Measures one contender in one case, for dataflow.py: python contenders.py CASE NAME SECONDS.

Each function below, and each in peers.py, takes a case and returns an iterable of batches, written as a user of the
library would write it, with two workers and a queue of about eight batches.
"""

from __future__ import annotations

import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import cv2
import imagenet
import numpy as np
import peers
from measuring import measure, report
from work import BATCH, MANY, PATHS, WORKERS, array, batch_of, nth_picture, small_lab, tiny_datapoints

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
        tiny = tiny_datapoints()

        class Tiny(df.DataFlow):
            def __len__(self):
                return MANY * 100

            def get(self, index, epoch=0):
                return tiny[index % 1000]

        return df.PrefetchData(df.BatchData(Tiny(), 128), 8, WORKERS)
    if case == "arrays":
        ds = df.MapData(df.DataFromArrays(array(), shuffle=True), _doubled, batched=True)
        return df.BatchData(ds, 128)
    return df.PrefetchData(df.BatchData(_pictures(df), BATCH), 6, WORKERS)


def _doubled(columns):
    return [columns[0] * np.float32(2)]


def _pictures(df, min_size=None):
    """[Lab picture (256, 256, 3)] for each file, without end."""
    ds = df.RepeatedData(df.ImageFromFile(PATHS, channel=3, min_size=min_size), -1)
    return df.MapData(ds, lambda dp: [small_lab(dp[0])])


def flowtrain_threads(case: str):
    import flowtrain.dataflow as df

    cv2.setNumThreads(1)
    return df.MultiThreadRunner(df.BatchData(_pictures(df), BATCH), 6, WORKERS)


def flowtrain_scaled(case: str):
    import flowtrain.dataflow as df

    return df.PrefetchData(df.BatchData(_pictures(df, min_size=256), BATCH), 6, WORKERS)


# ---- flowtrain for other frameworks: the same flows


def flowtrain_torch(case: str):
    from flowtrain.feed import to_torch

    return to_torch(flowtrain(case))


def flowtrain_jax(case: str):
    from flowtrain.feed import to_jax

    return to_jax(flowtrain(case))


def flowtrain_keras(case: str):
    from keras.src.trainers.data_adapters.py_dataset_adapter import PyDatasetAdapter

    import flowtrain.dataflow as df
    from flowtrain.feed import to_keras

    ds = flowtrain(case)
    adapter = PyDatasetAdapter(to_keras(ds if case == "arrays" else df.FixedSizeData(ds, MANY), 0), shuffle=False)
    return peers.Again(lambda: peers.keras_epoch(adapter, adapter.get_tf_dataset))


# ---- the limits


def limit_memcpy(case: str):
    """Copy a batch into a buffer and out again, in one process: what any hand-over through shared memory costs."""
    source = batch_of(case)
    middle, out = np.empty_like(source), np.empty_like(source)

    class Copies:
        def __iter__(self):
            while True:
                np.copyto(middle, source)
                np.copyto(out, middle)
                yield out

    return Copies()


def limit_numpy(case: str):
    """NumPy's indexing and multiplication alone, with a permutation made beforehand."""
    images = array()
    order = np.random.default_rng(0).permutation(len(images))
    starts = range(0, len(images) - 127, 128)
    return peers.Again(lambda: (images[order[start : start + 128]] * np.float32(2) for start in starts))


def limit_cv2(seconds: float) -> dict[str, float]:
    """The same OpenCV calls in bare processes that hand nothing over, with malloc's thresholds raised as in workers."""
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
    """Time to the first batch, memory of a worker, and overhead of a chain of stages."""
    import psutil

    import flowtrain.dataflow as df
    from flowtrain.ipc import shutdown

    shutdown()
    one, two = flowtrain("jpeg"), flowtrain("jpeg")
    start = time.perf_counter()
    it = iter(one)
    next(it)
    first = time.perf_counter() - start
    start = time.perf_counter()
    other = iter(two)
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
        report(imagenet.limit_cv2(case, seconds) if case.startswith("imagenet") else limit_cv2(seconds))
    elif name == "own_figures":
        report(own_figures(seconds))
    else:
        case = {"frameworks": "arrays", "frameworks-jpeg": "jpeg"}.get(case, case)
        per_batch = {"tiny": 128, "arrays": 128}.get(case, 1 if case.startswith("transport") else BATCH)
        if case.startswith("imagenet"):
            made = getattr(imagenet, name)(case)
        else:
            made = (globals().get(name) or getattr(peers, name))("jpeg" if case == "jpeg-busy" else case)
        report(measure(made, per_batch, seconds, spin_ms=60 if case == "jpeg-busy" else 0))
    os._exit(0)  # some libraries' workers never end, and a normal exit would wait for them; dataflow.py kills them


if __name__ == "__main__":
    main()
