"""Stages that mix several flows at random."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from ...utils.arguments import check_int, if_given, old_spellings
from ...utils.errors import DataFlowError
from ..core.base import DataFlow
from ..core.cursor import Datapoint, StageCursor, empty_epoch
from ..core.datapoint import Memory
from ..core.random_flow import RNGDataFlow
from .combine import SeveralFlows
from .index_map import IndexMap, endless, out_of_range

__all__ = ["RandomChooseData", "RandomMixData"]

_BLOCK = 4096
_AGAIN = 2**20  # offset between two epochs: of an endless stage in blocks, of an iterated one in epochs beneath


@old_spellings(df_lists="flows")
class RandomChooseData(IndexMap, SeveralFlows, RNGDataFlow):
    """Draw each datapoint from one of several flows, with given probabilities.

    The draws are made without replacement out of blocks of 4,096, in each of which every flow has its exact share:
    so the proportions hold in every epoch, and datapoint i can still be made alone. A flow that ends begins its next
    epoch. If all flows are indexable, each goes on in an epoch where the last epoch left it; else each epoch starts
    all of them anew.

    Args:
        flows: The flows to draw from.
        probs: The probability of each; None makes them equal.
        size: How many datapoints an epoch has; None: as many as all flows have together.
        seed: None takes the default.

    Order: depends on (seed, epoch). Indexable where all flows are.

    State: those of the flows, and a number.

    Raises:
        DataFlowError: The probabilities are not as many as the flows, or do not add up to 1.

    Example:
        >>> from flowtrain.dataflow import DataFromList
        >>> ds = RandomChooseData([DataFromList([["a"]]), DataFromList([["b"]])], probs=[0.9, 0.1], size=1000)
        >>> sum(dp == ["b"] for dp in ds) in range(80, 121)
        True
    """

    _caches = ("_held",)

    def __init__(
        self,
        flows: Sequence[DataFlow],
        probs: Sequence[float] | None = None,
        size: int | None = None,
        seed: int | Literal["random"] | None = None,
    ) -> None:
        SeveralFlows.__init__(self, flows, finite=False)
        RNGDataFlow.__init__(self, seed)
        count = len(self.flows)
        self.probs = [1 / count] * count if probs is None else [float(p) for p in probs]
        if len(self.probs) != count or not (min(self.probs) >= 0 and abs(sum(self.probs) - 1) <= 1e-6):
            raise DataFlowError(
                f"RandomChooseData: probs must be {count} numbers from 0 to 1 that add up to 1, got {probs}"
            )
        self._size = if_given(check_int, "RandomChooseData", "size", size)
        # In a block the other flows may get one datapoint each more than their probability says, at the expense of the
        # likeliest, whose probability is at least 1 / count: with count**2 datapoints it has enough for them.
        self._block_size = max(_BLOCK, count * count)
        self._held: tuple[int, np.ndarray, np.ndarray, list[int]] | None = None  # the latest block: number, *_drawn

    def __len__(self) -> int:
        if self._size is not None:
            return self._size
        if any(endless(flow) for flow in self.flows):
            raise TypeError(f"{self} never ends")
        return super().__len__()

    def _source(self, index: int, epoch: int) -> tuple[DataFlow, int, int]:
        size = self.size_or_none()
        if index < 0 or (size is not None and index >= size):
            raise out_of_range(self, index)
        number, place = self._draw(epoch * (size or _AGAIN * self._block_size) + index)
        flow = self.flows[number]
        below = flow.size_or_none()
        if below == 0:
            raise empty_epoch(self, flow)
        times, place = divmod(place, below) if below else (0, place)
        return flow, place, times

    def _draw(self, position: int) -> tuple[int, int]:
        """Which flow gives the datapoint at a position, counted over all epochs, and how many it gave before."""
        block, place = divmod(position, self._block_size)
        held = self._held
        if held is None or held[0] != block:
            held = self._held = (block, *self._drawn(block))
        number = int(held[1][place])
        return number, held[3][number] + int(held[2][place])

    def _drawn(self, block: int) -> tuple[np.ndarray, np.ndarray, list[int]]:
        """Draw a block: the flow of each datapoint, how many it gave before in the block, and all gave in those before.

        Returns:
            int64 (block size,), int64 (block size,), and a list with a number for each flow.
        """
        before, after = self._given(block), self._given(block + 1)
        shares = [last - first for first, last in zip(before, after, strict=True)]
        choice = np.repeat(np.arange(len(shares)), shares)
        self.stream.at(0, block).shuffle(choice)
        place = np.empty(self._block_size, np.int64)
        for number, share in enumerate(shares):
            place[choice == number] = np.arange(share)
        return choice, place, before

    def _given(self, blocks: int) -> list[int]:
        """How many datapoints each flow gives in the first ``blocks``; the likeliest flow evens out the rounding."""
        total = blocks * self._block_size
        given = [int(p * 2**32) * total >> 32 for p in self.probs]  # exact, however large the total
        likeliest = max(range(len(given)), key=self.probs.__getitem__)
        given[likeliest] += total - sum(given)
        return given

    def _walk(self, walk: StageCursor, memory: object) -> Iterator[Datapoint]:
        size = self.size_or_none()
        if size is None:
            blocker = self._blocker()
            raise DataFlowError(f"{self}: the length of {blocker} is not known; pass size=, how many make an epoch")
        before = walk.epoch * size
        turns = (self._draw(before + index)[0] for index in range(size))
        return _in_turns(self, walk, memory, turns, first_epoch=walk.epoch * _AGAIN)


@old_spellings(df_lists="flows")
class RandomMixData(IndexMap, SeveralFlows, RNGDataFlow):
    """Hand out all datapoints of several flows in one random order, each once an epoch.

    Args:
        flows: Finite ones of known length.
        seed: None takes the default.

    Order: depends on (seed, epoch). Where all flows are indexable it is a full shuffle of all, and indexable; else
    the flows take random turns, each in its own order.

    State: those of the flows, and a number.

    Example:
        >>> from flowtrain.dataflow import DataFromList
        >>> sorted(RandomMixData([DataFromList([[1], [2]]), DataFromList([[3]])]))
        [[1], [2], [3]]
    """

    def __init__(self, flows: Sequence[DataFlow], seed: int | Literal["random"] | None = None) -> None:
        SeveralFlows.__init__(self, flows, finite=True)
        RNGDataFlow.__init__(self, seed)
        unknown = [flow for flow in self.flows if flow.size_or_none() is None]
        if unknown:
            raise DataFlowError(f"RandomMixData: the length of {unknown[0]} is not known; use RandomChooseData")
        self._ends = list(itertools.accumulate(self._sizes()))

    def __len__(self) -> int:
        return self._ends[-1]

    def _entry(self, index: int, epoch: int) -> tuple[int, int]:
        if not 0 <= index < self._ends[-1]:
            raise out_of_range(self, index)
        entry = self.stream.permutation(self._ends[-1], epoch)[index]
        number = bisect.bisect_right(self._ends, entry)
        return number, entry - (self._ends[number - 1] if number else 0)

    def _source(self, index: int, epoch: int) -> tuple[DataFlow, int, int]:
        number, place = self._entry(index, epoch)
        return self.flows[number], place, epoch

    def _walk(self, walk: StageCursor, memory: object) -> Iterator[Datapoint]:
        turns = (self._entry(index, walk.epoch)[0] for index in range(len(self)))
        return _in_turns(self, walk, memory, turns, first_epoch=walk.epoch)


def _in_turns(
    stage: SeveralFlows, walk: StageCursor, memory: Memory, turns: Iterator[int], first_epoch: int
) -> Iterator[Datapoint]:
    """Take each datapoint from the flow whose number ``turns`` gives; a flow that has ended begins its next epoch."""
    handed, epochs = memory or (0, [first_epoch] * len(stage.flows))
    for number, flow in enumerate(stage.flows):
        walk.open(flow, epochs[number], number)
    for number in itertools.islice(turns, handed, None):
        datapoint, epoch = walk.take(stage.flows[number], epochs[number], number)
        if epoch != epochs[number]:
            epochs = [*epochs[:number], epoch, *epochs[number + 1 :]]  # a new list: that of before is in a position
        handed += 1
        walk.memory = [handed, epochs]
        yield datapoint
