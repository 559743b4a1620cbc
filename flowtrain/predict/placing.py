"""Placement of an output's pixels in the picture: scale, and pixels lost to crops and missing padding."""

from __future__ import annotations

import math
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import keras

from flowtrain.model import Predictor
from flowtrain.utils.errors import ModelError

from .named_graph import as_predictor
from .receptive import walked
from .receptive_ops import Field

__all__ = ["SAME", "Placement", "placements"]

# By predictor: tiling asks again for each picture, and freezing and following a graph takes longer than many tiles.
_known: weakref.WeakKeyDictionary[Any, list[tuple[Placement, Placement]] | None] = weakref.WeakKeyDictionary()


@dataclass(frozen=True)
class Placement:
    """Position of an output's pixels in the picture, along one axis.

    For a picture of n pixels the output has ``scale * n - lost`` pixels. Its pixel 0 would be pixel ``lead`` of an
    output that has lost none.

    Attributes:
        scale: Pixels of the output for one pixel of the picture: 1/2 behind a stride of 2.
        lead: Pixels of the output that are lost at its beginning (negative: added).
        lost: Pixels of the output that are lost at both ends together (negative: added).
    """

    scale: Fraction
    lead: int
    lost: int

    @property
    def missing(self) -> tuple[Fraction, Fraction]:
        """The losses at the beginning and at the end, in pixels of the picture."""
        return self.lead / self.scale, (self.lost - self.lead) / self.scale

    def size(self, picture: int) -> Fraction:
        """Pixels of the output for a picture of this many pixels; a fraction where a stride does not divide them."""
        return picture * self.scale - self.lost


SAME = Placement(Fraction(1), 0, 0)


def placements(predictor: object) -> list[tuple[Placement, Placement]] | None:
    """Compute the placement of each output from the operations of the graph.

    Args:
        predictor: A predictor or Keras model; other callables have no graph to look at.

    Returns:
        (vertical, horizontal) for each output; None if no graph tells: it is another callable, an output depends on
        the whole picture, or there are operations that cannot be seen through.
    """
    if not isinstance(predictor, Predictor | keras.Model):
        return None
    if isinstance(getattr(predictor, "output", None), Mapping):  # a dict may come in another order than the graph has
        return None
    if predictor not in _known:
        try:
            _known[predictor] = _followed(as_predictor(predictor))
        except ModelError:
            _known[predictor] = None
    return _known[predictor]


def _followed(predictor: Predictor) -> list[tuple[Placement, Placement]]:
    both, sizes = walked(predictor)
    columns = [[_placement(field, size) for field in fields] for (fields, _), size in zip(both, sizes, strict=True)]
    return list(zip(*columns, strict=True))


def _placement(field: Field, size: int) -> Placement:
    scale = 1 / field.scale
    lost = int(size * scale - field.size)  # a rest of less than a pixel comes from a stride that does not divide size
    lead = math.floor(field.origin * scale + Fraction(1, 2))  # to the nearest pixel
    # The nearest pixel may lie outside of what is lost (or added) in all, by the same rounding.
    return Placement(scale, min(max(lead, min(lost, 0)), max(lost, 0)), lost)
