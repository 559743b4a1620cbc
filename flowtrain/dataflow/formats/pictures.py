"""Decoding of table cells that hold encoded pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...utils.errors import DataFlowError, FormatError
from ..core.datapoint import Component

__all__ = ["picture_decoder"]

_CHANNELS = {"image": 3, "gray": 1}


def picture_decoder(owner: str, column: str, how: str | Callable[[Any], Any]) -> Callable[[Any, str], Any]:
    """The function that decodes the cells of a column.

    Args:
        owner: The class that was given ``how``, for errors.
        column: The column, for errors.
        how: ``"image"`` decodes a picture to RGB, uint8 (H, W, 3), ``"gray"`` to (H, W, 1), both as ``read_image``
            does; the cell is the bytes of a picture file, or a struct that has them in its field ``bytes``, as Hugging
            Face writes them. Or a function of the cell.

    Returns:
        A function of the cell and of its place in words, which errors name.

    Raises:
        DataFlowError: ``how`` is something else.
    """
    if callable(how):
        return lambda cell, _: how(cell)
    if how not in _CHANNELS:
        raise DataFlowError(
            f'{owner}: decode is "image", "gray" or a function for each column; got {column!r}: {how!r}'
        )
    channel = _CHANNELS[how]
    return lambda cell, where: decode_picture(cell, where, channel)


def decode_picture(cell: Component, where: str, channel: int) -> np.ndarray | None:
    """Decode the picture in a cell; None for a null that ``missing`` replaces by None.

    Raises:
        FormatError: The cell has a path and no bytes.
        DataFlowError: The cell holds something else than bytes, or bytes that are no picture.
    """
    from ..sources.decode import decode_image  # imports OpenCV, which is slow, and which only pictures need

    if isinstance(cell, Mapping):
        if cell.get("bytes") is None:
            raise FormatError(
                f"{where}: no bytes of a picture, but the path {cell.get('path')!r}: read it in a MapData"
            )
        cell = cell["bytes"]
    if cell is None:
        return None
    if not isinstance(cell, bytes):
        raise DataFlowError(f"{where} holds {type(cell).__name__}, not the bytes of a picture")
    return decode_image(np.frombuffer(cell, np.uint8), where, channel)
