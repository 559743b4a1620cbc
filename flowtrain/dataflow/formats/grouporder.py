"""Epoch permutation over row groups that are read as a whole: a walk reads no group twice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..core.rng import RandomStream

__all__ = ["GroupOrder"]

_BLOCK = 1024  # rows computed at once where datapoints are asked for one by one


class GroupOrder:
    """Groups in random order, cut into runs of consecutive groups; each run's rows are permuted among themselves.

    Only one run's groups have to be in memory at a time. The order is a function of (seed, epoch, index), like that of
    any other source.

    Args:
        rows: How many rows each group has.
        sizes: How many bytes each group takes.
        run_bytes: A run has as many groups as fit into so many bytes, but at least one.
        run_groups: How many groups a run has, whatever their bytes; None: as ``run_bytes`` says.
    """

    def __init__(self, rows: Sequence[int], sizes: Sequence[int], run_bytes: int, run_groups: int | None) -> None:
        self._rows, self._sizes = np.asarray(rows, np.int64), list(sizes)
        self._firsts = np.cumsum(self._rows) - self._rows
        self._run_bytes, self._run_groups = run_bytes, run_groups
        self._epoch: tuple[int, np.ndarray, np.ndarray, np.ndarray] | None = None
        self._block: tuple[int, int, list[int]] = (-1, -1, [])

    @property
    def longest_run(self) -> int:
        """An upper bound of the number of groups in a run, in any epoch."""
        if self._run_groups is not None:
            return self._run_groups
        used = np.cumsum(np.sort(self._sizes))  # the smallest groups, should they meet in one run
        return max(1, int(np.searchsorted(used, self._run_bytes, "right")))

    def place(self, stream: RandomStream, epoch: int, index: int, size: int) -> int:
        """The row that is datapoint ``index`` of an epoch of ``size`` datapoints."""
        number, offset = divmod(index, _BLOCK)
        block = self._block
        if block[:2] != (epoch, number):
            start = number * _BLOCK
            found = self.places(stream, epoch, np.arange(start, min(start + _BLOCK, size)))
            block = self._block = epoch, number, found.tolist()  # one object, so that threads see its parts agree
        return block[2][offset]

    def places(self, stream: RandomStream, epoch: int, indices: np.ndarray) -> np.ndarray:
        """The rows at some places of an epoch's order.

        Args:
            stream: The source's random numbers.
            epoch: Which epoch.
            indices: Places in the order, (N,).

        Returns:
            Row numbers, int64 (N,).
        """
        order, ends, run_stops = self._planned(stream, epoch)
        indices = np.asarray(indices, np.int64)
        stops = ends[run_stops - 1]  # of each run, in rows
        runs = np.searchsorted(stops, indices, "right")
        found = np.empty(len(indices), np.int64)
        for run in np.unique(runs).tolist():
            chosen = runs == run
            start, stop = int(stops[run - 1]) if run else 0, int(stops[run])
            mixed = stream.part_permutation(stop - start, epoch, run + 1)  # part 0 is the order of the groups
            rows = start + mixed.take(indices[chosen] - start)  # as if the groups lay end to end in their new order
            places = np.searchsorted(ends, rows, "right")
            groups = order[places]
            found[chosen] = self._firsts[groups] + rows - (ends[places] - self._rows[groups])
        return found

    def _planned(self, stream: RandomStream, epoch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """An epoch's plan: the groups in order, in rows where each of them ends, in groups where each run ends."""
        held = self._epoch  # one object, so that threads see its parts agree
        if held is None or held[0] != epoch:
            count = len(self._rows)
            order = stream.permutation(count, epoch).take(np.arange(count))
            ends = np.cumsum(self._rows[order])
            held = self._epoch = epoch, order, ends, np.array(self._run_stops(order.tolist()), np.int64)
        return held[1:]

    def _run_stops(self, order: list[int]) -> list[int]:
        if self._run_groups is not None:
            return [*range(self._run_groups, len(order), self._run_groups), len(order)]
        stops, used = [], 0
        for place, group in enumerate(order):
            if used and used + self._sizes[group] > self._run_bytes:
                stops.append(place)
                used = 0
            used += self._sizes[group]
        return [*stops, len(order)]
