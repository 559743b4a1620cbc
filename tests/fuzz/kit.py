"""What a fuzz target is, and what all of them share: changes of seeds, files for an instant, values looked at whole."""

from __future__ import annotations

import contextlib
import itertools
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

CORPUS = Path(__file__).parent / "corpus"

# Lengths, counts and marks that readers trip over, in both byte orders.
NOTABLE = [
    *(b"\0", b"\x01", b"\x7f", b"\x80", b"\xff", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff" * 8, b"\x7f" + b"\xff" * 7),
    *(b"\x80\0\0\0", b"\0\0\0\x80", b"\xff\xff\xff\x7f", b"\x01\0\0\0", b"\0\0\0\x01", b"\xff" * 9 + b"\x01"),
    *(b"\n", b'"', b",", b"nan", b"1e999", b"-1", b"../", b"\xc1", b"\xdd\xff\xff\xff\xff", b"\xc7\x00\x06"),
]


@dataclass(frozen=True)
class Target:
    """A reader of bytes.

    Attributes:
        run: Reads the bytes, and looks at what came of them.
        allowed: The documented errors; any other is a finding.
        seeds: Bytes that are right, to change.
    """

    run: Callable[[bytes], Any]
    allowed: tuple[type[BaseException], ...]
    seeds: Callable[[], Iterable[bytes]]


def corpus(name: str) -> list[bytes]:
    """What was found earlier, each a file."""
    return [path.read_bytes() for path in sorted((CORPUS / name).glob("*"))]


def look(value: Any, depth: int = 0) -> None:
    """Use a value whole: an array over memory that is not its own would show here."""
    if isinstance(value, np.ndarray) and value.dtype.kind not in "OT":
        value.tobytes()
        repr(value)
    elif isinstance(value, np.ndarray):
        look(value.tolist(), depth)
    elif isinstance(value, dict):
        for key, part in value.items():
            look(key, depth + 1)
            look(part, depth + 1)
    elif isinstance(value, (list, tuple)) and depth < 500:
        for part in value:
            look(part, depth + 1)
    else:
        repr(value)


_numbers = itertools.count()
_folder = tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)


@contextlib.contextmanager
def in_folder() -> Iterator[Path]:
    """A folder for one input, never one of the same name again: an index is believed by name, size and time."""
    path = Path(_folder.name) / str(next(_numbers))
    path.mkdir()
    try:
        yield path
    finally:
        for file in sorted(path.rglob("*"), reverse=True):
            file.rmdir() if file.is_dir() else file.unlink()
        path.rmdir()


@contextlib.contextmanager
def in_file(data: bytes, name: str) -> Iterator[str]:
    with in_folder() as folder:
        path = folder / name
        path.write_bytes(data)
        yield str(path)


def written(name: str, write: Callable[[str], Any]) -> bytes:
    """The bytes of the file that a function writes."""
    with in_folder() as folder:
        path = folder / name
        write(str(path))
        return path.read_bytes()


# -- changes of seeds


def _changed(seed: bytes, changes: list[tuple[str, int, bytes]]) -> bytes:
    data = bytearray(seed)
    for kind, number, part in changes:
        at = number % (len(data) + 1)
        if kind == "put":
            data[at : at + len(part)] = part
        elif kind == "insert":
            data[at:at] = part
        elif kind == "drop":
            del data[at : at + len(part)]
        elif kind == "cut":
            del data[at:]
        elif kind == "flip" and at < len(data):
            data[at] ^= 1 << (number >> 16) % 8
        elif kind == "again":
            data[at:at] = data[max(0, at - 64) : at]
        if len(data) > 1 << 20:
            del data[1 << 20 :]
    return bytes(data)


def changed_seeds(seeds: list[bytes]) -> st.SearchStrategy[bytes]:
    """Seeds with a few changes, and bytes that are of nothing."""
    parts = st.one_of(st.sampled_from(NOTABLE), st.binary(min_size=1, max_size=8))
    kinds = st.sampled_from(["put", "flip", "insert", "drop", "again", "cut"])
    changes = st.lists(st.tuples(kinds, st.integers(0, 1 << 20), parts), min_size=1, max_size=6)
    return st.one_of(st.builds(_changed, st.sampled_from(seeds), changes), st.binary(max_size=200))
