"""TensorBoard's event files, written without the `tensorboard` package.

An event file is a TFRecord file of `Event` protocol buffers. TensorFlow has the record writer and the messages, all but
the message of the hparams plugin, whose few fields are encoded here.
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from flowtrain.dataflow.formats.protobuf import bytes_field

__all__ = ["EventFile", "histogram_value", "hparams_value", "image_value"]


_SECONDS = 5.0  # the longest that TensorBoard waits for a value, while values come


class EventFile:
    """A new event file, open for appending.

    Args:
        folder: The folder; made if missing.
        start_step: Have TensorBoard forget what earlier files hold from this step on; None: nothing.
        after: The name of the newest file in the folder. The new file's name follows it also if the clock was set back:
            TensorBoard reads the files of a folder in the order of their names.
    """

    _made = 0  # files that this process made: part of the name

    def __init__(self, folder: Path, start_step: int | None = None, after: str = "") -> None:
        import tensorflow as tf

        folder.mkdir(parents=True, exist_ok=True)
        EventFile._made += 1
        host = socket.gethostname()
        before = re.match(r"events\.out\.tfevents\.(\d+\.\d+)\.", after)
        # Time with a fixed number of digits, so that names sort as times do. 1e-5: the last digit is 1e-6, and a float
        # of today's time is exact to some 2e-7.
        now = max(time.time(), float(before[1]) + 1e-5 if before else 0.0)
        self.path = folder / f"events.out.tfevents.{now:017.6f}.{host}.{os.getpid()}.{EventFile._made}"
        self._event = tf.compat.v1.Event
        self._flushed = time.time()
        self._writer = tf.io.TFRecordWriter(str(self.path))
        self.add(0, file_version="brain.Event:2")  # the first record of each event file: TensorBoard reads its format
        if start_step is not None:
            start = tf.compat.v1.SessionLog(status=tf.compat.v1.SessionLog.START)
            self.add(start_step, session_log=start)
        self.flush()

    def add(self, step: int, **fields: object) -> None:
        """Append an event.

        Args:
            step: The global step.
            **fields: Fields of the Event message.
        """
        now = time.time()
        self._writer.write(self._event(wall_time=now, step=step, **fields).SerializeToString())
        if now > self._flushed + _SECONDS:
            self.flush()

    def add_value(self, step: int, **fields: object) -> None:
        """Append an event with one summary value.

        Args:
            step: The global step.
            **fields: Fields of the Summary.Value message.
        """
        import tensorflow as tf

        summary = tf.compat.v1.Summary(value=[tf.compat.v1.Summary.Value(**fields)])
        self.add(step, summary=summary)

    def flush(self) -> None:
        """Hand all events to the operating system."""
        self._flushed = time.time()
        self._writer.flush()

    def close(self) -> None:
        """Flush and release the file."""
        self._writer.close()


def image_value(image: np.ndarray) -> Any:
    """A picture as TensorBoard's image message, which holds a PNG.

    Args:
        image: uint8 (H, W, C), C = 1 (gray), 3 (RGB) or 4 (RGBA).
    """
    import cv2
    import tensorflow as tf

    height, width, channels = image.shape
    if channels == 3:
        image = image[..., ::-1]  # cv2 writes BGR
    elif channels == 4:
        image = image[..., [2, 1, 0, 3]]
    png = cv2.imencode(".png", np.ascontiguousarray(image))[1].tobytes()
    return tf.compat.v1.Summary.Image(height=height, width=width, colorspace=channels, encoded_image_string=png)


def histogram_value(values: np.ndarray, bins: int = 40) -> Any:
    """The distribution of some numbers as TensorBoard's histogram message; NaN and infinity are left out.

    Args:
        values: Numbers of any shape.
        bins: How many buckets of equal width.
    """
    import tensorflow as tf

    values = np.asarray(values, np.float64).ravel()
    values = values[np.isfinite(values)]
    if not values.size:
        values = np.zeros(1)
    low, high = float(values.min()), float(values.max())
    if not low < high:  # one bucket around a constant
        low, high = np.nextafter(low, -np.inf), np.nextafter(high, np.inf)
        bins = 1
    counts, edges = np.histogram(values, bins=bins, range=(low, high))
    # The first limit closes an empty bucket from minus infinity to the least value.
    return tf.compat.v1.HistogramProto(
        min=float(values.min()),
        max=float(values.max()),
        num=values.size,
        sum=float(values.sum()),
        sum_squares=float(np.square(values).sum()),
        bucket_limit=edges.tolist(),
        bucket=[0.0, *counts.tolist()],
    )


def hparams_value(hparams: Mapping[str, bool | float | str], start: float) -> dict[str, Any]:
    """A run's hyperparameters as a summary value for TensorBoard's hparams tab.

    Args:
        hparams: Name -> boolean, number or string.
        start: When the run began, in seconds since 1970.

    Returns:
        Fields for `EventFile.add_value`.
    """
    import tensorflow as tf
    from google.protobuf.struct_pb2 import Value

    def typed(value: bool | float | str) -> Value:
        if isinstance(value, bool):
            return Value(bool_value=value)
        return Value(string_value=value) if isinstance(value, str) else Value(number_value=float(value))

    # HParamsPluginData: version = 1 (0, left out), session_start_info = 3.
    # SessionStartInfo: hparams = 1 (a map), start_time_secs = 5 (a double).
    session = b"".join(
        bytes_field(1, bytes_field(1, name.encode()) + bytes_field(2, typed(value).SerializeToString()))
        for name, value in sorted(hparams.items())
    )
    # The tag of field 5 with wire type 1 (eight bytes, little endian), which bytes_field does not write.
    session += bytes([5 << 3 | 1]) + np.float64(start).astype("<f8").tobytes()
    plugin = tf.compat.v1.SummaryMetadata.PluginData(plugin_name="hparams", content=bytes_field(3, session))
    return {
        "tag": "_hparams_/session_start_info",
        "metadata": tf.compat.v1.SummaryMetadata(plugin_data=plugin),
        "tensor": tf.make_tensor_proto(0.0, dtype=tf.float32, shape=(1,)),
    }
