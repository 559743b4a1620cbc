"""PrintData: describe the first datapoints that pass."""

from __future__ import annotations

import sys

import numpy as np

from ...utils.arguments import check_int, old_spellings
from ..core.base import DataFlow
from ..core.components import items_of
from ..core.cursor import Datapoint
from ..core.datapoint import Component
from ..stages.each import EachData

__all__ = ["PrintData", "describe_component", "describe_datapoint"]


@old_spellings(label="name")
class PrintData(EachData):
    """Print what the first datapoints are made of, and pass everything on: the first thing to debug with.

    Args:
        ds: The flow beneath.
        num: How many datapoints to describe.
        name: Printed in front of each, to tell several PrintData apart.
        max_depth: How deep to look into lists and dicts within components.
        max_list: How many entries of those to show.

    Order: that of ``ds``.

    State: that of ``ds``.

    Example:
        >>> from flowtrain.dataflow import DataFromList
        >>> ds = PrintData(DataFromList([[np.arange(6).reshape(2, 3), "a cat"]]))
        >>> for dp in ds:
        ...     pass
        datapoint 0<1 with 2 components consists of
           dp 0: is ndarray of shape (2, 3) with range [0, 5], dtype int64
           dp 1: is str with value 'a cat'
    """

    def __init__(
        self, ds: DataFlow, num: int = 1, name: str | None = None, max_depth: int = 3, max_list: int = 3
    ) -> None:
        super().__init__(ds)
        self.num = check_int("PrintData", "num", num, least=0)
        self.name, self.max_depth, self.max_list = name, max_depth, max_list
        self._shown = 0

    def _apply(self, datapoint: Datapoint, index: int, epoch: int) -> Datapoint:
        if self._shown < self.num:
            text = describe_datapoint(datapoint, self._shown, self.num, self.max_depth, self.max_list)
            sys.stdout.write(f"{self.name}: {text}\n" if self.name else f"{text}\n")
            sys.stdout.flush()
            self._shown += 1
        return datapoint


def describe_datapoint(datapoint: Datapoint, number: int, total: int, max_depth: int = 3, max_list: int = 3) -> str:
    """The lines that ``PrintData`` prints for one datapoint.

    Args:
        datapoint: Any.
        number: Its number among those that are printed.
        total: How many are printed.
        max_depth: How deep to look into lists and dicts within components.
        max_list: How many entries of those to show.

    Returns:
        Several lines, without a newline at the end.
    """
    if not isinstance(datapoint, (list, tuple, dict)):
        return f"datapoint {number}<{total} is no list or dict of components, but {describe_component(datapoint)[3:]}"
    lines = [f"datapoint {number}<{total} with {len(datapoint)} components consists of"]
    for key, value in items_of(datapoint):
        lines.append(f"   dp {key}: {describe_component(value)}")
        lines += _within(value, "      ", max_depth - 1, max_list)
    return "\n".join(lines)


def _within(value: object, indent: str, depth: int, max_list: int) -> list[str]:
    """The lines for the entries of a list or dict."""
    if not isinstance(value, (list, tuple, dict)) or depth <= 0:
        return []
    lines = []
    for key, entry in items_of(value)[:max_list]:
        lines.append(f"{indent}{key}: {describe_component(entry)}")
        lines += _within(entry, indent + "   ", depth - 1, max_list)
    if len(value) > max_list:
        lines.append(f"{indent}...")
    return lines


def describe_component(value: object) -> str:
    """Say in a few words what a value is: "is ndarray of shape (2, 3) with range [0, 5], dtype int64"."""
    kind = type(value).__name__
    if isinstance(value, np.ndarray):
        return f"is {kind} of shape {value.shape}{_range(value)}, dtype {value.dtype}"
    if value is None:
        return "is None"
    if isinstance(value, bytes):
        return f"is {kind} of length {len(value)} with value {_shortened(value)}"
    if isinstance(value, (bool, int, float, complex, str, np.generic)):
        shown = value.item() if isinstance(value, np.generic) else value
        return f"is {kind} with value {_shortened(shown)}"
    if isinstance(value, (list, tuple, dict)):
        return f"is {kind} of {len(value)} elements"
    return f"is {kind}: {_shortened(value)}"


def _shortened(value: object, limit: int = 60) -> str:
    text = repr(value[:limit] if isinstance(value, (str, bytes)) else value)
    cut = len(value) > limit if isinstance(value, (str, bytes)) else len(text) > limit
    return f"{text[:limit]}..." if cut else text


def _range(array: np.ndarray) -> str:
    """The smallest and largest value, and how many are NaN or infinite: what goes wrong most often."""
    if array.dtype.kind not in "biuf" or not array.size:
        return ""
    if array.dtype.kind != "f":
        return f" with range [{array.min()}, {array.max()}]"
    bad = int(array.size - np.count_nonzero(np.isfinite(array)))
    if not bad:
        return f" with range [{_number(array.min())}, {_number(array.max())}]"
    good = array[np.isfinite(array)]
    low, high = (_number(good.min()), _number(good.max())) if good.size else ("nan", "nan")
    return f" with range [{low}, {high}] and {bad} values that are NaN or infinite"


def _number(value: Component) -> str:
    number = float(value)
    if number == 0:
        return "0"
    return f"{number:.4f}" if 1e-3 <= abs(number) < 1e7 else f"{number:.4g}"
