"""LocallyShuffleData: a shuffle within a buffer, for flows that can only be iterated."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

from ...utils.arguments import check_int, old_spellings
from ..core.base import DataFlow
from ..core.cursor import Datapoint, StageCursor
from ..core.datapoint import Memory
from ..core.proxy import ProxyDataFlow
from ..core.random_flow import RNGDataFlow
from .index_map import IndexMap, out_of_range

__all__ = ["LocallyShuffleData"]


@old_spellings(
    num_reuse="Put RepeatedDataPoint(ds, num) beneath it instead",
    nr_reuse="Put RepeatedDataPoint(ds, num) beneath it instead",
    shuffle_interval="Each block of half the buffer is shuffled anew, so it is not needed",
)
class LocallyShuffleData(IndexMap, ProxyDataFlow, RNGDataFlow):
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

    _caches = ("_held",)

    def __init__(self, ds: DataFlow, buffer_size: int, seed: int | Literal["random"] | None = None) -> None:
        ProxyDataFlow.__init__(self, ds)
        RNGDataFlow.__init__(self, seed)
        self.buffer_size = check_int("LocallyShuffleData", "buffer_size", buffer_size, least=2)
        self._half = self.buffer_size // 2
        self._held: tuple[Any, np.ndarray] | None = None  # the order of the latest block that get was asked for

    def _source(self, index: int, epoch: int) -> tuple[DataFlow, int, int]:
        size = self.size_or_none()
        if index < 0 or (size is not None and index >= size):
            raise out_of_range(self, index)
        # With block 0 its early half is handed out, with each that follows half a block and half of the one before;
        # with the last, which may be short or empty, all that is left.
        block = 0 if index < self._half // 2 else (index - self._half // 2) // self._half + 1
        if size is not None:
            block = min(block, size // self._half)
        held = self._held
        if held is None or held[0] != (epoch, block, size):
            full = size is None or (block + 1) * self._half <= size
            length = self._half if full else size - block * self._half  # type: ignore[operator]
            held = self._held = (epoch, block, size), self._order(epoch, block, length)
        return self.ds, int(held[1][index - self._first_place(block)]), epoch

    def _first_place(self, block: int) -> int:
        """How many datapoints are handed out before those of a block."""
        return (block - 1) * self._half + self._half // 2 if block else 0

    def _order(self, epoch: int, block: int, length: int) -> np.ndarray:
        """Draw what is handed out with a block: the late half of the one before, and the early half of this one.

        Returns:
            int64: indices of the flow beneath, in order.
        """
        parts = []
        if block:
            parts.append((block - 1) * self._half + self._split(epoch, block - 1)[self._half // 2 :])
        split = self._split(epoch, block) if length == self._half else np.arange(length)
        early = split[: self._half // 2] if length == self._half else split  # the last block is handed out whole
        parts.append(block * self._half + early)
        # Streams 2 * block and 2 * block + 1: a block's order can be drawn alone, without the blocks before it, which
        # is what lets a position be a few numbers.
        return self.stream.at(epoch, 2 * block + 1).permutation(np.concatenate(parts))

    def _split(self, epoch: int, block: int) -> np.ndarray:
        """Draw which places of a block are handed out early (the first half of the entries) and which late."""
        return self.stream.at(epoch, 2 * block).permutation(self._half)

    def _walk(self, walk: StageCursor, memory: Memory) -> Iterator[Datapoint]:
        block, handed = memory or (0, 0)
        child = walk.open(self.ds)
        rest = iter(child)
        # The input's position in a state is the start of the block before: half of that block is still in the buffer,
        # and which half is drawn again. So going on reads two blocks, and no picture is ever saved with a position.
        before = child.state()
        buffer: dict[int, Datapoint] = {}
        if block:  # what the buffer held of the block before
            self._read(rest, buffer, block - 1)
            for place in self._split(walk.epoch, block - 1)[: self._half // 2].tolist():
                del buffer[(block - 1) * self._half + place]
        full = True
        while full:
            start = child.state()
            length = self._read(rest, buffer, block)
            order = self._order(walk.epoch, block, length).tolist()
            for entry in order[:handed]:
                del buffer[entry]
            for number, entry in enumerate(order[handed:], handed + 1):
                walk.memory, walk.inputs_at = [block, number], [before]
                yield buffer.pop(entry)
            full = length == self._half
            before, block, handed = start, block + 1, 0

    def _read(self, rest: Iterator[Datapoint], buffer: dict[int, Datapoint], block: int) -> int:
        """Read a block into the buffer; returns how many datapoints it had."""
        place = first = block * self._half
        for datapoint in itertools.islice(rest, self._half):
            buffer[place] = datapoint
            place += 1
        return place - first

    def describe(self) -> str:
        return f"LocallyShuffleData({self.buffer_size})"
