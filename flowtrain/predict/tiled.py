"""Run a fully convolutional model over a picture of any size, one batch of tiles at a time."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import numpy as np

from flowtrain.utils.errors import ConfigError, ModelError

__all__ = ["tiled"]

_Pad = Literal["reflect", "symmetric", "edge", "zeros"]
_PADS: dict[str, Any] = {"reflect": "reflect", "symmetric": "symmetric", "edge": "edge", "zeros": "constant"}


def tiled(
    predictor: Callable[..., Any],
    image: np.ndarray | Sequence[np.ndarray],
    expression: int = 64,
    margin: int = 32,
    align: int = 16,
    pad: _Pad = "reflect",
    batch_size: int = 1,
) -> Any:
    """Run a fully convolutional model over a picture that is too large to be run at once.

    The picture is cut into tiles of ``expression + 2 * margin`` pixels. Of each tile's output only the middle
    ``expression`` pixels are kept, so nobody sees the tiles' borders: where ``margin`` covers the model's receptive
    radius (see :func:`valid_crop`), the result is that of the whole picture at once. A tile never reaches over
    the picture's border, so the model meets there what it would meet in the whole picture.

    A size that is no multiple of ``align``, or smaller than a tile, is tried as it is. Where the model cannot take
    it (an error, or an output of another size) the picture is continued at the bottom and right to the next
    multiple, or to a whole tile if need be, and the result is cropped back.

    Args:
        predictor: Takes a batch (n, h, w, channels), one for each input, and returns one array (n, h', w', ...), or
            a list, tuple or dict of them: any predictor of flowtrain, a Keras model, a function.
        image: The picture, (height, width, channels) of any dtype, or a batch of pictures of one size (n, height,
            width, channels). A list of them where the model has several inputs. Memory maps stay on disk.
        expression: Pixels of output that a tile contributes, in each direction; a multiple of align.
        margin: Pixels around it that are given to the model and dropped from its output; a multiple of align.
        align: The product of the model's strides (16 for four poolings by 2; 1 where there is none): tiles start at
            multiples of it, or they would see other phases of the strides than the whole picture does.
        pad: How the picture is continued where it must be: "reflect", "symmetric", "edge" or "zeros".
        batch_size: Tiles that are given to the predictor at once. Memory grows with it, and with nothing else
            but the result itself.

    Returns:
        What the predictor returns, for the full size: an array, or a list, tuple or dict of arrays. An output of
        another scale (half, or four times the size) keeps its scale.

    Raises:
        ConfigError: Sizes that do not fit each other.
        ModelError: The predictor's output is no picture, or its size does not follow from the input's.

    Example:
        >>> blur = lambda batch: (batch + np.roll(batch, 1, axis=1)) / 2
        >>> tiled(blur, np.ones((100, 75, 3), np.float32)).shape
        (100, 75, 3)
    """
    _check_sizes(expression, margin, align, pad, batch_size)
    images, many = _as_batches(image)
    height, width = images[0].shape[1:3]
    grid = _Grid(expression, margin, align)
    run = _Run(predictor, images, _PADS[pad], batch_size)
    aligned = tuple(-(-n // align) * align for n in (height, width))
    whole_tiles = tuple(max(n, grid.length) for n in aligned)
    run.size = next((size for size in ((height, width), aligned) if run.takes(grid, size)), whole_tiles)
    result = run(grid)
    return result if many else _map(result, lambda array: array[0])


@dataclass(frozen=True)
class _Window:
    """Along one axis: the model is given pixels start..stop; its output counts for pixels begin..end."""

    start: int
    stop: int
    begin: int
    end: int


@dataclass(frozen=True)
class _Grid:
    expression: int
    margin: int
    align: int

    @property
    def length(self) -> int:
        return self.expression + 2 * self.margin

    def windows(self, size: int) -> list[_Window]:
        """Windows of one length, all inside 0..size; shorter ones at the end where size is small or not aligned."""
        length = self.length
        latest = max(-(-(size - length) // self.align) * self.align, 0)
        windows = []
        for begin in range(0, size, self.expression):
            start = min(max(begin - self.margin, 0), latest)
            windows.append(_Window(start, min(start + length, size), begin, min(begin + self.expression, size)))
        return windows


class _Run:
    """One picture (or batch of pictures) under way through a predictor."""

    def __init__(
        self,
        predictor: Callable[..., Any],
        images: list[np.ndarray],
        mode: Any,
        batch_size: int,
    ) -> None:
        self.predictor, self.images, self.mode, self.batch_size = predictor, images, mode, batch_size
        self.picture: tuple[int, ...] = images[0].shape[1:3]
        self.size = self.picture  # what the tiles cover; more than the picture where it has to be continued

    def takes(self, grid: _Grid, size: tuple[int, ...]) -> bool:
        """Whether the model takes the odd tile at the end of this size, and answers in a size that follows."""
        rows, columns = (grid.windows(n)[-1] for n in size)
        if rows.stop - rows.start == columns.stop - columns.start == grid.length:
            return True  # no odd tile
        try:
            outputs = self._predict([(rows, columns)])
        except Exception:  # whatever it was: if it is not the size, the padded tile raises it again
            return False
        sizes = rows.stop - rows.start, columns.stop - columns.start
        return all(
            array.ndim >= 3 and all(_follows(array.shape[1 + axis], sizes[axis], grid.align) for axis in (0, 1))
            for array in _leaves(outputs)
        )

    def __call__(self, grid: _Grid) -> Any:
        rows, columns = (grid.windows(size) for size in self.size)
        tiles = list(itertools.product(rows, columns))
        result: Any = None
        for group in _equal_shapes(tiles, self.batch_size):
            outputs = self._predict(group)
            if result is None:
                result = _map(outputs, functools.partial(self._allocate, tile=group[0]))
            for target, output in zip(_leaves(result), _leaves(outputs), strict=True):
                self._paste(target, output, group)
        return result

    def _predict(self, group: list[tuple[_Window, _Window]]) -> Any:
        batches = [np.concatenate([self._cut(image, *tile) for tile in group]) for image in self.images]
        outputs = self.predictor(*batches)
        return _map(outputs, np.asarray)

    def _cut(self, image: np.ndarray, rows: _Window, columns: _Window) -> np.ndarray:
        height, width = self.picture
        tile = np.asarray(image[:, rows.start : min(rows.stop, height), columns.start : min(columns.stop, width)])
        below, right = max(rows.stop - height, 0), max(columns.stop - width, 0)
        if below or right:
            tile = np.pad(tile, [(0, 0), (0, below), (0, right)] + [(0, 0)] * (tile.ndim - 3), mode=self.mode)
        return tile

    def _allocate(self, output: np.ndarray, tile: tuple[_Window, _Window]) -> np.ndarray:
        scales = self._scales(output, tile)
        size = [int(-(-n * scale // 1)) for n, scale in zip(self.picture, scales, strict=True)]
        return np.empty((self.images[0].shape[0], *size, *output.shape[3:]), output.dtype)

    def _scales(self, output: np.ndarray, tile: tuple[_Window, _Window]) -> list[Fraction]:
        if output.ndim < 3 or min(output.shape[1:3]) == 0:
            raise ModelError(
                f"tiled needs outputs of shape (n, height, width, ...); the predictor returned {output.shape}. "
                "Choose an output before the model's pooling or flattening."
            )
        return [Fraction(n, window.stop - window.start) for n, window in zip(output.shape[1:3], tile, strict=True)]

    def _paste(self, target: np.ndarray, output: np.ndarray, group: list[tuple[_Window, _Window]]) -> None:
        pictures = len(target)
        if output.shape[0] != pictures * len(group):
            raise ModelError(f"The predictor was given {pictures * len(group)} tiles and returned {output.shape[0]}.")
        scales = self._scales(output, group[0])
        for number, tile in enumerate(group):
            spots, sources = [], []
            for axis, (window, scale) in enumerate(zip(tile, scales, strict=True)):
                begin, start = window.begin * scale, window.start * scale
                if begin.denominator > 1 or start.denominator > 1:
                    raise ModelError(
                        f"A tile of {window.stop - window.start} pixels gives an output of {output.shape[1 + axis]}: a "
                        f"tile that starts at pixel {window.start} has no place in an output of that scale. Does the "
                        "model crop its output, or use 'valid' padding? tiled crops itself: give it an output of the "
                        "input's size, and an align that is a multiple of the model's strides."
                    )
                end = min(int(-(-window.end * scale // 1)), target.shape[1 + axis])
                spots.append(slice(int(begin), end))
                sources.append(slice(int(begin - start), end - int(start)))
            part = output[number * pictures : (number + 1) * pictures]
            target[:, spots[0], spots[1]] = part[:, sources[0], sources[1]]


def _follows(output: int, size: int, align: int) -> bool:
    """Whether an output's size is the model's scale times the input's, not the input's rounded up to its strides."""
    if size < align:
        return output == size
    scale = Fraction(output, size)
    return align % scale.denominator == 0 if size % align == 0 else scale.denominator == 1


def _check_sizes(expression: int, margin: int, align: int, pad: str, batch_size: int) -> None:
    for name, value, least in (
        ("expression", expression, 1), ("margin", margin, 0), ("align", align, 1), ("batch_size", batch_size, 1)
    ):  # fmt: skip
        if value < least:
            raise ConfigError(f"{name} is {value}; it is at least {least}.")
    for name, value in (("expression", expression), ("margin", margin)):
        if value % align:
            raise ConfigError(
                f"{name} is {value}, which is no multiple of align ({align}). Take {-(-value // align) * align}, or "
                f"align=1 if the model has no strides."
            )
    if pad not in _PADS:
        raise ConfigError(f"pad is {pad!r}; it is one of {', '.join(map(repr, _PADS))}.")


def _as_batches(image: np.ndarray | Sequence[np.ndarray]) -> tuple[list[np.ndarray], bool]:
    given: list[Any] = list(image) if isinstance(image, list | tuple) else [image]
    images = [array if hasattr(array, "shape") else np.asarray(array) for array in given]
    if not images:
        raise ConfigError("tiled was given no picture.")
    many = len(images[0].shape) == 4
    for array in images:
        if len(array.shape) not in (3, 4):
            raise ConfigError(
                f"tiled takes pictures of shape (height, width, channels) or (n, height, width, channels); got "
                f"{tuple(array.shape)}. Write image[..., None] for a gray one."
            )
        if tuple(array.shape[:-1]) != tuple(images[0].shape[:-1]):
            raise ConfigError(f"The inputs differ in size: {', '.join(str(tuple(a.shape)) for a in images)}.")
        if 0 in array.shape:
            raise ConfigError(f"The picture is empty: its shape is {tuple(array.shape)}.")
    return [array if many else array[None] for array in images], many


def _equal_shapes(tiles: list[tuple[_Window, _Window]], most: int) -> Iterator[list[tuple[_Window, _Window]]]:
    """Groups of at most so many tiles that have one shape."""
    shapes: dict[tuple[int, int], list[tuple[_Window, _Window]]] = {}
    for rows, columns in tiles:
        shapes.setdefault((rows.stop - rows.start, columns.stop - columns.start), []).append((rows, columns))
    for group in shapes.values():
        for first in range(0, len(group), most):
            yield group[first : first + most]


def _leaves(outputs: Any) -> list[np.ndarray]:
    if isinstance(outputs, Mapping):
        return list(outputs.values())
    return list(outputs) if isinstance(outputs, list | tuple) else [outputs]


def _map(outputs: Any, function: Callable[[Any], np.ndarray]) -> Any:
    if isinstance(outputs, Mapping):
        return {name: function(value) for name, value in outputs.items()}
    if isinstance(outputs, list | tuple):
        return type(outputs)(map(function, outputs)) if type(outputs) in (list, tuple) else list(map(function, outputs))
    return function(outputs)
