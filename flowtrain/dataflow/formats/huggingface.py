"""Map-style datasets of Hugging Face's library ``datasets`` as a source."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from ...utils.arguments import check_names, if_given
from ...utils.errors import DataFlowError, FlowtrainError, FormatError, closest, first_few
from ...utils.optional import require
from ..core.base import Datapoint
from ..core.datapoint import Component
from .arrowcells import ArrowArray, Cells, Grids, NullCell
from .arrowvalues import cells_of, gathers, null_paths, numbers_of, unreadable
from .columnsource import ColumnSource
from .pictures import picture_decoder
from .runs import ReadRun

__all__ = ["DataFromHuggingFace"]

_OWNER = "DataFromHuggingFace"
_UNDECODED = ("Audio", "Video", "Pdf", "Nifti", "BioSequence", "BioStructure", "Mesh")  # of their features
_GRIDS = ("Array2D", "Array3D", "Array4D", "Array5D")


class DataFromHuggingFace(ColumnSource):
    """Rows of a map-style ``datasets.Dataset`` as dicts, one component per column.

    Rows are read from the Arrow table that the dataset maps into memory. Workers map the same files; a dataset that
    lies in memory, as ``Dataset.from_dict`` makes, is copied to each worker. The dataset's ``select``, ``shuffle``,
    ``sort``, ``train_test_split`` and ``select_columns`` are respected.

    Args:
        dataset: The dataset; of a ``DatasetDict`` one split, ``dataset["train"]``.
        columns: Names of the wanted columns, in the wanted order. None takes all.
        decode: Column -> ``"image"`` (RGB, uint8 (H, W, 3)), ``"gray"`` ((H, W, 1)) or a function of the cell. Features
            ``Image`` are decoded without it: to RGB, with ``Image(mode="L")`` to gray.
        missing: Column -> the value to use where the cell is None: a value of the column's type, or None itself. A
            field is ``"column.field"``, the elements of a list are ``"column[]"``. A None for which nothing is given
            is an error when it is read.
        shuffle: Whether each epoch has an order of its own.
        seed: Seed of the order.

    Raises:
        DataFlowError: The dataset is not map-style, has a format or a transform, or has a column that cannot be read;
            or an argument is wrong. When read: a value is None.
        FormatError: When read: a picture is damaged.

    Cells have the types of those of :class:`ParquetData`: ``Value`` is a NumPy number of its dtype, str or bytes;
    ``ClassLabel`` int64; ``Array2D`` to ``Array5D`` are arrays of their shape and dtype; lists of numbers are arrays,
    other lists lists; dicts are dicts; times datetime64.

    Order:
        That of the dataset; with ``shuffle`` a new permutation each epoch, which costs nothing to make. Indexable;
        vectorised where all cells are numbers, times or texts.

    State:
        An index: going on costs nothing.

    Example:
        >>> import datasets    # doctest: +SKIP
        >>> ds = DataFromHuggingFace(datasets.load_from_disk("beans")["train"], shuffle=True)    # doctest: +SKIP
    """

    def __init__(
        self,
        dataset: Any,
        columns: Sequence[str] | None = None,
        *,
        decode: Mapping[str, Any] | None = None,
        missing: Mapping[str, Any] | None = None,
        shuffle: bool = False,
        seed: int | Literal["random"] | None = None,
    ) -> None:
        super().__init__(shuffle, seed)
        _check_dataset(dataset)
        columns = if_given(check_names, "DataFromHuggingFace", "columns", columns, DataFlowError, least=1)
        for name, given in (("decode", decode), ("missing", missing)):
            if given is not None and not isinstance(given, Mapping):
                raise DataFlowError(f"{name} is a dict by column; got {given!r}")
        self._dataset = dataset
        shown = dataset.format["columns"]
        self._names = [name for name in dataset.column_names if name in shown] if columns is None else columns
        kinds = {name: dataset.data.table.schema.field(name).type for name in dataset.column_names}
        for name in [*self._names, *(decode or {})]:
            if name not in kinds:
                raise DataFlowError(f"the dataset has no column {name!r}. {closest(str(name), list(kinds))}")
        parts = [part for name in self._names for part in null_paths(kinds[name], name)]
        for name in missing or {}:
            if name not in parts:
                raise DataFlowError(f"missing={{{name!r}: ...}}: no such column is read. {closest(str(name), parts)}")
        self._missing: dict[str, Any] = {}
        self._decoders: dict[str, Callable[[Any, str], Any]] = {}
        for name in self._names:
            kind, feature = unreadable(kinds[name]), dataset.features[name]
            if kind is not None:
                raise DataFlowError(f"the column {name!r} is {kind}, of which no value can be made: leave it out")
            decoder, asked = None, (decode or {}).get(name)
            if asked is None or type(feature).__name__ == "Image":
                decoder = self._decoder(feature, name, name)
            if asked is not None:
                decoder = picture_decoder(_OWNER, name, asked)
            if decoder is not None:
                self._decoders[name] = decoder
        self._missing.update(missing or {})
        self._vectorized = not self._decoders and all(gathers(kinds[name]) for name in self._names)
        # Never with a user's function: reading ahead would call it for datapoints that nobody may ask for.
        self._reads_ahead = not any(map(callable, (decode or {}).values()))

    def _decoder(self, feature: Any, path: str, column: str) -> Callable[[Any, str], Any] | None:
        """The function that decodes a cell of a feature, given where it lies, for errors; None: the cell is the value.

        Args:
            feature: A feature of the dataset, or of a part of one.
            path: The part's name, as in ``missing``.
            column: The column that it is of.
        """
        # By the class's name: versions of datasets differ in which of these classes they have.
        kind = type(feature).__name__
        if kind in _UNDECODED and getattr(feature, "decode", True):
            raise DataFlowError(
                f"the column {column!r} is {kind}, which flowtrain does not decode. Take its bytes, "
                f"dataset.cast_column({column!r}, datasets.{kind}(decode=False)), and decode them in a MapData, or "
                "leave it out with columns=[...]"
            )
        if kind == "Image":
            # A picture is a struct of its bytes and its path, of which one is None in each row.
            self._missing.update({f"{path}.bytes": None, f"{path}.path": None})
            if not feature.decode:
                return None
            return _reading(picture_decoder(_OWNER, column, "gray" if feature.mode == "L" else "image"))
        if kind in _GRIDS and path != column:  # within another feature, its cells are lists; for a column see `Grids`
            return lambda cell, _: None if cell is None else np.array(cell, feature.dtype)
        if kind in ("List", "LargeList", "Sequence") or isinstance(feature, list):
            inner = self._decoder(feature[0] if isinstance(feature, list) else feature.feature, f"{path}[]", column)
            return None if inner is None else (lambda cell, at: _each(inner, cell, at))
        if isinstance(feature, dict):
            fields = {key: self._decoder(part, f"{path}.{key}", column) for key, part in feature.items()}
            found = {key: decoder for key, decoder in fields.items() if decoder is not None}
            return (lambda cell, at: _fields(found, cell, at)) if found else None
        return None

    def _open_files(self) -> _Rows:
        return _Rows(self._dataset, self._names, self._missing)

    def _count(self) -> int:
        return len(self._dataset)

    def _read(self, index: int) -> Datapoint:
        rows: _Rows = self._handle
        row = rows.place(index)
        try:
            cells = {name: column.get(row) for name, column in rows.columns.items()}
        except NullCell as error:
            raise DataFlowError(f"{self}, row {index}: {error}") from error
        for name, decoder in self._decoders.items():
            cells[name] = decoder(cells[name], f"{self}, row {index}, column {name!r}")
        return cells

    def _run_reader(self) -> ReadRun:
        rows: _Rows = self._handle
        read, names, decodes = self._read, self._names, bool(self._decoders)

        def read_run(records: Sequence[int]) -> list[Datapoint]:
            try:
                columns = [] if decodes else rows.run(records)
            except FlowtrainError:  # read() knows what to say, and only when the record's turn has come
                columns = []
            return [dict(zip(names, c, strict=True)) for c in zip(*columns, strict=True)] or [read(records[0])]

        return read_run

    @property
    def vectorized(self) -> bool:
        """Whether ``get_batch`` makes many datapoints faster than ``get`` one by one."""
        return self._vectorized and None not in self._missing.values()

    def describe(self) -> str:
        return f"DataFromHuggingFace({first_few(self._names, 4)})"


def _check_dataset(dataset: Any) -> None:
    datasets = require("datasets", extra="huggingface", needed_for="DataFromHuggingFace")
    if isinstance(dataset, (datasets.DatasetDict, datasets.IterableDatasetDict)):
        raise DataFlowError(
            f"DataFromHuggingFace takes one split, this is a {type(dataset).__name__} of "
            f"{', '.join(map(repr, dataset))}: write dataset[{next(iter(dataset), 'train')!r}]"
        )
    if isinstance(dataset, datasets.IterableDataset):
        raise DataFlowError(
            "an IterableDataset has no rows by index: load it with streaming=False, or use it as a stream, "
            "DataFromGenerator(lambda: dataset)"
        )
    if not isinstance(dataset, datasets.Dataset):
        raise DataFlowError(f"DataFromHuggingFace takes a datasets.Dataset, got {type(dataset).__name__}")
    form = dataset.format["type"]
    if form not in (None, "arrow"):
        what = "a transform" if form == "custom" else f"the format {form!r}"
        raise DataFlowError(
            f"the dataset has {what}, which would not be applied: values come as NumPy has them, in their own dtypes. "
            "Take it off, dataset.with_format(None), and put what it does into a MapData"
        )


class _Rows:
    """The columns of a dataset's Arrow table, and the dataset's selection of its rows."""

    def __init__(self, dataset: Any, names: Sequence[str], missing: Mapping[str, Any]) -> None:
        table = dataset.data.table
        self.columns = {name: _column(table.column(name), dataset.features[name], name, missing) for name in names}
        indices = dataset._indices  # of select(), shuffle() and the like; the library has no public name for it
        self._indices = None if indices is None else cells_of(indices.table.column(0), "indices", {})

    def place(self, index: int) -> int:
        """The table's row for a row of the dataset."""
        return index if self._indices is None else int(self._indices.get(index))

    def gather(self, records: np.ndarray) -> dict[str, np.ndarray]:
        """The cells of any rows, given by number: an array for each column."""
        places = records if self._indices is None else self._indices.gather(records).astype(np.int64)
        return {name: column.gather(places) for name, column in self.columns.items()}

    def run(self, records: Sequence[int]) -> list[list[Any]]:
        """The cells of a few rows: a list for each column; taken as slices where the rows follow each other."""
        start, stop = records[0], records[-1] + 1
        if self._indices is None and stop - start == len(records) and list(records) == list(range(start, stop)):
            return [column.rows(start, stop) for column in self.columns.values()]
        places = [self.place(record) for record in records]
        return [[column.get(place) for place in places] for column in self.columns.values()]


def _column(column: ArrowArray, feature: Any, name: str, missing: Mapping[str, Any]) -> Cells:
    if type(feature).__name__ in _GRIDS:
        return cells_of(column, name, missing, lambda storage: Grids.of(storage, feature.shape, numbers_of))
    return cells_of(column, name, missing)


def _reading(decoder: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    """Wrap a decoder of pictures: where a cell has a path and no bytes, the file is read first."""

    def decoded(cell: Component, where: str) -> Component:
        if isinstance(cell, Mapping) and cell.get("bytes") is None and cell.get("path"):
            path = cell["path"]
            if not os.path.isfile(path):
                raise FormatError(
                    f"{where}: the picture is not in the table, and no file is at {path!r}. Save the dataset with "
                    "save_to_disk or push_to_hub, which put pictures into it"
                )
            with open(path, "rb") as file:
                cell = file.read()
            where = f"{where}, {path}"
        return decoder(cell, where)

    return decoded


def _each(decoder: Callable[[Any, str], Any], cell: Component, where: str) -> Component:
    return None if cell is None else [decoder(item, f"{where}[{i}]") for i, item in enumerate(cell)]


def _fields(decoders: Mapping[str, Callable[[Any, str], Any]], cell: Component, where: str) -> Component:
    if cell is None:
        return None
    return {key: decoders[key](v, f"{where}[{key!r}]") if key in decoders else v for key, v in cell.items()}
