"""DataFromList and FakeData, and the base of sources that compute the order of an epoch by index."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from ...utils.arguments import check_int, old_spellings
from ...utils.errors import DataFlowError
from ..core.components import protected
from ..core.cursor import Datapoint
from ..core.random_flow import RNGDataFlow
from ..stages.index_map import check_indices, out_of_range

__all__ = ["DataFromList", "FakeData", "Ordered"]


class Ordered(RNGDataFlow):
    """Base of indexable sources that have a length and may be shuffled: computes the order of each epoch by index."""

    def __init__(self, shuffle: bool, seed: int | Literal["random"] | None) -> None:
        super().__init__(seed)
        if not isinstance(shuffle, (bool, np.bool_)):
            raise DataFlowError(f"{type(self).__name__}: shuffle is True or False, not {shuffle!r}")
        self.shuffle = bool(shuffle)

    def _place(self, index: int, epoch: int) -> int:
        """The position in the source of datapoint ``index`` of an epoch."""
        size = len(self)
        if not 0 <= index < size:
            raise out_of_range(self, index)
        return self.stream.permutation(size, epoch)[index] if self.shuffle else index

    def _places(self, indices: np.ndarray, epoch: int) -> np.ndarray:
        """``_place`` for int (N,) at once; raises IndexError if one is out of range."""
        if self.shuffle:
            return self.stream.permutation(len(self), epoch).take(indices)
        indices = np.asarray(indices)
        check_indices(self, indices)
        return indices


@old_spellings(lst="datapoints")
class DataFromList(Ordered):
    """Yield the entries of a list.

    Args:
        datapoints: A list, tuple, range or anything else with ``len()`` and ``[]``. Each entry is a datapoint: a
            list or a dict of components.
        shuffle: Use a new random order in each epoch. It is not stored: 10**9 entries of a ``range`` start at once.
        seed: Seed of the order; None takes the default.

    Lists, dicts and other mutable objects are copied, to any depth, and arrays are read-only views, so that no function
    further up can change what the next epoch yields.

    Order: that of the list, or with ``shuffle`` one that depends on (seed, epoch). Indexable.

    State: one number.

    Raises:
        DataFlowError: The list is empty, or is no sequence.

    Example:
        >>> list(DataFromList([[1, "one"], [2, "two"]]))
        [[1, 'one'], [2, 'two']]
    """

    def __init__(
        self, datapoints: Sequence[Any], shuffle: bool = False, seed: int | Literal["random"] | None = None
    ) -> None:
        super().__init__(shuffle, seed)
        sequence = hasattr(datapoints, "__getitem__") and hasattr(datapoints, "__len__")
        if not sequence or isinstance(datapoints, (dict, str, bytes)):  # a path would be a datapoint for each letter
            raise DataFlowError(
                f"DataFromList takes a list or another sequence, got {type(datapoints).__name__}. For a generator "
                "function use DataFromGenerator, for a set or the like DataFromIterable, for arrays DataFromArrays."
            )
        if len(datapoints) == 0:
            raise DataFlowError("DataFromList got an empty list: there is nothing to hand out")
        self.datapoints = datapoints

    def __len__(self) -> int:
        return len(self.datapoints)

    def get(self, index: int, epoch: int = 0) -> Datapoint:
        return protected(self.datapoints[self._place(index, epoch)])


class FakeData(RNGDataFlow):
    """Yield random arrays of given shapes: to try or to measure a model without its data.

    Args:
        shapes: A list of shapes, one per component, or a dict of name -> shape.
        size: Number of datapoints in an epoch.
        random: Draw new numbers for each datapoint. If False, all datapoints are the same one, and cost nothing.
        dtype: One for all components, or one each (list, or dict by name).
        domain: (low, high), one for all components or one each: numbers from low to below high. None is (0, 1) for
            floats, and (0, 256) for whole numbers, as far as the dtype holds them; bools are drawn evenly.
        seed: Seed of the numbers; None takes the default.

    Order: indexable; datapoint i of epoch e depends on (seed, e, i).

    State: one number.

    Example:
        >>> image, label = next(iter(FakeData([(8, 8, 3), ()], dtype=["uint8", "int64"])))
        >>> image.shape, image.dtype, label.shape
        ((8, 8, 3), dtype('uint8'), ())
    """

    def __init__(
        self,
        shapes: Sequence[Sequence[int]] | dict[str, Sequence[int]],
        size: int = 1000,
        random: bool = True,
        dtype: object = "float32",
        domain: object = None,
        seed: int | Literal["random"] | None = None,
    ) -> None:
        super().__init__(seed)
        if not isinstance(shapes, (list, tuple, dict)) or not shapes:
            raise DataFlowError(f"FakeData takes a list or a dict of shapes, e.g. [(28, 28), ()]; got {shapes!r}")
        named = shapes if isinstance(shapes, dict) else dict(enumerate(shapes))
        bad = [shape for shape in named.values() if not isinstance(shape, (list, tuple))]
        if bad:
            raise DataFlowError(f"FakeData: {bad[0]!r} is not a shape; give a list of shapes, e.g. [(28, 28), ()]")
        self._as_list = not isinstance(shapes, dict)
        dtypes = _per_component(dtype, named, one=lambda given: not isinstance(given, (list, tuple, dict)))
        domains = _per_component(domain, named, one=lambda given: given is None or _is_pair(given))
        self._parts = {
            key: (tuple(int(n) for n in shape), np.dtype(dtypes[key]), _domain(np.dtype(dtypes[key]), domains[key]))
            for key, shape in named.items()
        }
        self.size_per_epoch, self.random = check_int("FakeData", "size", size, least=0), random
        self._fixed: Datapoint = None

    def __len__(self) -> int:
        return self.size_per_epoch

    def get(self, index: int, epoch: int = 0) -> Datapoint:
        if not 0 <= index < self.size_per_epoch:
            raise out_of_range(self, index)
        if self.random:
            return self._made(self.stream.at(epoch, index))
        if self._fixed is None:
            self._fixed = self._made(self.stream.at(0, 0))
        return protected(self._fixed)

    def _made(self, rng: np.random.Generator) -> Datapoint:
        parts = {key: _draw(rng, *part) for key, part in self._parts.items()}
        return list(parts.values()) if self._as_list else parts


def _is_pair(value: object) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 2 and all(np.isscalar(bound) for bound in value)


def _per_component(given: Any, named: dict[Any, Any], one: Callable[[Any], bool]) -> dict[Any, Any]:
    """Spread a setting over the components: ``given`` is one for all, as ``one`` says, or has one for each."""
    if one(given):
        return dict.fromkeys(named, given)
    each = given if isinstance(given, dict) else dict(enumerate(given))
    if each.keys() != named.keys():
        raise DataFlowError(f"FakeData: {given!r} must be one for all components or one for each of {list(named)}")
    return each


def _domain(dtype: np.dtype[Any], given: Any) -> tuple[Any, Any]:
    if given is not None:
        low, high = given
        if not low < high:
            raise DataFlowError(f"FakeData: a domain is (low, high) with low < high, not {given!r}")
        return low, high
    if dtype.kind in "iu":
        return 0, min(256, int(np.iinfo(dtype).max) + 1)
    return 0, 1


def _draw(
    rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any], domain: tuple[Any, Any]
) -> np.ndarray | np.generic:
    low, high = domain
    if dtype.kind == "b":
        drawn = rng.integers(0, 2, shape)
    elif dtype.kind in "iu":
        drawn = rng.integers(low, high, shape, dtype=dtype)
    elif dtype.kind == "f":
        drawn = rng.random(shape, np.float32 if dtype == np.float32 else np.float64) * (high - low) + low
    else:
        raise DataFlowError(f"FakeData: no data of dtype {dtype} can be made up; use float, int, uint or bool")
    array = np.asarray(drawn, dtype)
    return array if shape else array[()]
