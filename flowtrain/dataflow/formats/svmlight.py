"""Source over svmlight (libsvm) files: each line is a label and the nonzero features."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ...utils.arguments import check_int, if_given
from ...utils.claims import UNNAMED, Claim, check_claim
from ..core.base import Datapoint
from .csvcells import only_digits
from .lines import LineFile
from .openfiles import OpenFiles
from .shards import ShardedSource
from .source import PathLike, damaged

__all__ = ["SVMLightData"]


class SVMLightData(ShardedSource):
    """Rows of svmlight files, as dense vectors.

    A line is ``label [qid:n] index:value index:value ... [# comment]``, with strictly increasing indices. A ``qid`` is
    ignored.

    Args:
        path: A file, a list of files, or a pattern.
        num_features: Length of the vectors. None: all files are read once to find the largest index; vectors of more
            than 64 MB are then refused.
        zero_based: Whether the first feature has index 0; the format says 1.
        label: Parses the text of the label, e.g. ``int``, or ``lambda text: text.split(",")`` for several labels.
        dtype: Dtype of the vectors.
        shuffle: Use a new random order in each epoch, over the records of all files.
        seed: Seed of the order; None takes the default.

    Raises:
        DataFlowError: A file is missing or unreadable.
        ConfigError: ``num_features`` is not a whole number from 1.
        FormatError: When read: a line is not svmlight, or an index is out of range or not in order; names file and
            line.

    Order:
        As in the files; with ``shuffle`` a new permutation each epoch. Indexable: a datapoint is
        ``[features (num_features,), label]``.

    State:
        The index of the next datapoint; resuming costs nothing.

    Example:
        >>> features, label = SVMLightData("a1a", num_features=123).get(0)    # doctest: +SKIP
    """

    def __init__(
        self,
        path: PathLike | Sequence[PathLike],
        num_features: int | None = None,
        *,
        zero_based: bool = False,
        label: Callable[[str], Any] = float,
        dtype: npt.DTypeLike = np.float32,
        shuffle: bool = False,
        seed: int | Literal["random"] | None = None,
    ) -> None:
        super().__init__(path, shuffle=shuffle, seed=seed, what="svmlight file")
        self.num_features = if_given(check_int, "SVMLightData", "num_features", num_features)
        self._first, self._label, self._dtype = int(not zero_based), label, np.dtype(dtype)

    def _open_files(self) -> tuple[Sequence[LineFile], list[int]]:
        opened = OpenFiles()
        files = self._open_each(lambda path: LineFile(path, opened, blank="spaces", comment=b"#"))
        if self.num_features is None:
            self.num_features = max(map(self._length, files), default=0)
        return self._lay_out(files)

    def _read(self, index: int) -> Datapoint:
        lines, number = self._locate(index)
        label, indices, values = self._parse(lines, number)
        size = self.num_features or 0
        # The indices rise, so the first and the last are the extremes.
        if indices and (indices[-1] >= size + self._first or indices[0] < self._first):
            wrong = indices[0] if indices[0] < self._first else indices[-1]
            range_ = f"{self._first} to {size + self._first - 1}"
            advice = " (pass zero_based=True if the first feature has index 0)" if wrong == 0 else ""
            raise self._wrong(lines, number, f"the index {wrong} is not within {range_}{advice}")
        features = np.zeros(size, self._dtype)
        if indices:
            features[np.array(indices) - self._first] = values
        return [features, label]

    def _parse(self, lines: LineFile, number: int) -> tuple[Any, list[int], list[float]]:
        # As bytes: millions of indices and values need not be decoded, and int() and float() read bytes as ASCII alone.
        head, *pairs = lines.raw(number).partition(b"#")[0].split() or [b""]
        try:
            text = head.decode()
            label = self._label(only_digits(text) if self._label in (int, float) else text)
        except (ValueError, UnicodeDecodeError) as error:
            advice = "a label expected; for labels of another form pass label=<function of the text>"
            raise self._wrong(lines, number, f"{advice} ({error})") from error
        if pairs and pairs[0].startswith(b"qid:"):
            pairs = pairs[1:]
        try:
            if any(b"_" in pair for pair in pairs):  # int() and float() read 1_23 as 123
                raise ValueError("only the digits 0 to 9 make a number")
            split = [pair.split(b":") for pair in pairs]
            indices = [int(index) for index, _ in split]
            values = [float(value) for _, value in split]
        except ValueError as error:
            raise self._wrong(lines, number, f"index:value expected ({error})") from error
        if any(a >= b for a, b in itertools.pairwise(indices)):
            raise self._wrong(lines, number, "the indices do not rise")
        return label, indices, values

    def _length(self, lines: LineFile) -> int:
        """The length of vectors that hold the largest index of a file.

        Raises:
            FormatError: A line is damaged, or its index would make vectors of more than 64 MB.
        """
        longest = 0
        for number in range(lines.count):
            indices = self._parse(lines, number)[1]
            if indices and indices[-1] >= longest + self._first:
                longest = indices[-1] + 1 - self._first
                try:
                    check_claim(longest * self._dtype.itemsize, len(lines.raw(number)), limit=UNNAMED)
                except Claim as error:
                    what = f"the index {indices[-1]} makes very long vectors ({error}): pass num_features= if they are"
                    raise self._wrong(lines, number, what) from error
        return longest

    @staticmethod
    def _wrong(lines: LineFile, number: int, what: str) -> Exception:
        return damaged(lines.path, f"line {lines.number(number)}: {what}", record=number)
