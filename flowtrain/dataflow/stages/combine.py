"""Stages over several flows: one after the other, side by side, in turns."""

from __future__ import annotations

import bisect
import itertools
import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from ...utils.arguments import check_int, old_spellings
from ...utils.errors import DataFlowError
from ..core.ahead import Piece
from ..core.base import DataFlow
from ..core.cursor import Datapoint, StageCursor
from ..core.datapoint import Memory
from ..core.undecoded import get_undecoded
from .index_map import IndexMap, endless, out_of_range

__all__ = ["ConcatData", "InterleaveData", "JoinData", "SeveralFlows"]

logger = logging.getLogger("flowtrain.dataflow")


class SeveralFlows(DataFlow):
    """The base of stages over several flows."""

    def __init__(self, flows: Sequence[DataFlow], finite: bool) -> None:
        name = type(self).__name__
        if isinstance(flows, DataFlow) or not isinstance(flows, (list, tuple)):
            raise DataFlowError(f"{name} takes a list of flows, {name}([a, b]); got {type(flows).__name__}")
        if not flows:
            raise DataFlowError(f"{name} got an empty list of flows")
        for number, flow in enumerate(flows):
            if not isinstance(flow, DataFlow):
                pair = isinstance(flow, tuple) and len(flow) == 2 and isinstance(flow[0], DataFlow)
                hint = f". Write {name}([a, b], probs=[0.3, 0.7])" if pair else ""
                raise DataFlowError(f"{name}: entry {number} is no DataFlow but {type(flow).__name__}{hint}")
            if finite and endless(flow):
                raise DataFlowError(f"{name}: {flow} never ends; put TakeData or FixedSizeData around it")
        self.flows = list(flows)

    def children(self) -> tuple[DataFlow, ...]:
        return tuple(self.flows)

    def __len__(self) -> int:
        return sum(self._sizes())

    def _sizes(self) -> list[int]:
        return [len(flow) for flow in self.flows]

    def describe(self) -> str:
        return f"{type(self).__name__}({len(self.flows)} flows)"


@old_spellings(df_lists="flows")
class ConcatData(IndexMap, SeveralFlows):
    """Hand out several flows one after the other.

    Args:
        flows: Finite ones.

    Order: all of the first, then all of the second, ...; indexable where all are.

    State: that of the flow whose turn it is, and its number.

    Example:
        >>> from flowtrain.dataflow import DataFromList
        >>> list(ConcatData([DataFromList([[1], [2]]), DataFromList([[3]])]))
        [[1], [2], [3]]
    """

    _in_order = True

    def __init__(self, flows: Sequence[DataFlow]) -> None:
        super().__init__(flows, finite=True)
        self._ends: list[int] | None = None

    def _source(self, index: int, epoch: int) -> tuple[DataFlow, int, int]:
        if self._ends is None:
            self._ends = list(itertools.accumulate(self._sizes()))
        number = bisect.bisect_right(self._ends, index)
        if index < 0 or number == len(self.flows):
            raise out_of_range(self, index)
        before = self._ends[number - 1] if number else 0
        return self.flows[number], index - before, epoch

    def _walk(self, walk: StageCursor, memory: Memory) -> Iterator[Datapoint]:
        for number in range(memory or 0, len(self.flows)):
            for datapoint in walk.open(self.flows[number]):
                walk.memory = number
                yield datapoint


@old_spellings(df_lists="flows")
class JoinData(SeveralFlows):
    """Put flows side by side: the components of their datapoints become one datapoint (zip).

    Args:
        flows: Their datapoints must all be lists, or all dicts without a key in common.

    Order: datapoint i is made of datapoint i of each flow. An epoch ends with the shortest flow; if lengths are known
    and differ, a warning says so. Indexable where all are; vectorised where all are.

    State: those of the flows.

    Raises:
        DataFlowError: Lists and dicts meet, or two dicts have a key in common.

    Example:
        >>> from flowtrain.dataflow import DataFromList
        >>> list(JoinData([DataFromList([[1], [2]]), DataFromList([["a"], ["b"]])]))
        [[1, 'a'], [2, 'b']]
    """

    def __init__(self, flows: Sequence[DataFlow]) -> None:
        super().__init__(flows, finite=False)
        sizes = [flow.size_or_none() for flow in self.flows if not endless(flow)]
        if len({size for size in sizes if size is not None}) > 1:
            logger.warning("JoinData: the flows have different lengths, %s: an epoch ends with the shortest", sizes)

    def __len__(self) -> int:
        sizes = [len(flow) for flow in self.flows if not endless(flow)]
        if not sizes:
            raise TypeError(f"{self} never ends")
        return min(sizes)

    @property
    def vectorized(self) -> bool:
        return all(flow.vectorized for flow in self.flows)

    def get(self, index: int, epoch: int = 0) -> Datapoint:
        return self._joined([flow.get(index, epoch) for flow in self.flows])

    def _get_undecoded(self, index: int, epoch: int) -> Datapoint:
        return self._joined([get_undecoded(flow, index, epoch) for flow in self.flows])

    def get_batch(self, indices: np.ndarray, epoch: int = 0) -> Datapoint:
        return self._joined([flow.get_batch(indices, epoch) for flow in self.flows])

    def _joined(self, parts: list[Any]) -> Datapoint:
        if isinstance(parts[0], dict):
            whole: dict[Any, Any] = {}
            for number, part in enumerate(parts):
                shared = whole.keys() & part.keys() if isinstance(part, dict) else None
                if shared is None:
                    raise DataFlowError(f"JoinData: flow 0 gives dicts, flow {number} gives {type(part).__name__}")
                if shared:
                    raise DataFlowError(f"JoinData: flow {number} gives the keys {sorted(shared)}, as one before does")
                whole.update(part)
            return whole
        components: list[Any] = []
        for number, part in enumerate(parts):
            if not isinstance(part, (list, tuple)):
                raise DataFlowError(
                    f"JoinData: flow {number} gives {type(part).__name__}; all must give lists (or all dicts)"
                )
            components += part
        return components

    def _needs(self, first: int, stop: int, epoch: int) -> Iterable[Piece]:
        return ((first, stop, [(flow, first, stop, epoch) for flow in self.flows]),)

    def _assemble(self, parts: list[Datapoint], index: int, epoch: int) -> Datapoint:
        return self._joined(parts)

    def rows_per_datapoint(self) -> int | None:
        each = {flow.rows_per_datapoint() for flow in self.flows}
        return each.pop() if len(each) == 1 else None

    def _walk(self, walk: StageCursor, memory: object) -> Iterator[Datapoint]:
        inputs = [walk.open(flow, number=number) for number, flow in enumerate(self.flows)]
        for parts in zip(*inputs, strict=False):  # it ends with the shortest
            yield self._joined(list(parts))


class InterleaveData(IndexMap, SeveralFlows):
    """Hand out several flows in turns.

    Args:
        flows: Finite ones. Those that have ended are left out of the turns.
        block: How many datapoints a flow gives in a turn.

    Order: ``block`` of the first, ``block`` of the second, ..., again from the first. Indexable where all are.

    State: those of the flows, and whose turn it is.

    Example:
        >>> from flowtrain.dataflow import DataFromList
        >>> list(InterleaveData([DataFromList([[1], [2], [3]]), DataFromList([["a"]])]))
        [[1], ['a'], [2], [3]]
    """

    def __init__(self, flows: Sequence[DataFlow], block: int = 1) -> None:
        super().__init__(flows, finite=True)
        self.block = check_int("InterleaveData", "block", block)
        self._table: tuple[list[int], list[Any]] | None = None

    def _source(self, index: int, epoch: int) -> tuple[DataFlow, int, int]:
        if self._table is None:
            self._table = self._spans()
        starts, spans = self._table
        number = bisect.bisect_right(starts, index) - 1
        if number < 0 or index >= len(self):
            raise out_of_range(self, index)
        first_round, per_round, shares = spans[number]
        rounds, place = divmod(index - starts[number], per_round)
        for flow, share in shares:
            if place < share:
                return self.flows[flow], (first_round + rounds) * self.block + place, epoch
            place -= share
        raise out_of_range(self, index)

    def _spans(self) -> tuple[list[int], list[Any]]:
        """Divide an epoch into spans of rounds, in each of which the same flows take part with the same shares.

        Returns:
            The index at which each span starts, and each span: (its first round, datapoints in a round, shares), where
            a share is (number of the flow, datapoints that it gives in a round).
        """
        # A flow gives `block` in each of its first size // block rounds, the rest in one more, then nothing: its share
        # changes at these two numbers alone, so the table has at most two spans for each flow, however long the epoch.
        sizes, block = self._sizes(), self.block
        bounds = sorted({0, *(size // block for size in sizes), *(-(-size // block) for size in sizes)})
        starts, spans, start = [], [], 0
        for first, last in itertools.pairwise(bounds):
            shares = [(n, min(block, size - first * block)) for n, size in enumerate(sizes) if size > first * block]
            per_round = sum(share for _, share in shares)
            starts.append(start)
            spans.append((first, per_round, shares))
            start += (last - first) * per_round
        return starts, spans

    def _walk(self, walk: StageCursor, memory: Memory) -> Iterator[Datapoint]:
        turn, taken, ended = memory or (0, 0, [])
        inputs = [iter(walk.open(flow, number=number)) for number, flow in enumerate(self.flows)]
        while len(ended) < len(inputs):
            if turn not in ended:
                for datapoint in itertools.islice(inputs[turn], self.block - taken):
                    taken += 1
                    walk.memory = [turn, taken, ended]
                    yield datapoint
                if taken < self.block:
                    ended = [*ended, turn]
            turn, taken = (turn + 1) % len(inputs), 0
