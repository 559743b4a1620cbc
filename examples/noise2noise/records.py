"""Training pictures as TFRecords: `shape` is int64 [channels, height, width], `data` the raw uint8 values."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

import flowtrain as ft
from flowtrain import TFRecordWriter, encode_example

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}


def pictures(folder: str | Path) -> list[Path]:
    """All picture files beneath a folder, sorted."""
    return sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in SUFFIXES)


def read(path: str | Path) -> np.ndarray:
    """uint8 (H, W, 3), RGB."""
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise ft.FlowtrainError(f"{path} is not a picture that OpenCV can read")
    return np.ascontiguousarray(picture[..., ::-1])


def make_tfrecords(folder: str | Path, target: str | Path, smallest: int = 256) -> int:
    """Write all pictures of a folder, those below `smallest` pixels a side left out; returns how many there are."""
    count = 0
    with TFRecordWriter(target) as writer:
        for path in tqdm(pictures(folder), unit="picture"):
            picture = read(path)
            if min(picture.shape[:2]) < smallest:
                continue
            planes = np.ascontiguousarray(picture.transpose(2, 0, 1))
            writer.write(encode_example({"shape": np.array(planes.shape, np.int64), "data": planes.tobytes()}))
            count += 1
    return count
