"""Check of an LMDB file's B+ tree before LMDB opens it: LMDB trusts a file's pages, and damaged ones crash the process.

Checked is what LMDB relies on: each branch and leaf page lies in the file and carries its own number; its nodes lie
within it, in the order of their keys; values end within the file; the numbers of pages and records are those of the
head. The layout is that of struct MDB_meta, MDB_page and MDB_node in LMDB's mdb.c on a 64-bit machine.
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
_HEAD, _NODE = 16, 8  # bytes of a page's head, and of a node's head before its key
_BRANCH, _LEAF, _KINDS = 1, 2, 0x2F  # flags of a page, and the mask of those that say its kind
_BIG = 1  # flag of a node whose value lies in overflow pages (F_BIGDATA)
_REVERSED, _INTEGERS = 2, 8  # flags of a database whose keys are compared from their end, or as integers
_NONE = (1 << 64) - 1  # in place of the root's page number: the tree is empty
_DEEPEST = 32  # levels, as LMDB allows (CURSOR_STACK)


class _Meta(NamedTuple):
    """The fields used of a file's head (MDB_meta); a file has two heads, of its last two states."""

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
    """Walk the tree of a file and check each of its pages.

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
        """Walk over all pages but overflow pages, level by level."""
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
        """Check a page: (the pages that a branch refers to, 0), or of a leaf ([], how many records it has)."""
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
        # By NumPy, all nodes of a page at once: a file of millions of records has tens of thousands of leaves, and all
        # are checked when it is opened.
        places = data[_HEAD:lower].view("<u2").astype(np.int64)
        if places.min() < upper or places.max() > size - _NODE:
            raise self._damaged(f"a record of page {number:,} does not lie in it", at)
        low, high, node_flags, key_sizes = data[places[:, None] + np.arange(_NODE)].view("<u2").T.astype(np.int64)
        if not leaf:
            ends = places + _NODE + key_sizes
            children = low | high << 16 | node_flags << 32  # 48 bits: a branch's node has no flags
            self._check_keys(data, places, key_sizes, ends, number, 1)
            return children.tolist(), 0
        sizes = low | high << 16
        big = (node_flags & _BIG).astype(bool)
        ends = places + _NODE + key_sizes + np.where(big, 8, sizes)  # of a big value the node has its page's number
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
        """Check that nodes end within their page, and that keys rise, from the key number ``first``."""
        at = number * self._size
        if ends.max() > self._size:
            raise self._damaged(f"a record of page {number:,} does not lie in it", at)
        content = data.tobytes()
        starts = (places + _NODE).tolist()
        keys: list[Any] = [content[start : start + size] for start, size in zip(starts, sizes.tolist(), strict=True)]
        keys = keys[first:]  # LMDB ignores the first key of a branch: its child holds all that is below the second
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
