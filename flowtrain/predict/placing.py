"""Where an output's pixels lie in the picture: its scale, and what crops and missing padding have taken from it."""

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

_known: weakref.WeakKeyDictionary[Any, list[tuple[Placement, Placement]] | None] = weakref.WeakKeyDictionary()


@dataclass(frozen=True)
class Placement:
    """Where the pixels of an output lie, along one axis.

    Of n pixels of the picture the output has ``scale * n - lost``, and its pixel 0 is pixel ``lead`` of an output
    that has lost none.

    Attributes:
        scale: Pixels of the output for one of the picture: 1/2 behind a stride of 2.
        lead: Pixels that the output lacks at its beginning (negative: that it has more).
        lost: Pixels that it lacks at both ends together.
    """

    scale: Fraction
    lead: int
    lost: int

    @property
    def missing(self) -> tuple[Fraction, Fraction]:
        """What the output lacks at both ends, in pixels of the picture."""
        return self.lead / self.scale, (self.lost - self.lead) / self.scale

    def size(self, picture: int) -> Fraction:
        """Pixels of the output for so many of the picture; a fraction where a stride does not divide them."""
        return picture * self.scale - self.lost


SAME = Placement(Fraction(1), 0, 0)


def placements(predictor: object) -> list[tuple[Placement, Placement]] | None:
    """Where each output lies, vertically and horizontally, as the operations of the graph have it.

    Args:
        predictor: A predictor or Keras model; whatever else is called has no graph to look at.

    Returns:
        A pair for each output; None where no graph says it: an output depends on the whole picture, there are
        operations that cannot be seen through, or it is no graph.
    """
    if not isinstance(predictor, Predictor | keras.Model):
        return None
    if isinstance(getattr(predictor, "output", None), Mapping):  # it answers in an order of its own
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
    lost = int(size * scale - field.size)  # less than a pixel is the rounding of a stride
    lead = math.floor(field.origin * scale + Fraction(1, 2))
    return Placement(scale, min(max(lead, min(lost, 0)), max(lost, 0)), lost)
