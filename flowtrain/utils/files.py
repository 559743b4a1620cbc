"""Atomic writing of files and folders (written beside, synced, renamed), and a lock between processes."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

__all__ = [
    "FileLock",
    "explained",
    "fsync",
    "remove",
    "replace",
    "sha256_of",
    "sync",
    "working_folder",
    "write_whole",
    "writing",
]

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextlib.contextmanager
def writing(path: str | os.PathLike[str], *, durable: bool = True) -> Iterator[Path]:
    """Context in which a file or folder is written under another name; it gets its own when the block ends well.

    After a crash or a power cut, and for readers at any time, there is the old content or the new, never a part.

    Args:
        path: What to write; its folder exists.
        durable: Have the disk hold the content before the rename (fsync). Without it the content survives a killed
            process but perhaps not a power cut: for what can be made again.

    Yields:
        A path of the same folder and ending to write to. It is removed where the block raises.

    Raises:
        OSError: Of the type that the system gave; it names `path`, and for a full disk what is free.
    """
    path = Path(path)
    beside = path.with_name(f".{os.getpid()}-{secrets.token_hex(4)}.{path.name}")  # the ending names the format
    try:
        with explained(path):
            yield beside
            if durable:  # before the rename: a disk may write a name before the content that it stands for
                sync(beside)
            replace(beside, path)
            if durable:  # the rename is durable when the folder is
                fsync(path.parent)
    finally:
        remove(beside)


def write_whole(path: str | os.PathLike[str], content: bytes | str, *, durable: bool = True) -> None:
    """Write a small file atomically; text as UTF-8. See :func:`writing`."""
    with writing(path, durable=durable) as beside:
        beside.write_bytes(content.encode() if isinstance(content, str) else content)


def replace(new: Path, old: Path) -> None:
    """Put a file or folder in the place of another, in one step where the system has one.

    Two folders are swapped by Linux's renameat2. Where that is missing, the old one is renamed first, and renamed back
    if anything fails.

    Raises:
        IsADirectoryError: A file would take the place of a folder, and of all that is in it.
    """
    if not old.is_dir() or old.is_symlink():
        os.replace(new, old)
        return
    if not new.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a folder, which a file does not replace", str(old))
    # rename(2) puts a folder only over an empty one. Removing the old one first would leave a moment with none.
    if _swapped(new, old):
        shutil.rmtree(new, ignore_errors=True)
        return
    aside = new.with_name(new.name + ".old")
    old.rename(aside)
    try:
        new.rename(old)
    except BaseException:
        aside.rename(old)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _swapped(one: Path, other: Path) -> bool:
    with contextlib.suppress(AttributeError, OSError):
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
        at_cwd, exchange = -100, 2
        return renameat2(at_cwd, os.fsencode(one), at_cwd, os.fsencode(other), exchange) == 0
    return False


def sync(path: Path) -> None:
    """Flush a file to the disk, or a folder with all that is in it."""
    if path.is_dir():
        for child in path.rglob("*"):
            fsync(child)
    fsync(path)


def fsync(path: Path) -> None:
    """Flush a file to the disk, or the names in a folder but not what its files hold."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file, 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it, as far as the disk lets it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


@contextlib.contextmanager
def explained(path: str | os.PathLike[str]) -> Iterator[None]:
    """Context in which an OSError without a file name gets this one; that of a full disk says how much is free.

    ``file.write`` and ``fsync`` raise a bare ``[Errno 28]``, as a descriptor has no name.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None or (error.filename is not None and error.errno not in _FULL):
            raise
        text = error.strerror or str(error)
        if error.errno in _FULL:
            text += f"{_free(Path(path))} Make room, or write elsewhere."
        raise type(error)(error.errno, text, os.fspath(path)) from error


def working_folder() -> str | None:
    """Return the working directory, or None where it was deleted."""
    with contextlib.suppress(FileNotFoundError):
        return os.getcwd()
    return None


def _free(path: Path) -> str:
    with contextlib.suppress(OSError):
        return f": {shutil.disk_usage(path.absolute().parent).free / 1e6:,.1f} MB are free where it was written."
    return "."


class FileLock:
    """Lock between processes (flock); it is released when its process ends, however that ends.

    Args:
        path: The lock's file; made where it is missing. It holds the note of who has the lock.

    Raises:
        OSError: The file cannot be made.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        # without a buffer: what could not be written on a full disk would be tried again, and fail, in release()
        self._file = open(path, "ab+", buffering=0)  # noqa: SIM115 - closed by release()

    def acquire(self, note: str = "") -> bool:
        """Take the lock without waiting.

        Args:
            note: What :meth:`holder` returns in another process that wants the lock.

        Returns:
            Whether it is ours now.
        """
        # flock, and not a file whose existence is the lock: the kernel releases it when the process dies, by whatever
        # signal, so a killed run never has to be unlocked by hand. It is tried a few times, as a look at a run's status
        # (run_status.is_locked) holds it for a moment.
        for pause in (0.01, 0.02, 0.04, 0.0):
            with contextlib.suppress(OSError):
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            time.sleep(pause)
        else:
            return False
        with contextlib.suppress(OSError):  # a full disk: the lock holds without a note
            self._file.truncate(0)
            self._file.write(note.encode())
        return True

    def holder(self) -> str:
        """Return the note that the lock's holder left; empty if there is none."""
        self._file.seek(0)
        return self._file.read().decode(errors="replace").strip()

    def release(self) -> None:
        """Release the lock."""
        self._file.close()
