"""What several tests of the dataflow share."""

from __future__ import annotations

import contextlib
import itertools
import socket
import sys
import time
from typing import Any

import cloudpickle
import numpy as np

from flowtrain.dataflow import DataFlow

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import the tests


class Numbers(DataFlow):
    """n datapoints that know where they are from; indexable, as a list or a dict."""

    def __init__(self, n: int, kind: str = "list", first: int = 0) -> None:
        self.n, self.kind, self.first = n, kind, first

    def __len__(self) -> int:
        return self.n

    def get(self, index: int, epoch: int = 0) -> Any:
        if not 0 <= index < self.n:
            raise IndexError(index)
        return datapoint(self.first + index, epoch, self.kind)


class Stream(DataFlow):
    """The same, but it can only be iterated; written as a user would."""

    def __init__(self, n: int, kind: str = "list", first: int = 0, known: bool = True) -> None:
        self.n, self.kind, self.first, self.known = n, kind, first, known

    def __len__(self) -> int:
        if not self.known:
            raise TypeError("unknown")
        return self.n

    def __iter__(self) -> Any:
        for index in range(self.n):
            yield datapoint(self.first + index, 0, self.kind)


def datapoint(number: int, epoch: int, kind: str) -> Any:
    image = np.full((6, 6, 3), number % 251, np.uint8)
    image[number % 6, (number // 6) % 6] = 255
    parts = {
        "image": image,
        "number": number,
        "half": number / 2,
        "points": np.array([[1.0, 2.0], [number % 6, 3.0]], np.float32),
        "even": number % 2 == 0,
        "epoch": epoch,
    }
    return parts if kind == "dict" else list(parts.values())


def same(a: Any, b: Any) -> bool:
    """Whether two values are alike to the last bit, their types included."""
    if isinstance(a, np.ndarray) and a.dtype == object and isinstance(b, np.ndarray):
        return a.shape == b.shape and b.dtype == object and all(map(same, a.ravel(), b.ravel()))
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and bool(a == b)


def first(ds: DataFlow, count: int) -> list[Any]:
    """The first datapoints of the next epoch."""
    return list(itertools.islice(iter(ds), count))


def loops(dp):
    """Hangs at datapoint 37 in Python code, which a signal interrupts."""
    while dp[0] == 37:
        pass
    return dp


def loops_whatever_comes(dp):
    """Hangs at datapoint 37 and swallows what would interrupt it."""
    while dp[0] == 37:
        with contextlib.suppress(BaseException):
            time.sleep(60)
    return dp


def free_address():
    """An address at which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"
