"""Reads scalars, pictures and histograms from a run's TensorBoard files, without TensorFlow.

The messages are those of tensorflow/core/util/event.proto and tensorflow/core/framework/summary.proto, in TFRecord
framing. The file of a running training may end inside a record: the whole records before are read.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..dataflow.formats.framing import FOOTER, HEADER
from ..dataflow.formats.protobuf import WireError, fields

__all__ = ["Events", "Histogram", "Picture", "read_events", "spread"]

_HEAD = struct.Struct("<Q")
_SCALAR, _IMAGE, _HISTOGRAM = 2, 4, 5  # fields of Summary.Value: simple_value (float), image, histo


class _Place(NamedTuple):
    """The place of a record in a file.

    The first pass over the files keeps places and not content: of thousands of pictures only a few are shown, and which
    ones is known only when all steps are. Those are read again.
    """

    path: Path
    at: int
    size: int


@dataclass(frozen=True)
class Picture:
    """One logged picture, encoded as in the file (PNG)."""

    step: int
    data: bytes


@dataclass(frozen=True)
class Histogram:
    """One logged histogram: bucket edges (N + 1,) and counts (N,)."""

    step: int
    edges: np.ndarray
    counts: np.ndarray


@dataclass
class Events:
    """The content of a run's TensorBoard files, by tag and in the order of steps."""

    scalars: dict[str, list[tuple[int, float, float]]] = field(default_factory=dict)
    """Tag -> (step, value, wall time)."""
    pictures: dict[str, list[Picture]] = field(default_factory=dict)
    histograms: dict[str, list[Histogram]] = field(default_factory=dict)


def read_events(folder: Path, most: int) -> Events:
    """Read all event files of a folder.

    Args:
        folder: Contains ``events.out.tfevents.*``; it may be missing.
        most: How many pictures and histograms of a tag to read, evenly spaced over the logged steps.

    Returns:
        Their content. Of a step that was logged twice, before a kill and again after the resume, the later one.
    """
    scalars: dict[str, dict[int, tuple[float, float]]] = {}
    places: dict[int, dict[str, dict[int, _Place]]] = {_IMAGE: {}, _HISTOGRAM: {}}
    for path in sorted(folder.glob("events.out.tfevents.*")):
        for place, record in _records(path):
            for step, wall, tag, values in _values(record):
                if _SCALAR in values:
                    scalars.setdefault(tag, {})[step] = struct.unpack("<f", values[_SCALAR])[0], wall
                for kind in (_IMAGE, _HISTOGRAM):
                    if kind in values:
                        places[kind].setdefault(tag, {})[step] = place
    found = Events()
    for tag, logged in scalars.items():
        found.scalars[tag] = [(step, *logged[step]) for step in sorted(logged)]
    for tag, at in places[_IMAGE].items():
        found.pictures[tag] = [_picture(step, _read(at[step], tag, _IMAGE)) for step in spread(sorted(at), most)]
    for tag, at in places[_HISTOGRAM].items():  # damaged ones, which are None, are left out: a heat map has no gaps
        all_of_it = [_histogram(step, _read(at[step], tag, _HISTOGRAM)) for step in spread(sorted(at), most)]
        found.histograms[tag] = [histogram for histogram in all_of_it if histogram is not None]
    return found


def spread(steps: list[int], most: int) -> list[int]:
    """At most `most` of the steps, evenly spaced, with the first and the last."""
    if len(steps) <= most:
        return steps
    return [steps[round(index)] for index in np.linspace(0, len(steps) - 1, most)]


def _records(path: Path) -> Iterator[tuple[_Place, bytes]]:
    """Yield the whole records of a file, with their places."""
    # Read and not memory-mapped: a run that is resumed meanwhile truncates its file, and access to a mapping beyond
    # the new end kills the process (SIGBUS).
    with path.open("rb") as file:
        at, end = 0, os.fstat(file.fileno()).st_size  # what is appended from now on is left to the next report
        while at + HEADER <= end:
            head = file.read(HEADER)
            if len(head) < HEADER:
                return
            # Checksums are not compared: of a damaged file as much is shown as can be parsed, as the run is what it is.
            (size,) = _HEAD.unpack_from(head)
            at += HEADER
            if at + size + FOOTER > end:
                return
            record = file.read(size + FOOTER)
            if len(record) < size + FOOTER:
                return
            yield _Place(path, at, size), record[:size]
            at += size + FOOTER


def _values(record: bytes) -> Iterator[tuple[int, float, str, dict[int, bytes]]]:
    """Yield (step, wall time, tag, fields) of each summary value in an event; nothing if the record is not an event."""
    try:
        # Event: wall_time = 1 (double), step = 2, summary = 5. Summary: value = 1. Summary.Value: tag = 1.
        event = {number: value for number, _, value in fields(record)}
        wall, step, summary = event.get(1, b""), event.get(2, 0), event.get(5, b"")
        if not isinstance(wall, bytes) or not isinstance(step, int) or not isinstance(summary, bytes):
            return
        for _, _, entry in fields(summary):
            parts = _parts(entry) if isinstance(entry, bytes) else {}
            if 1 in parts:
                yield step, struct.unpack("<d", wall)[0], parts[1].decode(), parts
    except (WireError, struct.error, UnicodeDecodeError):  # a damaged or foreign record: the others may be whole
        return


def _read(place: _Place, tag: str, kind: int) -> bytes:
    with place.path.open("rb") as file:
        file.seek(place.at)
        for _, _, name, values in _values(file.read(place.size)):
            if name == tag and kind in values:
                return values[kind]
    return b""


def _picture(step: int, image: bytes) -> Picture:
    """Parse Summary.Image (encoded_image_string = 4); if it is damaged the picture's data is empty."""
    return Picture(step, _parts(image).get(4, b""))


def _histogram(step: int, message: bytes) -> Histogram | None:
    """Parse HistogramProto (bucket_limit = 6, bucket = 7, both packed doubles); None if it is damaged.

    A limit is the right edge of its bucket. The first bucket that the TensorBoard monitor writes is empty and reaches
    from minus infinity to the least value: it is dropped, and its limit is the first edge.
    """
    parts = _parts(message)
    limits, counts = parts.get(6, b""), parts.get(7, b"")
    if len(limits) < 16 or len(limits) % 8 or len(limits) != len(counts):
        return None
    edges, buckets = np.frombuffer(limits, "<f8"), np.frombuffer(counts, "<f8")
    return Histogram(step, edges, buckets[1:])


def _parts(message: bytes) -> dict[int, bytes]:
    """The fields of a message that hold bytes, by number; empty if it is damaged."""
    try:
        return {number: value for number, _, value in fields(message) if isinstance(value, bytes)}
    except WireError:
        return {}
