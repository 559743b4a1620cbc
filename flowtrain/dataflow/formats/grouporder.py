"""A shuffled order of rows that lie in groups which are read as a whole: no group is read twice in a walk."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..core.rng import RandomStream

__all__ = ["GroupOrder"]

_BLOCK = 1024  # places computed at once for who asks for one after the other


class GroupOrder:
    """Groups in random order, divided into runs; the rows of a run's groups are mixed with each other.

    It is computed by index: a function of (seed, epoch, index), like the order of any other source.

    Args:
        rows: How many rows each group has.
        sizes: How many bytes each takes.
        run_bytes: A run has as many groups as take so many bytes, at least one.
        run_groups: How many groups a run has instead; None: as ``run_bytes`` says.
    """

    def __init__(self, rows: Sequence[int], sizes: Sequence[int], run_bytes: int, run_groups: int | None) -> None:
        self._rows, self._sizes = np.asarray(rows, np.int64), list(sizes)
        self._firsts = np.cumsum(self._rows) - self._rows
        self._run_bytes, self._run_groups = run_bytes, run_groups
        self._epoch: tuple[int, np.ndarray, np.ndarray, np.ndarray] | None = None
        self._block: tuple[int, int, list[int]] = (-1, -1, [])

    @property
    def longest_run(self) -> int:
        """No run has more groups than so many."""
        if self._run_groups is not None:
            return self._run_groups
        used = np.cumsum(np.sort(self._sizes))
        return max(1, int(np.searchsorted(used, self._run_bytes, "right")))

    def place(self, stream: RandomStream, epoch: int, index: int, size: int) -> int:
        """The row that is datapoint ``index`` of an epoch of ``size``."""
        number, offset = divmod(index, _BLOCK)
        block = self._block
        if block[:2] != (epoch, number):
            start = number * _BLOCK
            found = self.places(stream, epoch, np.arange(start, min(start + _BLOCK, size)))
            block = self._block = epoch, number, found.tolist()  # one object, so that threads see its parts agree
        return block[2][offset]

    def places(self, stream: RandomStream, epoch: int, indices: np.ndarray) -> np.ndarray:
        """The rows at some places of an epoch's order; int64, as many as ``indices``."""
        order, ends, run_stops = self._planned(stream, epoch)
        indices = np.asarray(indices, np.int64)
        stops = ends[run_stops - 1]  # of each run, in rows
        runs = np.searchsorted(stops, indices, "right")
        found = np.empty(len(indices), np.int64)
        for run in np.unique(runs).tolist():
            chosen = runs == run
            start, stop = int(stops[run - 1]) if run else 0, int(stops[run])
            mixed = stream.part_permutation(stop - start, epoch, run + 1)
            rows = start + mixed.take(indices[chosen] - start)
            places = np.searchsorted(ends, rows, "right")
            groups = order[places]
            found[chosen] = self._firsts[groups] + rows - (ends[places] - self._rows[groups])
        return found

    def _planned(self, stream: RandomStream, epoch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The groups in the epoch's order, where each ends in rows, and the number of groups at each run's end."""
        held = self._epoch
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
