"""``show``: a contact sheet of a flow's datapoints, as one PNG or HTML file."""

from __future__ import annotations

import base64
import copy
import html
import itertools
import os
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np

from ...utils.arguments import check_int, check_names, if_given, names_arguments
from ...utils.errors import DataFlowError
from ...utils.storage import writing_to
from ..core.base import DataFlow
from ..core.components import items_of
from ..core.datapoint import Datapoint
from ..core.proxy import check_flow
from .printing import describe_component

__all__ = ["show"]

_LINE = 15  # pixels of a line of text
_GAP = 6


@names_arguments
def show(
    ds: DataFlow,
    path: str | os.PathLike[str],
    num: int = 16,
    size: int = 160,
    titles: Sequence[str] | None = None,
) -> str:
    """Draw the first datapoints of a flow on one sheet: the quickest way to see a wrong crop or swapped colours.

    The flow's position is left alone. Pictures are taken to be RGB. Floats in [0, 1] or [-1, 1] are scaled to 0..255,
    any other range is stretched to it; the caption gives the range of the values. If an array has another number of
    channels than 1, 3 or 4, the first three are drawn one by one. Batches are taken apart.

    Args:
        ds: The flow.
        path: Path or URL of the file; ``.png`` gives a picture, ``.html`` a page that needs no other file.
        num: How many datapoints to draw, at most.
        size: Pixels of the longer side of a drawn picture.
        titles: What the components are, e.g. ``["clean", "noisy", "restored"]``: written above their columns, with
            each datapoint in a row of its own.

    Returns:
        The path.

    Raises:
        DataFlowError: The path ends in something else, the flow is empty, or a datapoint has more or fewer components
            than there are titles.

    Example:
        >>> import tempfile
        >>> from flowtrain.dataflow import FakeData
        >>> path = tempfile.mkdtemp() + "/sheet.png"
        >>> show(FakeData([(32, 32, 3), ()], dtype=["uint8", "int64"]), path) == path
        True
    """
    check_flow(ds, "show")
    check_int("show", "num", num)
    ending = os.path.splitext(path)[1]
    if ending.lower() not in (".png", ".html"):
        raise DataFlowError(f"show: the path must end in .png or .html, not {ending!r}")
    if_given(check_names, "show", "titles", titles, DataFlowError)
    cells = list(itertools.islice(_cells(ds, titles), num))
    if not cells:
        raise DataFlowError(f"show: {ds} gave no datapoint")
    if ending.lower() == ".html":
        content = _page(cells, size).encode()
    else:  # encoded in memory, since cv2.imwrite says nothing of a full disk; BGR is OpenCV's order of channels
        content = cv2.imencode(ending, _sheet(cells, size, titles)[:, :, ::-1])[1].tobytes()
    with writing_to(path) as beside:
        beside.write_bytes(content)
    return str(path)


def _cells(ds: DataFlow, titles: Sequence[str] | None) -> Iterator[tuple[list[tuple[str, np.ndarray]], list[str]]]:
    """Yield for each datapoint ([(name, picture), ...], lines of its caption)."""
    walk = iter(copy.copy(ds))  # a copy has a position of its own
    try:
        for datapoint in walk:
            yield from (_cell(row, titles) for row in _rows(datapoint))
    finally:
        walk.close()  # type: ignore[attr-defined]


def _rows(datapoint: Datapoint) -> list[Any]:
    """The datapoints of a batch of pictures; anything else is one datapoint."""
    values = list(datapoint.values()) if isinstance(datapoint, dict) else datapoint
    if not isinstance(values, (list, tuple)):
        return [[datapoint]]
    columns = [value for value in values if isinstance(value, np.ndarray) and value.ndim]
    rows = {len(column) for column in columns}
    batch = len(columns) == len(values) and len(rows) == 1 and any(column.ndim == 4 for column in columns)
    if not batch:
        return [datapoint]
    keys = list(datapoint) if isinstance(datapoint, dict) else range(len(datapoint))
    return [{key: datapoint[key][row] for key in keys} for row in range(rows.pop())]


def _cell(datapoint: Datapoint, titles: Sequence[str] | None) -> tuple[list[tuple[str, np.ndarray]], list[str]]:
    pictures, lines = [], []
    items = items_of(datapoint)
    if titles is not None:
        if len(titles) != len(items):
            raise DataFlowError(f"show: {len(titles)} titles for datapoints of {len(items)} components")
        items = [(title, value) for title, (_, value) in zip(titles, items, strict=True)]
    for key, value in items:
        if isinstance(value, np.ndarray) and value.ndim in (2, 3) and value.dtype.kind in "buif" and min(value.shape):
            pictures += [(str(key), picture) for picture in _pictures(value)]
        lines.append(f"{key}: {_caption(value)}")
    return pictures, lines


def _caption(value: object) -> str:
    """Describe a component in the few words that fit beneath a picture."""
    if not isinstance(value, np.ndarray) or value.dtype == object or not value.size:
        return describe_component(value)[3:]
    return f"{'x'.join(map(str, value.shape))} {value.dtype} {value.min():.3g}..{value.max():.3g}"


def _pictures(array: np.ndarray) -> list[np.ndarray]:
    """An array as uint8 RGB pictures."""
    shown = _stretched(array)
    if shown.ndim == 2:
        shown = shown[:, :, None]
    if shown.shape[2] == 1:
        return [np.repeat(shown, 3, axis=2)]
    if shown.shape[2] in (3, 4):
        return [np.ascontiguousarray(shown[:, :, :3])]
    return [np.repeat(shown[:, :, channel : channel + 1], 3, axis=2) for channel in range(min(3, shown.shape[2]))]


def _stretched(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    values = np.nan_to_num(array.astype(np.float32))
    low, high = float(values.min()), float(values.max())
    if array.dtype.kind == "f" and low >= -1 and high <= 1:
        low, high = (0.0, 1.0) if low >= 0 else (-1.0, 1.0)
    return np.rint((values - low) * (255.0 / ((high - low) or 1.0))).astype(np.uint8)


def _fitted(picture: np.ndarray, size: int) -> np.ndarray:
    height, width = picture.shape[:2]
    scale = size / max(height, width)
    shape = max(round(width * scale), 1), max(round(height * scale), 1)
    return cv2.resize(picture, shape, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST)


def _sheet(cells: list[Any], size: int, titles: Sequence[str] | None) -> np.ndarray:
    across = max(max(len(pictures) for pictures, _ in cells), 1)
    lines = max(len(text) for _, text in cells)
    width, height = across * (size + _GAP) + _GAP, size + 2 * _GAP + lines * _LINE
    # so many columns that the sheet is about 16:9
    columns = 1 if titles else max(1, min(len(cells), round((16 / 9 * len(cells) * height / width) ** 0.5)))
    rows = -(-len(cells) // columns)
    head = _LINE + _GAP if titles else 0
    sheet = np.full((head + rows * height, columns * width, 3), 255, np.uint8)
    names = [name for name, _ in cells[0][0]] if titles else []
    for place, title in enumerate(names):
        _write(sheet, title, (_GAP + place * (size + _GAP), _LINE), size, 0.42)
    for number, (pictures, text) in enumerate(cells):
        top, left = head + number // columns * height, number % columns * width
        for place, (_, picture) in enumerate(pictures):
            drawn = _fitted(picture, size)
            x, y = left + _GAP + place * (size + _GAP), top + _GAP
            sheet[y : y + drawn.shape[0], x : x + drawn.shape[1]] = drawn
        for line, words in enumerate(text):
            at = left + _GAP, top + size + _GAP + (line + 1) * _LINE - 3
            _write(sheet, words, at, width - 2 * _GAP, 0.33)
    return sheet


def _write(sheet: np.ndarray, words: str, at: tuple[int, int], width: int, scale: float) -> None:
    """Draw a line of text, as much of it as fits."""
    fitting = words.encode("ascii", "replace").decode()  # the font has ASCII alone
    while len(fitting) > 10 and cv2.getTextSize(fitting, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)[0][0] > width:
        fitting = fitting[:-1]
    cv2.putText(sheet, fitting, at, cv2.FONT_HERSHEY_SIMPLEX, scale, (60, 60, 60), 1, cv2.LINE_AA)


def _page(cells: list[Any], size: int) -> str:
    parts = []
    for pictures, text in cells:
        images = "".join(f'<img src="data:image/png;base64,{_encoded(_fitted(p, size))}">' for _, p in pictures)
        lines = "<br>".join(map(html.escape, text))
        parts.append(f"<figure>{images}<figcaption>{lines}</figcaption></figure>")
    style = (
        "body{font:12px sans-serif;display:flex;flex-wrap:wrap;gap:12px}figure{margin:0}"
        "img{margin-right:4px;image-rendering:pixelated}figcaption{color:#555}"
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Contact sheet</title><style>{style}</style>'
        f"<body>{''.join(parts)}</body></html>\n"
    )


def _encoded(picture: np.ndarray) -> str:
    return base64.b64encode(cv2.imencode(".png", picture[:, :, ::-1])[1].tobytes()).decode()
