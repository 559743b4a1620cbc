"""tiled: run a fully convolutional model over a picture of any size, one batch of tiles at a time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any, Literal, TypeAlias

import numpy as np

from flowtrain.utils.arguments import check_choice, check_int, names_arguments
from flowtrain.utils.errors import ConfigError, ModelError

from .placing import SAME, Placement, placements
from .tilegrid import Grid, Window, equal_shapes, multiple

__all__ = ["tiled"]

Outputs: TypeAlias = Any
"""What a predictor returns: an array, or a list, tuple or dict of arrays."""

_Pad = Literal["reflect", "symmetric", "edge", "zeros"]
_PADS: dict[str, Any] = {"reflect": "reflect", "symmetric": "symmetric", "edge": "edge", "zeros": "constant"}


@names_arguments
def tiled(
    predictor: Callable[..., Any],
    image: np.ndarray | Sequence[np.ndarray],
    expression: int = 64,
    margin: int | None = None,
    align: int = 16,
    pad: _Pad = "reflect",
    batch_size: int = 1,
    *,
    receptive: int | None = None,
) -> Outputs:
    """Run a fully convolutional model over a picture that is too large to be run at once.

    The picture is cut into tiles of ``expression + 2 * margin`` pixels, and of each tile's output only the middle
    ``expression`` pixels are kept. If ``margin`` covers the model's receptive radius (see :func:`valid_crop`), the
    result is that of the whole picture at once. Tiles do not reach over the picture's border, so the model meets the
    border where the whole picture has it.

    A size that is no multiple of ``align``, or smaller than a tile, is first tried as it is. If the model cannot take
    it (an error, or an output of another size), the picture is padded at the bottom and right to the next multiple, or
    to a whole tile if need be, and the result is cropped back.

    For predictors of flowtrain and Keras models, the place of an output's pixels in the picture is computed from the
    model's operations: its scale, and pixels lost to a crop like ``NAME_crop32`` or to convolutions without padding.
    For other functions it is measured with a second tile; those may change the scale, but not crop. A border that an
    output lacks counts as part of the margin; around the picture, padding makes up for it.

    Args:
        predictor: Takes a batch (n, h, w, channels) for each input, and returns one array (n, h', w', ...), or a list,
            tuple or dict of them: any predictor of flowtrain, a Keras model, a function.
        image: The picture, (height, width, channels) of any dtype, or a batch of pictures of one size (n, height,
            width, channels). A list of them if the model has several inputs. Memory maps, and other objects with a
            shape that can be sliced, are read tile by tile.
        expression: Pixels that a tile contributes to the output, in each direction (the expression field); a multiple
            of align.
        margin: Pixels around them that are given to the model and dropped from its output; a multiple of align. 32 if
            neither it nor ``receptive`` is given.
        align: The product of the model's strides (16 for four poolings by 2; 1 if there are none). Tiles start at
            multiples of it; elsewhere strided layers would sample other pixels than in the whole picture.
        pad: How the picture is padded: "reflect", "symmetric", "edge" or "zeros".
        batch_size: The number of tiles to give to the predictor at once. Memory grows with it and with the result, not
            with the picture.
        receptive: Instead of ``margin``: the whole size of a tile (the receptive field), expression + 2 * margin.

    Returns:
        The predictor's output for the full size: an array, or a list, tuple or dict of arrays. An output of another
        scale (half, or four times the size) keeps its scale.

    Raises:
        ConfigError: Sizes that do not fit each other, or a margin below what an output lacks.
        ModelError: The predictor's output is no picture, or the place of its pixels in the picture cannot be told.

    Example:
        >>> blur = lambda batch: (batch + np.roll(batch, 1, axis=1)) / 2
        >>> tiled(blur, np.ones((100, 75, 3), np.float32)).shape
        (100, 75, 3)
    """
    margin = _margin(expression, margin, receptive)
    _check_sizes(expression, margin, align, pad, batch_size)
    images, many = _as_batches(image)
    run = _Run(predictor, images, Grid(expression, margin, align), _PADS[pad], batch_size)
    result = run()
    return result if many else _map(result, lambda array: array[0])


class _Run:
    """One run of a predictor over a picture or a batch of pictures.

    Attributes:
        picture: (height, width) of the pictures.
        size: (height, width) that the tiles cover: more than the picture if it has to be padded.
        places: The placement of each output, (vertical, horizontal).
        around: Pixels of padding (at the beginning, at the end), vertically and horizontally.
    """

    def __init__(
        self, predictor: Callable[..., Any], images: list[np.ndarray], grid: Grid, mode: Any, batch_size: int
    ) -> None:
        self.predictor, self.images, self.grid, self.mode, self.batch_size = predictor, images, grid, mode, batch_size
        self.picture: tuple[int, ...] = images[0].shape[1:3]
        self.size = self.picture
        self.places = placements(predictor) or self._measured()
        self.around = [self._around(axis) for axis in (0, 1)]

    def __call__(self) -> Outputs:
        aligned = tuple(multiple(n, self.grid.align) for n in self.picture)
        whole_tiles = tuple(max(n, self.grid.length) for n in aligned)
        # Least padding first, since padding changes what the model sees at the picture's border. Sizes are tried: which
        # ones a model takes cannot be deduced, as it may be any function.
        self.size = next((size for size in (self.picture, aligned) if self._takes(size)), whole_tiles)
        rows, columns = self._windows(self.size)
        result: Any = None
        for group in equal_shapes(list(itertools.product(rows, columns)), self.batch_size):
            outputs = self._predict(group)
            if result is None:  # only an output tells the dtype and the channels of the result
                self._check(_leaves(outputs), group[0])
                result = _map_places(outputs, self._allocate, self.places)
            for target, output, place in zip(_leaves(result), _leaves(outputs), self.places, strict=True):
                self._paste(target, output, place, group)
        return result

    # -- where the outputs lie --

    def _measured(self) -> list[tuple[Placement, Placement]]:
        """Measure the scale of each output with two tiles of different size: with one, a crop looks like a scale."""
        grid = self.grid
        sizes = [min(multiple(n, grid.align), grid.length) for n in self.picture]
        larger = [n + grid.align for n in sizes]
        try:
            small = self._outputs_of(sizes)
        except Exception:  # it may take one size alone, that of a whole tile; any other error comes again here
            sizes = [grid.length, grid.length]
            small = self._outputs_of(sizes)
        for array in small:
            _check_is_picture(array)
        try:
            large = self._outputs_of(larger)
        except Exception:
            if any(array.shape[1:3] != tuple(sizes) for array in small):
                raise ModelError(
                    f"{_sizes(small)} comes out of a tile of {sizes[0]} x {sizes[1]}, and the function takes no other "
                    "size: whether it crops or changes the scale cannot be told. Give the predictor or Keras model "
                    "itself, whose graph says it, or an output of the input's size."
                ) from None
            return [(SAME, SAME)] * len(small)
        return [
            tuple(self._between(a.shape[1 + axis], b.shape[1 + axis], sizes[axis]) for axis in (0, 1))  # type: ignore
            for a, b in zip(small, large, strict=True)
        ]

    def _outputs_of(self, sizes: list[int]) -> list[np.ndarray]:
        return _leaves(self._predict([tuple(Window(0, n, 0, n) for n in sizes)]))  # type: ignore[list-item]

    def _between(self, small: int, large: int, size: int) -> Placement:
        # The difference of two sizes is scaled and nothing else; what a size lacks beyond the scale was cropped. As a
        # fraction: a float of 1/3 would put the last tile a pixel off.
        scale = Fraction(large - small, self.grid.align)
        lost = size * scale - small
        if scale <= 0 or lost:
            raise ModelError(
                f"tiles of {size} and {size + self.grid.align} pixels give outputs of {small} and {large}: where those "
                "have their place in the picture cannot be told. Does the function crop its output, or use 'valid' "
                "padding, or strides that align is no multiple of? Give the predictor or Keras model itself, whose "
                "graph says what is cropped, or an output of the input's size."
            )
        return Placement(scale, 0, 0)

    def _around(self, axis: int) -> tuple[int, int]:
        """Pixels of padding at the beginning and the end of the picture, for outputs that lack their border."""
        missing = [place[axis].missing for place in self.places]
        both = [multiple(max(math.ceil(max(sides)), 0), self.grid.align) for sides in zip(*missing, strict=True)]
        if max(both) > self.grid.margin:
            raise ConfigError(
                f"an output lacks {float(max(map(max, missing))):g} pixels at a border, and margin is "
                f"{self.grid.margin}: tiles of {self.grid.length} pixels do not give {self.grid.expression} of output. "
                f"Take margin={max(both)}, or an output that is not cropped."
            )
        return both[0], both[1]

    def _windows(self, size: tuple[int, ...]) -> tuple[list[Window], list[Window]]:
        rows, columns = (self.grid.windows(n, *around) for n, around in zip(size, self.around, strict=True))
        return rows, columns

    def _takes(self, size: tuple[int, ...]) -> bool:
        """Whether the model takes the last tile at this size, and its outputs have the sizes that their places say."""
        rows, columns = (windows[-1] for windows in self._windows(size))
        if rows.length == columns.length == self.grid.length:
            return True  # the last tile is like all others
        try:
            outputs = _leaves(self._predict([(rows, columns)]))
        except Exception:  # any error: if the size is not its reason, the padded tile raises it again
            return False
        return all(
            array.shape[1:3] == (vertical.size(rows.length), horizontal.size(columns.length))
            for array, (vertical, horizontal) in zip(outputs, self.places, strict=True)
        )

    # -- reading, computing, writing --

    def _predict(self, group: list[tuple[Window, Window]]) -> Outputs:
        batches = [np.concatenate([self._cut(image, *tile) for tile in group]) for image in self.images]
        outputs = self.predictor(*batches)
        return _map(outputs, np.asarray)

    def _cut(self, image: np.ndarray, rows: Window, columns: Window) -> np.ndarray:
        (top, above, below), (left, before, after) = (
            self._inside(window, n) for window, n in zip((rows, columns), self.picture, strict=True)
        )
        tile = np.asarray(image[:, top, left])
        for axis, outside in ((1, above), (2, before)):
            if outside is not None:
                tile = np.take(tile, outside, axis)
        if below or after:  # padded with zeros
            tile = np.pad(tile, [(0, 0), below or (0, 0), after or (0, 0)] + [(0, 0)] * (tile.ndim - 3))
        return tile

    def _inside(self, window: Window, size: int) -> tuple[slice, np.ndarray | None, tuple[int, int] | None]:
        """How to read a window of the picture along one axis.

        Returns:
            The slice of the picture to read; for a window that reaches over the picture also which pixels of the slice
            make up the window, or how many zeros to put in front and behind.
        """
        if window.start >= 0 and window.stop <= size:
            return slice(window.start, window.stop), None, None
        before, after = max(-window.start, 0), max(window.stop - size, 0)
        if self.mode == "constant":
            return slice(max(window.start, 0), min(window.stop, size)), None, (before, after)
        # Padding the indices and not the pixels: what the padding mirrors may lie outside of this window, and only the
        # slice that it needs is read from the disk.
        pixels = np.pad(np.arange(size), (before, after), mode=self.mode)[window.start + before :][: window.length]
        first = int(pixels.min())
        return slice(first, int(pixels.max()) + 1), pixels - first, None

    def _check(self, outputs: list[np.ndarray], tile: tuple[Window, Window]) -> None:
        for array, place in zip(outputs, self.places, strict=True):
            _check_is_picture(array)
            for axis, window in enumerate(tile):
                if array.shape[1 + axis] != place[axis].size(window.length):
                    raise ModelError(
                        f"a tile of {window.length} pixels gives an output of {array.shape[1 + axis]}, where its "
                        f"operations say {float(place[axis].size(window.length)):g}: it cannot be "
                        "told where its pixels lie. Take an align that is a multiple of the model's strides."
                    )

    def _allocate(self, output: np.ndarray, place: tuple[Placement, Placement]) -> np.ndarray:
        size = [math.ceil(n * each.scale) for n, each in zip(self.picture, place, strict=True)]
        return np.empty((self.images[0].shape[0], *size, *output.shape[3:]), output.dtype)

    def _paste(
        self,
        target: np.ndarray,
        output: np.ndarray,
        place: tuple[Placement, Placement],
        group: list[tuple[Window, Window]],
    ) -> None:
        pictures = len(target)
        if output.shape[0] != pictures * len(group):
            raise ModelError(f"the predictor was given {pictures * len(group)} tiles and returned {output.shape[0]}.")
        for number, tile in enumerate(group):
            spots, sources = [], []
            for axis, (window, each) in enumerate(zip(tile, place, strict=True)):
                # The same two pixels of the picture in pixels of the output: where this tile's part of the result
                # begins, and where the tile begins.
                begin, start = window.begin * each.scale, window.start * each.scale
                if begin.denominator > 1 or start.denominator > 1:
                    raise ModelError(
                        f"a tile that starts at pixel {window.start} has no place in an output of scale {each.scale}. "
                        f"Take an align that is a multiple of {each.scale.denominator}, the model's strides."
                    )
                end = min(math.ceil(window.end * each.scale), target.shape[1 + axis])
                first = int(start) + each.lead  # the pixel of the whole output that is pixel 0 of the tile's output
                spots.append(slice(int(begin), end))
                sources.append(slice(int(begin) - first, end - first))
            part = output[number * pictures : (number + 1) * pictures]
            target[:, spots[0], spots[1]] = part[:, sources[0], sources[1]]


def _check_is_picture(output: np.ndarray) -> None:
    if output.ndim < 3 or min(output.shape[1:3]) == 0:
        raise ModelError(
            f"tiled needs outputs of shape (n, height, width, ...); the predictor returned {output.shape}. "
            "Choose an output before the model's pooling or flattening."
        )


def _sizes(outputs: list[np.ndarray]) -> str:
    return ", ".join(" x ".join(map(str, array.shape[1:3])) for array in outputs)


def _margin(expression: int, margin: int | None, receptive: int | None) -> int:
    if receptive is None:
        return 32 if margin is None else margin
    if margin is not None:
        raise ConfigError("give margin or receptive, not both: receptive is expression + 2 * margin.")
    if receptive < expression or (receptive - expression) % 2:
        raise ConfigError(
            f"receptive is {receptive}; it is expression ({expression}) and a margin on both sides, e.g. "
            f"{expression + 64}."
        )
    return (receptive - expression) // 2


def _check_sizes(expression: int, margin: int, align: int, pad: str, batch_size: int) -> None:
    for name, value, least in (
        ("expression", expression, 1), ("margin", margin, 0), ("align", align, 1), ("batch_size", batch_size, 1)
    ):  # fmt: skip
        check_int("tiled", name, value, least)
    for name, value in (("expression", expression), ("margin", margin)):
        if value % align:
            raise ConfigError(
                f"{name} is {value}, which is no multiple of align ({align}). Take {-(-value // align) * align}, or "
                f"align=1 if the model has no strides."
            )
    check_choice("tiled", "pad", pad, _PADS)


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
            raise ConfigError(f"the inputs differ in size: {', '.join(str(tuple(a.shape)) for a in images)}.")
        if 0 in array.shape:
            raise ConfigError(f"the picture is empty: its shape is {tuple(array.shape)}.")
    return [array if many else _Alone(array) for array in images], many  # type: ignore[misc]


class _Alone:
    """One picture as a batch of one; windows of it (a raster, a memory map) are read when they are asked for."""

    def __init__(self, picture: Any) -> None:
        self._picture = picture
        self.shape = (1, *picture.shape)

    def __getitem__(self, where: tuple[slice, ...]) -> np.ndarray:
        return np.asarray(self._picture[where[1:]])[None]


def _leaves(outputs: Outputs) -> list[np.ndarray]:
    if isinstance(outputs, Mapping):
        return list(outputs.values())
    return list(outputs) if isinstance(outputs, list | tuple) else [outputs]


def _map(outputs: object, function: Callable[[Any], np.ndarray]) -> Outputs:
    if isinstance(outputs, Mapping):
        return {name: function(value) for name, value in outputs.items()}
    if isinstance(outputs, list | tuple):
        # A subclass such as a namedtuple may not take a list in its constructor: it becomes a list.
        return type(outputs)(map(function, outputs)) if type(outputs) in (list, tuple) else list(map(function, outputs))
    return function(outputs)


def _map_places(outputs: object, function: Callable[..., np.ndarray], places: Sequence[Any]) -> Outputs:
    left = iter(places)
    return _map(outputs, lambda output: function(output, next(left)))
