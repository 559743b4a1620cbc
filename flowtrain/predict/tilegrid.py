"""The grid of tiles: windows of a picture that are given to a model one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Grid", "Window", "equal_shapes", "multiple"]


@dataclass(frozen=True)
class Window:
    """One tile along one axis: the model gets pixels start to stop, and its output is used for pixels begin to end."""

    start: int
    stop: int
    begin: int
    end: int

    @property
    def length(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class Grid:
    """Layout of tiles of ``expression + 2 * margin`` pixels that begin at multiples of ``align``."""

    expression: int
    margin: int
    align: int

    @property
    def length(self) -> int:
        return self.expression + 2 * self.margin

    def windows(self, size: int, before: int = 0, after: int = 0) -> list[Window]:
        """The windows along one axis, of one length; shorter ones at the end if size is small or not aligned.

        Args:
            size: Pixels to cover.
            before: Pixels by which a window may reach over the beginning, for outputs that lack their border.
            after: Pixels by which a window may reach over the end.
        """
        length = self.length
        # A multiple of align, else strided layers would sample other pixels than in the whole picture.
        latest = max(multiple(size + after - length, self.align), -before)
        windows = []
        for begin in range(0, size, self.expression):
            # A window at the border is moved inwards, not cut or padded. So the model meets the true border where the
            # whole picture has it, and nearly all windows have one length and fit into one batch.
            start = min(max(begin - self.margin, -before), latest)
            windows.append(Window(start, min(start + length, size + after), begin, min(begin + self.expression, size)))
        return windows


def multiple(size: int, of: int) -> int:
    """Round a size up to a multiple of another; a negative one towards zero."""
    return -(-size // of) * of


def equal_shapes(tiles: list[tuple[Window, Window]], most: int) -> Iterator[list[tuple[Window, Window]]]:
    """Group tiles of equal shape, at most ``most`` to a group."""
    shapes: dict[tuple[int, int], list[tuple[Window, Window]]] = {}
    for rows, columns in tiles:
        shapes.setdefault((rows.length, columns.length), []).append((rows, columns))
    for group in shapes.values():
        for first in range(0, len(group), most):
            yield group[first : first + most]
