"""ImageNet's recipe as each library's users would write it: JPEG -> random window, resized to 224 -> batches of 32.

The cases are ``imagenet`` (JPEGs of 500 x 375, what ImageNet has on average) and ``imagenet-720`` (1280 x 720). Windows
have 0.08 to 1 of the picture's area and an aspect ratio of 3/4 to 4/3, as in "Going Deeper with Convolutions". Each
function below gives an iterable of uint8 batches; files are shuffled, with two workers or threads.
"""

from __future__ import annotations

import functools
import math
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from peers import grain_iterated, tensorpack_runner
from work import BATCH, MANY, PATHS, WORKERS

SIZE, AREA, ASPECT = 224, (0.08, 1.0), (3 / 4, 4 / 3)
_REPEATED = 100  # times that the few photographs are listed, so that an epoch does not end at once


@functools.cache
def files(case: str) -> list[str]:
    """The photographs of the examples as JPEG files of the case's size, written anew by each measuring process."""
    width, height = (1280, 720) if case == "imagenet-720" else (500, 375)
    folder = Path(tempfile.mkdtemp())
    made = []
    for number, path in enumerate(PATHS):
        image = cv2.resize(cv2.imread(path), (width, height), interpolation=cv2.INTER_AREA)
        made.append(str(folder / f"{number:02d}.jpg"))
        cv2.imwrite(made[-1], image, [cv2.IMWRITE_JPEG_QUALITY, 90])
    return made


def window(rng: np.random.Generator, height: int, width: int) -> tuple[int, int, int, int]:
    """(y, x, height, width), as torchvision's RandomResizedCrop draws it."""
    for _ in range(10):
        area = height * width * rng.uniform(*AREA)
        aspect = math.exp(rng.uniform(math.log(ASPECT[0]), math.log(ASPECT[1])))
        columns, rows = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < columns <= width and 0 < rows <= height:
            return int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1)), rows, columns
    return 0, 0, height, width


def picture(path: str, seed: int) -> np.ndarray:
    """Decode a whole picture with OpenCV, then crop and resize it, as users of plain Python loaders do."""
    image = cv2.imread(path, cv2.IMREAD_COLOR_RGB)
    y, x, rows, columns = window(np.random.default_rng(seed), *image.shape[:2])
    return cv2.resize(image[y : y + rows, x : x + columns], (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)


# ---- flowtrain


def flowtrain(case: str, min_size: int | None = None):
    import flowtrain.dataflow as df
    from flowtrain.dataflow import imgaug

    ds = df.ImageFromFile(files(case) * _REPEATED, shuffle=True, min_size=min_size)
    ds = df.AugmentImageComponent(ds, [imgaug.RandomResizedCrop(SIZE, AREA, ASPECT)])
    return df.PrefetchData(df.BatchData(ds, BATCH), 6, WORKERS)


def flowtrain_scaled(case: str):
    return flowtrain(case, min_size=SIZE)


def flowtrain_threads(case: str):
    import flowtrain.dataflow as df
    from flowtrain.dataflow import imgaug

    cv2.setNumThreads(1)
    ds = df.ImageFromFile(files(case) * _REPEATED, shuffle=True)
    ds = df.AugmentImageComponent(ds, [imgaug.RandomResizedCrop(SIZE, AREA, ASPECT)])
    return df.MultiThreadRunner(df.BatchData(ds, BATCH), 6, WORKERS)


# ---- the limit


def limit_cv2(case: str, seconds: float) -> dict[str, float]:
    """The same OpenCV calls in bare processes that hand nothing over."""
    import multiprocessing

    with multiprocessing.get_context("spawn").Pool(WORKERS) as pool:
        results = pool.starmap(_bare, [(files(case), seconds)] * WORKERS, chunksize=1)
    return {"rate": sum(r[0] for r in results), "cpu_ms": sum(r[1] for r in results) / WORKERS}


def _bare(paths: list[str], seconds: float) -> tuple[float, float]:
    from flowtrain.ipc.worker import quiet

    quiet()
    cv2.setNumThreads(1)
    out = np.empty((BATCH, SIZE, SIZE, 3), np.uint8)
    for count in range(2 * BATCH):
        out[count % BATCH] = picture(paths[count % len(paths)], count)
    start, cpu, count = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - start < seconds:
        out[count % BATCH] = picture(paths[count % len(paths)], count)
        count += 1
    return count / (time.perf_counter() - start), 1e3 * (time.process_time() - cpu) / count


# ---- peers


def tfdata_fused(case: str):
    """tf.data with its fused decoder: a window is drawn from the size in the header; only its blocks are decoded."""
    import tensorflow as tf

    def load(path):
        data = tf.io.read_file(path)
        shape = tf.io.extract_jpeg_shape(data)
        begin, size, _ = tf.image.sample_distorted_bounding_box(
            shape,
            tf.zeros([1, 0, 4]),
            min_object_covered=0.0,
            aspect_ratio_range=ASPECT,
            area_range=AREA,
            max_attempts=10,
            use_image_if_no_bounding_boxes=True,
        )
        image = tf.io.decode_and_crop_jpeg(data, tf.concat([begin[:2], size[:2]], 0), channels=3)
        return tf.cast(tf.image.resize(image, (SIZE, SIZE)), tf.uint8)

    paths = files(case)
    ds = tf.data.Dataset.from_tensor_slices(paths * _REPEATED).shuffle(len(paths) * _REPEATED).repeat()
    return ds.map(load, num_parallel_calls=WORKERS).batch(BATCH, drop_remainder=True).prefetch(6)


def dali(case: str):
    """NVIDIA DALI's pipeline on the processor, with its fused decoder."""
    from nvidia.dali import fn, pipeline_def, types

    @pipeline_def(batch_size=BATCH, num_threads=WORKERS, device_id=None, prefetch_queue_depth=6)
    def pipeline():
        data, _ = fn.readers.file(files=files(case) * _REPEATED, random_shuffle=True)
        images = fn.decoders.image_random_crop(
            data, device="cpu", output_type=types.RGB, random_area=AREA, random_aspect_ratio=ASPECT
        )
        return fn.resize(images, size=(SIZE, SIZE), interp_type=types.INTERP_LINEAR, antialias=False)

    built = pipeline()
    built.build()

    class Batches:
        def __iter__(self):
            while True:
                yield built.run()[0].as_array()

    return Batches()


def torch(case: str):
    import torch as th
    from torch.utils.data import DataLoader, Dataset

    paths = files(case)

    class Pictures(Dataset):
        def __len__(self):
            return len(paths) * _REPEATED

        def __getitem__(self, index):
            return th.from_numpy(picture(paths[index % len(paths)], index))

    options = {"num_workers": WORKERS, "persistent_workers": True, "prefetch_factor": 4}
    return DataLoader(Pictures(), batch_size=BATCH, shuffle=True, drop_last=True, **options)


def grain(case: str, processes: bool = True):
    import grain as gr

    paths = files(case)

    class Source:
        def __len__(self):
            return MANY

        def __getitem__(self, index):
            return picture(paths[int(index) % len(paths)], int(index))

        def __repr__(self):
            return "Source"

    ds = gr.MapDataset.source(Source()).shuffle(seed=0).batch(BATCH)
    return grain_iterated(ds, processes)


def grain_threads(case: str):
    return grain(case, processes=False)


def tensorpack(case: str):
    paths = files(case)
    return tensorpack_runner(lambda index: [picture(paths[index % len(paths)], index)])
