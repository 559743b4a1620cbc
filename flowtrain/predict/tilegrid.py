"""Which windows of a picture are given to a model, tile by tile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Grid", "Window", "equal_shapes", "multiple"]


@dataclass(frozen=True)
class Window:
    """Along one axis: the model is given pixels start..stop; its output counts for pixels begin..end."""

    start: int
    stop: int
    begin: int
    end: int

    @property
    def length(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class Grid:
    """Tiles of ``expression + 2 * margin`` pixels that begin at multiples of ``align``."""

    expression: int
    margin: int
    align: int

    @property
    def length(self) -> int:
        return self.expression + 2 * self.margin

    def windows(self, size: int, before: int = 0, after: int = 0) -> list[Window]:
        """Windows of one length; shorter ones at the end where size is small or not aligned.

        Args:
            size: Pixels that are covered.
            before: How far a window may reach over the beginning, for outputs that lack their border.
            after: How far it may reach over the end.
        """
        length = self.length
        # At a multiple of align, else strided layers would sample other pixels than in the whole picture.
        latest = max(multiple(size + after - length, self.align), -before)
        windows = []
        for begin in range(0, size, self.expression):
            # A window at the border is moved inwards, not cut or padded: the model then meets the true border where the
            # whole picture has it, and all windows but odd ones have one shape, so that they fit in one batch.
            start = min(max(begin - self.margin, -before), latest)
            windows.append(Window(start, min(start + length, size + after), begin, min(begin + self.expression, size)))
        return windows


def multiple(size: int, of: int) -> int:
    """Round up to a multiple."""
    return -(-size // of) * of


def equal_shapes(tiles: list[tuple[Window, Window]], most: int) -> Iterator[list[tuple[Window, Window]]]:
    """Groups of at most so many tiles that have one shape."""
    shapes: dict[tuple[int, int], list[tuple[Window, Window]]] = {}
    for rows, columns in tiles:
        shapes.setdefault((rows.length, columns.length), []).append((rows, columns))
    for group in shapes.values():
        for first in range(0, len(group), most):
            yield group[first : first + most]
