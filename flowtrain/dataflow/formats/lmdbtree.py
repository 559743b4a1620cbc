"""A look at an LMDB file's tree before LMDB's library reads it: that follows damaged pages, which ends the process.

What is checked is what the library relies on: that each branch and leaf lies in the file, says its own number, has its
nodes within it and in the order of their keys, that values end within the file, and that there are as many as the head
says. The layout is that of struct MDB_meta, MDB_page and MDB_node in LMDB's mdb.c, of a 64-bit machine.
"""

from __future__ import annotations

import itertools
import struct
from typing import Any, NamedTuple

import numpy as np

from .openfiles import BoundedReader
from .source import damaged

__all__ = ["check_tree"]

_META = struct.Struct("<16xII16xI48xHHQQQQQQQ")
_MAGIC = 0xBEEFC0DE
_PAGE = struct.Struct("<Q2xHHH")
_HEAD, _NODE = 16, 8  # bytes before the nodes of a page, and before the key of a node
_BRANCH, _LEAF, _KINDS = 1, 2, 0x2F
_BIG = 1  # the flag of a node whose value lies in pages of its own
_REVERSED, _INTEGERS = 2, 8  # flags of a database whose keys have another order
_NONE = (1 << 64) - 1
_DEEPEST = 32  # as the library


class _Meta(NamedTuple):
    """What is used of the head of a file; it has two, of the last two states."""

    magic: int
    version: int
    page_size: int
    flags: int
    depth: int
    branches: int
    leaves: int
    overflow: int
    entries: int
    root: int
    last_page: int
    transaction: int


def check_tree(path: str) -> None:
    """Walk the tree of a file.

    Args:
        path: The file.

    Raises:
        FormatError: It is not LMDB, is cut short, or its tree is damaged.
    """
    with BoundedReader(path) as file:
        _Tree(path, file).check()


class _Tree:
    def __init__(self, path: str, file: BoundedReader) -> None:
        self._path, self._file = path, file
        # Two heads, which transactions write in turns, so that a killed writer leaves one whole: the later one counts.
        first = self._read_meta(0)
        self._size = first.page_size
        if self._size not in (1 << bits for bits in range(9, 17)):
            raise self._damaged(f"its head says that pages have {self._size:,} bytes", 0)
        second = self._read_meta(self._size)
        self._meta = second if first.transaction < second.transaction else first
        wanted = (self._meta.last_page + 1) * self._size
        if file.size < wanted:
            what = f"cut short: it has {file.size:,} bytes and should have {wanted:,}"
            raise damaged(path, what, offset=file.size)

    def check(self) -> None:
        """Walk over all pages but those of values."""
        meta = self._meta
        branches = leaves = entries = 0
        level = [] if meta.root == _NONE else [meta.root]
        for depth in range(1, min(meta.depth, _DEEPEST) + 1):
            below: list[int] = []
            for number in level:
                children, count = self._page(number, leaf=depth == meta.depth)
                below += children
                entries += count
            if depth == meta.depth:
                leaves = len(level)
            else:
                branches += len(level)
                # A damaged branch may point back to its own level, and the walk would double with each: a tree cannot
                # have more pages than its head counts.
                if len(below) > meta.branches + meta.leaves:
                    break
            level = below
        if (branches, leaves, entries) != (meta.branches, meta.leaves, meta.entries):
            raise self._damaged(f"its head says that it has {meta.entries:,} records, its pages have {entries:,}", 0)

    def _read_meta(self, at: int) -> _Meta:
        meta = _Meta(*_META.unpack(self._read(at, _META.size)))
        if meta.magic != _MAGIC or meta.version != 1:
            raise self._damaged("its head is not that of version 1", at)
        return meta

    def _page(self, number: int, leaf: bool) -> tuple[list[int], int]:
        """The pages that a branch refers to; of a leaf how many records it has."""
        at, size = number * self._size, self._size
        if number > self._meta.last_page:
            raise self._damaged(f"it refers to page {number:,} of {self._meta.last_page + 1:,}", 0)
        page = self._read(at, size)
        data = np.frombuffer(page, np.uint8)
        own, flags, lower, upper = _PAGE.unpack_from(page)
        if (
            own != number
            or flags & _KINDS != (_LEAF if leaf else _BRANCH)
            or lower % 2
            or not _HEAD < lower <= upper <= size
        ):
            raise self._damaged(f"page {number:,} is no {'leaf' if leaf else 'branch'} of its tree", at)
        # Whole pages by NumPy: a file of millions of records has tens of thousands of leaves, and is looked at on
        # opening.
        places = data[_HEAD:lower].view("<u2").astype(np.int64)
        if places.min() < upper or places.max() > size - _NODE:
            raise self._damaged(f"a record of page {number:,} does not lie in it", at)
        low, high, node_flags, key_sizes = data[places[:, None] + np.arange(_NODE)].view("<u2").T.astype(np.int64)
        if not leaf:
            ends = places + _NODE + key_sizes
            children = low | high << 16 | node_flags << 32
            self._check_keys(data, places, key_sizes, ends, number, 1)
            return children.tolist(), 0
        sizes = low | high << 16
        big = (node_flags & _BIG).astype(bool)
        ends = places + _NODE + key_sizes + np.where(big, 8, sizes)
        self._check_keys(data, places, key_sizes, ends, number, 0)
        if big.any():
            starts = ends[big] - 8
            pages = data[starts[:, None] + np.arange(8)].copy().view("<u8")[:, 0]
            last = self._meta.last_page
            needed = (sizes[big] + _HEAD + size - 1) // size
            if (pages > last).any() or (pages.astype(np.int64) + needed > last + 1).any():
                raise self._damaged(f"a value of page {number:,} does not lie in the file", at)
        return [], len(places)

    def _check_keys(
        self, data: np.ndarray, places: np.ndarray, sizes: np.ndarray, ends: np.ndarray, number: int, first: int
    ) -> None:
        at = number * self._size
        if ends.max() > self._size:
            raise self._damaged(f"a record of page {number:,} does not lie in it", at)
        content = data.tobytes()
        starts = (places + _NODE).tolist()
        keys: list[Any] = [content[start : start + size] for start, size in zip(starts, sizes.tolist(), strict=True)]
        keys = keys[first:]  # the first of a branch says nothing
        if self._meta.flags & _REVERSED:
            keys = [key[::-1] for key in keys]
        elif self._meta.flags & _INTEGERS:
            keys = [int.from_bytes(key, "little") for key in keys]
        if any(one >= other for one, other in itertools.pairwise(keys)):
            raise self._damaged(f"the keys of page {number:,} are not in order", at)

    def _read(self, at: int, length: int) -> bytes:
        self._file.seek(at)
        data = self._file.read(length)
        if len(data) != length:
            what = f"not an LMDB file, or cut short: {length:,} bytes expected, {len(data):,} are there"
            raise damaged(self._path, what, offset=at)
        return data

    def _damaged(self, what: str, at: int) -> Exception:
        return damaged(self._path, f"not an LMDB file, or damaged: {what}", offset=at)
