"""Cells of a table that hold picture files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...utils.errors import DataFlowError, FormatError
from ..core.datapoint import Component

__all__ = ["picture_decoder"]

_CHANNELS = {"image": 3, "gray": 1}


def picture_decoder(owner: str, column: str, how: str | Callable[[Any], Any]) -> Callable[[Any, str], Any]:
    """What makes a value of a cell, given the cell and where it is, for errors.

    Args:
        owner: Named in errors.
        column: Named in errors.
        how: ``"image"``: a picture file becomes RGB, uint8 (H, W, 3), ``"gray"``: (H, W, 1), both as ``read_image``
            gives; the cell is the file's bytes, or a struct that has them as ``bytes``, as Hugging Face writes them.
            Or a function of the cell.
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
    """The picture in a cell; None where what stands for a null is None."""
    from ..sources.decode import decode_image  # brings OpenCV, which is slow to import, and only pictures need

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
