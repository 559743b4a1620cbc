"""Deferred decoding: pictures that a source has read and not decoded, since the stage above may need only a part.

A source that can leave pictures undecoded defines two methods beside ``get``: ``_get_undecoded(index, epoch)``, which
calls :func:`get_leaving`, and ``_why_decoded()``, which says why pictures will be decoded all the same, or None. The
code that decodes its pictures asks :func:`may_leave`. A stage that hands datapoints on without looking into them
defines ``_get_undecoded`` alone. Only a stage that can deal with undecoded pictures asks for them, through
:func:`get_undecoded`; everyone else calls ``get`` and is given arrays.
"""

from __future__ import annotations

import abc
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from ...utils.inherited import written_for
from .base import DataFlow
from .components import Key, items_of, replaced
from .cursor import Datapoint

__all__ = [
    "Undecoded",
    "decoded",
    "get_leaving",
    "get_undecoded",
    "holds_undecoded",
    "is_undecoded",
    "may_leave",
    "why_decoded",
    "with_undecoded",
]


# A flag of the thread and not an argument: between a source's `get`, whose signature is public and which users
# override, and its decoder lie methods that know nothing of this.
class _Asked(threading.local):
    here = False


_asked = _Asked()


class Undecoded(abc.ABC):
    """A picture whose size is known and whose pixels are not.

    Attributes:
        shape: (H, W, C) of the uint8 array that ``read`` gives.
    """

    shape: tuple[int, int, int]

    @abc.abstractmethod
    def read(self) -> np.ndarray:
        """Decode all of it."""

    @abc.abstractmethod
    def read_region(self, region: tuple[int, int, int, int]) -> np.ndarray:
        """Decode a rectangle: the pixels that it has in what ``read`` gives, bit for bit.

        Args:
            region: (y, x, height, width), within the picture.

        Raises:
            ValueError: It is damaged, or cannot be decoded in part after all.
        """


def get_undecoded(flow: DataFlow, index: int, epoch: int) -> Datapoint:
    """``flow.get(index, epoch)``, with the pictures left undecoded where the flow can do that."""
    if _can(flow):
        return flow._get_undecoded(index, epoch)  # type: ignore[attr-defined]
    return flow.get(index, epoch)


def get_leaving(source: DataFlow, index: int, epoch: int) -> Datapoint:
    """A source's ``get`` during which its decoder may leave pictures undecoded: the body of ``_get_undecoded``."""
    if source._why_decoded() is not None:  # type: ignore[attr-defined]
        return source.get(index, epoch)
    _asked.here = True
    try:
        return source.get(index, epoch)
    finally:
        _asked.here = False


def may_leave() -> bool:
    """Whether the picture that this thread is about to decode may be left undecoded."""
    return _asked.here


def why_decoded(flow: DataFlow) -> str | None:
    """Say why :func:`get_undecoded` gives no undecoded pictures.

    Returns:
        None if it does. An empty string if no source beneath has pictures that could be left undecoded. Else the
        reason, as a clause.
    """
    can, children = _can(flow), flow.children()
    if not children:
        return flow._why_decoded() if can else ""  # type: ignore[attr-defined]
    beneath = [why_decoded(child) for child in children]
    if None in beneath:
        return None if can else f"{flow} takes decoded pictures"
    return next(filter(None, beneath), "")


def is_undecoded(datapoint: Datapoint, key: Key) -> bool:
    """Whether the datapoint has a component ``key``, and it is an undecoded picture."""
    try:
        return isinstance(datapoint[key], Undecoded)
    except (LookupError, TypeError):
        return False


def holds_undecoded(datapoint: Datapoint) -> bool:
    """Whether any component is an undecoded picture."""
    return any(isinstance(value, Undecoded) for _, value in items_of(datapoint))


def decoded(datapoint: Datapoint) -> Datapoint:
    """The datapoint with all its pictures decoded.

    Raises:
        ValueError: One is damaged.
    """
    return with_undecoded(datapoint, lambda picture: picture.read())


def with_undecoded(datapoint: Datapoint, change: Callable[[Undecoded], Any]) -> Datapoint:
    """The datapoint with each undecoded picture replaced by ``change(picture)``."""
    for key, value in items_of(datapoint):
        if isinstance(value, Undecoded):
            datapoint = replaced(datapoint, key, change(value))
    return datapoint


def _can(flow: DataFlow) -> bool:
    # A subclass that overrides get alone inherits a _get_undecoded that would pass its get by.
    return written_for(type(flow), "_get_undecoded", "get", "__iter__")
