"""LMDB files open for reading: each is opened once in a process, and shared by all flows over it."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any

from ...utils.optional import require
from .lmdbtree import check_tree
from .openfiles import OpenFile
from .source import damaged

__all__ = ["Environment"]


class _Transaction(threading.local):
    """Read transactions, two for each thread: LMDB forbids that two threads use one at once."""

    def __init__(self, environment: Any) -> None:  # threading.local calls it again in each thread
        self.transaction = environment.begin()
        self.get = self.transaction.get
        self.view = environment.begin(buffers=True).get


class Environment:
    """An open LMDB file. LMDB forbids that a process opens a file twice, so all flows over one file share it.

    A forked child goes on with what its parent had open. LMDB forbids that because of its lock file; here there is no
    lock file, and the child only reads memory that both processes map.

    LMDB maps the file. If the file is truncated, touching a page beyond its new end kills the process by SIGBUS,
    without a message. So `check_size` comes before each read.
    """

    _opened: weakref.WeakValueDictionary[tuple[int, int], Environment] = weakref.WeakValueDictionary()

    @classmethod
    def of(cls, path: str) -> Environment:
        """The open file at a path; opened if this process does not have it open.

        Args:
            path: The file.

        Raises:
            FormatError: It is not LMDB, or cut short.
        """
        status = os.stat(path)  # by inode, not by name: another file may have been put in its place
        key = (status.st_dev, status.st_ino)
        found = cls._opened.get(key)
        if found is None:
            found = cls._opened[key] = cls(path)
        return found

    def __init__(self, path: str) -> None:
        lmdb = require("lmdb", extra="formats", needed_for="LMDBData")
        self.path, self.error = path, lmdb.Error
        size = os.path.getsize(path)
        self.check_size = OpenFile(path).check_size
        check_tree(path)
        # No readahead: records are read in random order, and the kernel would fetch pages around each one for nothing.
        try:
            self._env = lmdb.open(
                os.fsencode(path), subdir=False, readonly=True, lock=False, readahead=False, max_readers=1
            )
        except lmdb.Error as error:
            raise damaged(path, f"not an LMDB file, damaged, or open elsewhere ({size:,} bytes): {error}") from error
        self.local = _Transaction(self._env)

    def get(self, key: bytes) -> bytes | None:
        """The value of a key, None where there is none."""
        self.check_size()
        try:
            return self.local.get(key)
        except self.error as error:
            raise damaged(self.path, f"LMDB cannot read key {key!r}: {error}") from error

    def view(self, key: bytes) -> memoryview | None:
        """The value of a key as a view of the mapped file, None where there is none.

        The view must not be read once this object is gone, since that unmaps the file. The transaction that found the
        value may end before: nobody writes to the file, so its pages stay as they are.

        Raises:
            FormatError: The file has become shorter.
            lmdb.Error: LMDB cannot read it.
        """
        self.check_size()
        return self.local.view(key)

    @property
    def entries(self) -> int:
        """How many keys there are."""
        return self._env.stat()["entries"]

    def list_keys(self) -> list[bytes]:
        """All keys, in LMDB's order."""
        self.check_size()
        try:
            return list(self.local.transaction.cursor().iternext(keys=True, values=False))
        except self.error as error:
            raise damaged(self.path, f"LMDB cannot list the keys: {error}") from error
