"""LocallyShuffleData: a shuffle of flows that can only be iterated."""

from __future__ import annotations

import itertools
from typing import Any, Literal

import numpy as np

from ...utils.arguments import check_int, old_spellings
from ..core.base import DataFlow, ProxyDataFlow, RNGDataFlow
from ..core.cursor import Cursor, Datapoint, IndexCursor
from .slices import out_of_range

__all__ = ["LocallyShuffleData"]


@old_spellings(
    num_reuse="Put RepeatedDataPoint(ds, num) beneath it instead",
    nr_reuse="Put RepeatedDataPoint(ds, num) beneath it instead",
    shuffle_interval="Each block of half the buffer is shuffled anew, so it is not needed",
)
class LocallyShuffleData(ProxyDataFlow, RNGDataFlow):
    """Shuffle within a buffer, for flows that cannot be shuffled at their source.

    The flow is read in blocks of half the buffer. A random half of each block is held back and handed out together
    with the next block, in random order. So a datapoint moves by up to one buffer's length, and what the buffer holds
    follows from the position alone: a state is a few numbers, not the buffer's pictures, and going on reads at most
    ``buffer_size`` datapoints again.

    Args:
        ds: The flow beneath.
        buffer_size: How many datapoints are held at once.
        seed: None takes the default.

    Order: depends on (seed, epoch). Each datapoint once an epoch, and the length is that of ``ds``. Indexable where
    ``ds`` is (where ``ShuffleData``, a full shuffle, is the better choice unless neighbours are cheaper to read).

    State: that of ``ds`` at the start of a block, and two numbers.

    Example:
        >>> from flowtrain.dataflow import DataFromGenerator
        >>> ds = LocallyShuffleData(DataFromGenerator(lambda: ([i] for i in range(100))), buffer_size=20)
        >>> sorted(ds) == [[i] for i in range(100)]
        True
    """

    def __init__(self, ds: DataFlow, buffer_size: int, seed: int | Literal["random"] | None = None) -> None:
        ProxyDataFlow.__init__(self, ds)
        RNGDataFlow.__init__(self, seed)
        self.buffer_size = check_int("LocallyShuffleData", "buffer_size", buffer_size, least=2)
        self._half = self.buffer_size // 2
        self._held: tuple[Any, np.ndarray] | None = None

    def get(self, index: int, epoch: int = 0) -> Datapoint:
        size = self.size_or_none()
        if index < 0 or (size is not None and index >= size):
            raise out_of_range(self, index)
        return self.ds.get(self._source(index, epoch, size), epoch)

    def _source(self, index: int, epoch: int, size: int | None) -> int:
        """Which datapoint of the flow beneath is handed out at a place."""
        block = 0 if index < self._half // 2 else (index - self._half // 2) // self._half + 1
        if size is not None:
            block = min(block, size // self._half)
        held = self._held
        if held is None or held[0] != (epoch, block, size):
            full = size is None or (block + 1) * self._half <= size
            length = self._half if full else size - block * self._half  # type: ignore[operator]
            held = self._held = (epoch, block, size), self._order(epoch, block, length)
        return int(held[1][index - self._first_place(block)])

    def _first_place(self, block: int) -> int:
        """The place of the first datapoint that is handed out with a block."""
        return (block - 1) * self._half + self._half // 2 if block else 0

    def _order(self, epoch: int, block: int, length: int) -> np.ndarray:
        """What is handed out with a block: the late half of the one before, and the early half of this one."""
        parts = []
        if block:
            parts.append((block - 1) * self._half + self._split(epoch, block - 1)[self._half // 2 :])
        split = self._split(epoch, block) if length == self._half else np.arange(length)
        early = split[: self._half // 2] if length == self._half else split  # the last block is handed out whole
        parts.append(block * self._half + early)
        return self.stream.at(epoch, 2 * block + 1).permutation(np.concatenate(parts))

    def _split(self, epoch: int, block: int) -> np.ndarray:
        return self.stream.at(epoch, 2 * block).permutation(self._half)

    def _cursor(self, epoch: int, state: Any = None) -> Cursor:
        return IndexCursor(self, epoch, state) if self.indexable else _BufferCursor(self, epoch, state)

    def _set_seed(self, seed: int) -> None:
        super()._set_seed(seed)
        self._held = None

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_held": None}

    def describe(self) -> str:
        return f"LocallyShuffleData({self.buffer_size})"


class _BufferCursor(Cursor):
    """Its position: the block, how many of its datapoints were handed out, and where the block before starts."""

    def __init__(self, stage: LocallyShuffleData, epoch: int, state: Any = None) -> None:
        super().__init__(epoch)
        self._stage = stage
        self._block, self._handed, opened = state or (0, 0, None)
        self._child = stage.ds._open(epoch, opened)
        self._before = self._child.state()  # where the block before starts; of the first block, where it itself does
        self._now: Any = None  # where this block starts
        self._buffer: dict[int, Datapoint] = {}
        self._order: list[int] = []
        self._last = self._filled = False

    def __next__(self) -> Datapoint:
        if not self._filled:
            self._fill_again()
        while self._handed == len(self._order):
            if self._last:
                raise StopIteration
            self._before, self._block, self._handed = self._now, self._block + 1, 0
            self._load()
        datapoint = self._buffer.pop(self._order[self._handed])
        self._handed += 1
        return datapoint

    def _fill_again(self) -> None:
        """Read what the buffer held at a saved position."""
        stage = self._stage
        if self._block:
            self._read(self._block - 1)
            early = stage._split(self.epoch, self._block - 1)[: stage._half // 2]
            for place in early.tolist():
                del self._buffer[(self._block - 1) * stage._half + place]
        self._load()
        for entry in self._order[: self._handed]:
            del self._buffer[entry]
        self._filled = True

    def _load(self) -> None:
        """Read this block, and draw the order of what is handed out with it."""
        self._now = self._child.state()
        length = self._read(self._block)
        self._last = length < self._stage._half
        self._order = self._stage._order(self.epoch, self._block, length).tolist()

    def _read(self, block: int) -> int:
        first = block * self._stage._half
        length = 0
        for datapoint in itertools.islice(self._child, self._stage._half):
            self._buffer[first + length] = datapoint
            length += 1
        return length

    def state(self) -> list[Any]:
        return [self._block, self._handed, self._before]

    def close(self) -> None:
        self._child.close()
