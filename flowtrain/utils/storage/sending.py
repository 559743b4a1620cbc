"""Writing files and folders to URLs, and removing them there."""

from __future__ import annotations

import contextlib
import os
import posixpath
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ..files import writing
from .access import names_below
from .filesystems import FileSystem, call_once, tried
from .settings import settings
from .urls import is_url, path_or_url, url_name

__all__ = ["delete", "put", "put_folder", "writing_to"]


def put(path: str | os.PathLike[str], url: str) -> None:
    """Copy a local file to a URL, whole or not at all."""
    size = os.path.getsize(path)

    def send(fs: FileSystem, target: str) -> None:
        _send(fs, os.fspath(path), target)
        fs.invalidate_cache()
        there = call_once(fs, "info", target).get("size")
        if there is not None and there != size:
            raise EOFError(f"{there:,} bytes are there, {size:,} were sent")

    tried(url, "write", send)


@contextlib.contextmanager
def writing_to(path: str | os.PathLike[str], *, durable: bool = False) -> Iterator[Path]:
    """Context in which a file or folder is written atomically, on this machine or at a URL; its folder is made.

    Args:
        path: What to write: a local path or a URL.
        durable: See :func:`~flowtrain.utils.files.writing`.

    Yields:
        A path with the same ending to write to. For a URL it is in a temporary folder, and is sent when the block ends.

    Raises:
        OSError: The disk refuses; a StorageError if the URL cannot be written.
    """
    given = path_or_url(path)
    if not is_url(given):
        os.makedirs(os.path.dirname(os.path.abspath(given)), exist_ok=True)
        with writing(given, durable=durable) as beside:
            yield beside
        return
    with tempfile.TemporaryDirectory(prefix="flowtrain-") as folder:
        whole = Path(folder) / url_name(given)
        yield whole
        put_folder(whole, given) if whole.is_dir() else put(whole, given)


def put_folder(path: Path, url: str, last: tuple[str, ...] = ()) -> None:
    """Copy a local folder to a URL, and remove there what it does not hold.

    Args:
        path: The folder.
        url: Where to.
        last: The endings of files without which the folder cannot be read. They are removed first and sent last, so
            that a folder that is half sent is not taken for a whole one.
    """
    names = [file.relative_to(path).as_posix() for file in sorted(path.rglob("*")) if file.is_file()]
    names.sort(key=lambda name: name.endswith(last) if last else False)
    root = url.rstrip("/")
    for name in names_below(root):
        if name not in names or (last and name.endswith(last)):
            delete(f"{root}/{name}")
    for name in names:
        put(path / name, f"{root}/{name}")


def _send(fs: FileSystem, path: str, target: str) -> None:
    # The timeout grows with the file: a transfer of at least 1 MB/s is allowed.
    timeout = settings().timeout + os.path.getsize(path) / 1e6
    if getattr(fs, "async_impl", False):  # object stores: an object appears when all of it was sent
        call_once(fs, "put_file", path, target, timeout=timeout)
        return
    parent, name = posixpath.split(target.rstrip("/"))
    with contextlib.suppress(FileExistsError, NotImplementedError):
        call_once(fs, "makedirs", parent, exist_ok=True)
    beside = posixpath.join(parent, f".{os.getpid()}-{secrets.token_hex(4)}.{name}")
    try:
        call_once(fs, "put_file", path, beside, timeout=timeout)
        call_once(fs, "mv", beside, target, timeout=timeout)
    except BaseException:
        with contextlib.suppress(Exception):
            call_once(fs, "rm_file", beside)
        raise


def delete(url: str) -> None:
    """Remove a file; it is no error if there is none."""

    def remove(fs: FileSystem, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            call_once(fs, "rm_file", path)

    tried(url, "remove", remove)
