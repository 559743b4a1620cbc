"""Base of sources over the rows of named arrays, which npz, npy and HDF5 files hold."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import FunctionType
from typing import Any, Literal

import numpy as np

from ...ipc.codec import CodecError, unpack
from ...utils.arguments import check_names
from ...utils.claims import Claim, check_claim
from ...utils.errors import DataFlowError, FormatError, closest
from ..core.base import Datapoint
from ..core.datapoint import Component
from .columns import FIXED_KINDS, row_value
from .framing import crc32c
from .layout import Layout, join
from .openfiles import open_file
from .sealed import unpack_sealed
from .source import FileSource, PathLike, damaged, resolve_file

__all__ = ["HEADER", "Table", "TableSource"]

HEADER = "__flowtrain__"
"""The name of the array that says how the columns of a file of ``write`` make its datapoints."""

_BODILESS_MOST = 1 << 20  # rows of arrays such as (N, 0), which take no bytes: a header of a few bytes may claim any N

Keys = Sequence[str] | Mapping[str, str] | None


class Table:
    """Named arrays of equal length, of which a row is a datapoint.

    Args:
        path: The file.
        arrays: Name -> array, or anything else with ``shape``, ``dtype`` and row i for ``[i]``.
        keys: Which arrays to read, and as what; see :class:`TableSource`.
        verify: Whether the checksums of rows are compared, if the file has them.

    Attributes:
        count: Number of rows.
        names: The arrays or components that datapoints are made of.
        sealed: Whether the file has a header with a checksum (version 2 of ``write``), which covers the dtypes and
            shapes of all arrays, as the checksums of rows cover their content.

    Raises:
        DataFlowError: A name is unknown, or the arrays differ in length.
        FormatError: The header is damaged, or does not fit the arrays.
    """

    def __init__(self, path: str, arrays: Mapping[str, Any], keys: Keys, verify: bool) -> None:
        self.path, self.arrays = path, arrays
        self._file = open_file(path)
        # `check_size` before each read leaves a gap: if the file is cut short between the check and the copy of a row,
        # a SIGBUS ends the process. faulthandler then prints the names of functions, so these contain the path.
        self._value, self._column = _named_after(path, _value), _named_after(path, _column)
        self._crc = crc32c() if verify else None
        self._kinds: dict[str, str] = {}
        header = self._read_header(arrays[HEADER]) if HEADER in arrays else None
        if header is None:
            self._take(keys, [name for name in arrays])
            self.count = self._equal_length()
        else:
            self._kinds = header["kinds"]
            self._layout, self.count = header["layout"], header["count"]
            if keys is not None:
                self._take(keys, list(self._kinds))
        self.names = _names_in(self._layout)
        self.sealed = header is not None and header["version"] > 1

    def read(self, index: int) -> Datapoint:
        """The datapoint of a row."""
        self._file.check_size()
        return join(self._layout, partial(self._value, self, index))

    def batch(self, indices: np.ndarray) -> Datapoint:
        """Many rows, as columns."""
        self._file.check_size()
        return join(self._layout, partial(self._column, self, indices))

    def names_of_arrays(self) -> list[str]:
        """The arrays in the file that the wanted components are read from, with those of checksums and the header."""
        if HEADER not in self.arrays:
            return self.names
        stems = tuple(f"{name}." for name in self.names)
        return [name for name in self.arrays if name in self.names or name.startswith(("__", *stems))]

    @property
    def plain(self) -> bool:
        """Whether rows need no check and no conversion, so that many can be taken from NumPy arrays at once."""
        return not self._kinds and all(isinstance(self.arrays[name], np.ndarray) for name in self.names)

    def _take(self, keys: Keys, known: list[str]) -> None:
        wanted = keys if keys is not None else known
        names = list(wanted.values()) if isinstance(wanted, Mapping) else list(wanted)
        for name in names:
            if name not in known:
                raise DataFlowError(f"{self.path} has no array {name!r}. {closest(str(name), known)}")
        if isinstance(keys, Mapping):
            self._layout: Any = dict(keys)
        else:
            self._layout = {name: name for name in names} if keys is None else names

    def _equal_length(self) -> int:
        shapes = {name: tuple(self.arrays[name].shape) for name in _names_in(self._layout)}
        flat = [name for name, shape in shapes.items() if not shape]
        lengths = {shape[0] for shape in shapes.values() if shape}
        if flat or len(lengths) != 1:
            listed = ", ".join(f"{name}: {shape}" for name, shape in shapes.items())
            raise DataFlowError(
                f"{self.path}: arrays of one length along their first axis expected, got {listed}. "
                "Choose those that belong together with keys=[...]."
            )
        count = lengths.pop()
        if not any(math.prod(shape[1:]) * self.arrays[name].dtype.itemsize for name, shape in shapes.items()):
            try:  # the size of the file bounds no number of rows that take no bytes
                check_claim(count, self._file.size, limit=_BODILESS_MOST, unit="rows")
            except Claim as error:
                raise damaged(self.path, f"rows without any content: {error}") from error
        return count

    def _read_header(self, column: np.ndarray) -> dict[str, Any]:
        try:
            content = np.asarray(column[:], np.uint8).tobytes()
            found = unpack(content)
            # version 1 was a bare dict, version 2 is sealed: an array of the dict and its checksum
            header = found if isinstance(found, dict) else unpack_sealed(content, crc32c())
            version = header["version"]
            if version not in (1, 2) or (version == 2) != isinstance(found, list):
                raise FormatError(f"written in version {version} of the form; this flowtrain reads versions 1 and 2")
            wanted = [f"__crc__/{name}" for name in header["kinds"]]
            for name, kind in header["kinds"].items():
                wanted += [name] if kind in FIXED_KINDS else [f"{name}.ends", f"{name}.bytes"]
            wanted += _names_in(header["layout"]) if not header["kinds"] else []
            missing = [name for name in wanted if name not in self.arrays]
            if missing:
                raise FormatError(f"the file lacks the array {missing[0]!r}")
            for name, (dtype, shape) in header.get("arrays", {}).items():
                self._check_form(name, dtype, tuple(shape))
            return header
        except FormatError as error:
            raise damaged(self.path, f"its header {HEADER!r}, or the file, is damaged: {error}") from error
        except (CodecError, LookupError, TypeError, ValueError, AttributeError) as error:
            raise damaged(self.path, f"its header {HEADER!r} is damaged: {error}") from error

    def _check_form(self, name: str, dtype: str, shape: tuple[int, ...]) -> None:
        array = self.arrays[name]
        if array.dtype.str != dtype or tuple(array.shape) != shape:
            found = f"{array.dtype.str} {tuple(array.shape)}"
            raise FormatError(f"the array {name!r} is {found}; {dtype} {shape} was written")


# Functions of the module, not methods: `_named_after` makes a copy of each for every file.


def _value(table: Table, index: int, _: str, name: str) -> Component:
    """The component ``name`` of a row, in memory of its own."""
    kind = table._kinds.get(name)
    if kind is None:
        row = table.arrays[name][index]
        return np.array(row) if isinstance(row, np.ndarray) else row
    if kind in FIXED_KINDS:
        row = raw = table.arrays[name][index]
    else:
        ends, content = table.arrays[f"{name}.ends"], table.arrays[f"{name}.bytes"]
        start, end = int(ends[index - 1]) if index else 0, int(ends[index])
        if not start <= end <= len(content):
            what = f"component {name!r} should lie from byte {start:,} to {end:,}, of {len(content):,} that are there"
            raise damaged(table.path, what, record=index)
        row = raw = content[start:end].tobytes()
    if table._crc is not None:
        stored = int(table.arrays[f"__crc__/{name}"][index])
        if table._crc(raw if isinstance(raw, bytes) else np.ascontiguousarray(raw).tobytes()) != stored:
            raise damaged(table.path, f"component {name!r} does not have its checksum", record=index)
    try:
        return row_value(kind, row)
    except ValueError as error:  # a CodecError is one
        raise damaged(table.path, f"component {name!r}: {error}", record=index) from error


def _column(table: Table, indices: np.ndarray, _: str, name: str) -> Component:
    return table.arrays[name][indices]


def _named_after(path: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A copy of a function whose name, as tracebacks show it, contains a path."""
    code = function.__code__
    return FunctionType(code.replace(co_name=f"{code.co_name} of {path}"), function.__globals__)


def _names_in(layout: Layout) -> list[str]:
    if isinstance(layout, str):
        return [layout]
    parts = layout.values() if isinstance(layout, dict) else layout
    return [name for part in parts for name in _names_in(part)]


class TableSource(FileSource):
    """Base of sources over the rows of a file's arrays; a subclass defines how the file is opened (``_arrays``).

    Args:
        path: The file.
        keys: Which arrays to read. None: files of ``write`` give their datapoints, others a dict with a row of each
            array. A list of names gives a list; a dict ``{component: name}`` gives a dict.
        shuffle: Use a new random order in each epoch.
        seed: Seed of the order; None takes the default.
        verify: Whether the checksums that ``write`` stores are compared.
    """

    def __init__(
        self,
        path: PathLike,
        keys: Keys = None,
        *,
        shuffle: bool = False,
        seed: int | Literal["random"] | None = None,
        verify: bool = True,
    ) -> None:
        super().__init__(shuffle, seed)
        if keys is not None:
            names = list(keys.values()) if isinstance(keys, Mapping) else keys
            check_names(type(self).__name__, "keys (or the values of a dict of them)", names, DataFlowError, least=1)
        self.path = resolve_file(path, what=self._what)
        self._keys, self._verify = keys, verify

    _what = "file"

    def _arrays(self) -> Mapping[str, Any]:
        raise NotImplementedError

    def _check_whole(self, arrays: object, names: list[str]) -> None:
        """Compare the checksums of whole arrays. Called if the rows have none of their own."""

    def _open_files(self) -> Table:
        arrays = self._arrays()
        table = Table(self.path, arrays, self._keys, self._verify)
        if self._verify and not table.sealed:
            self._check_whole(arrays, table.names_of_arrays())
        return table

    @property
    def vectorized(self) -> bool:
        """Whether ``get_batch`` indexes the arrays once for all rows."""
        return self._handle.plain

    def get_batch(self, indices: np.ndarray, epoch: int = 0) -> Datapoint:
        if not self.vectorized:
            return super().get_batch(indices, epoch)
        indices = np.asarray(indices)
        return self._handle.batch(self._places(indices, epoch))

    def describe(self) -> str:
        return f"{type(self).__name__}({os.path.basename(self.path)})"
