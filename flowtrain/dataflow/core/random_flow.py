"""The base of flows that draw random numbers."""

from __future__ import annotations

import functools
from typing import Literal

import numpy as np

from ...utils.seeding import resolve_seed
from .base import DataFlow
from .guards import Absent
from .rng import RandomStream

__all__ = ["RNGDataFlow"]


class RNGDataFlow(DataFlow):
    """A flow that draws random numbers.

    A subclass that defines ``get`` draws from ``self.stream.at(epoch, index)``. One that defines ``__iter__`` draws
    from ``self.rng``, a new generator for each epoch.

    Args:
        seed: A whole number; None takes the default (``set_seed``); ``"random"`` draws one and logs it.
    """

    rng: np.random.Generator = Absent(  # type: ignore[assignment]  # set when a walk begins
        "it is for a flow that defines __iter__. In get(index, epoch) draw from self.stream.at(epoch, index), so that "
        "datapoint i is the same in every process and after a resume"
    )
    _seed: int | None = None

    def __init__(self, seed: int | Literal["random"] | None = None) -> None:
        self._seed = resolve_seed(seed)

    @property
    def seed(self) -> int:
        """The number that, together with the stage's place in the chain, determines everything that it draws."""
        if self._seed is None:  # a subclass that did not call __init__
            self._seed = resolve_seed(None)
        return self._seed

    @functools.cached_property
    def stream(self) -> RandomStream:
        """The stage's random stream, numbered by how many random stages lie beneath it."""
        # By what lies beneath: a stage that is added above changes none of the numbers that are drawn here.
        return RandomStream(self.seed, self._random_depth() - 1)

    def _set_seed(self, seed: int) -> None:
        self._seed = resolve_seed(seed)
        vars(self).pop("stream", None)  # cached with the seed of before
        vars(self).update(dict.fromkeys(self._caches))

    def _begin(self, epoch: int) -> None:
        super()._begin(epoch)
        self.rng = self.stream.fresh(epoch)

    def _random_stages(self) -> list[RNGDataFlow]:
        return [*super()._random_stages(), self]

    def _random_depth(self) -> int:
        return super()._random_depth() + 1
