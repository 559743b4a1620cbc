"""Training pictures as TFRecords: `shape` is int64 [channels, height, width], `data` the raw uint8 values."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

import flowtrain as ft
from flowtrain import TFRecordWriter, encode_example
from flowtrain.cli.options import pictures_beneath
from flowtrain.utils.files import writing


def read(path: str | Path) -> np.ndarray:
    """Read a picture file as uint8 (H, W, 3), RGB."""
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise ft.FlowtrainError(f"{path} is not a picture that OpenCV can read")
    return np.ascontiguousarray(picture[..., ::-1])


def make_tfrecords(folder: str | Path, target: str | Path, smallest: int = 256) -> tuple[int, list[Path]]:
    """Write all pictures of a folder to a TFRecord file.

    Args:
        folder: A folder of pictures.
        target: The file; it appears only when it is whole.
        smallest: Pictures with a side of fewer pixels are left out.

    Returns:
        The number of pictures written, and the paths of those left out.
    """
    found, small = pictures_beneath(folder), []
    with writing(target) as beside:
        with TFRecordWriter(beside) as writer:
            for path in tqdm(found, unit="picture"):
                picture = read(path)
                if min(picture.shape[:2]) < smallest:
                    small.append(path)
                    continue
                planes = np.ascontiguousarray(picture.transpose(2, 0, 1))
                writer.write(encode_example({"shape": np.array(planes.shape, np.int64), "data": planes.tobytes()}))
        if len(small) == len(found):
            raise ft.FlowtrainError(
                f"all {len(found)} pictures of {folder} have a side below {smallest} pixels: pass a smaller --smallest"
            )
    return len(found) - len(small), small
