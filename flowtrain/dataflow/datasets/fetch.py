"""Finding the files of a data set in the user's folders, or downloading and checking them."""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tqdm.auto import tqdm

from ...utils.errors import DataFlowError
from ...utils.files import writing
from ...utils.storage import carried, exists, is_url, path_or_url
from ..formats.source import PathLike

__all__ = ["NOT_THE_ARCHIVE", "DownloadError", "Remote", "data_root", "fetch", "folder_of", "has_file"]

NOT_THE_ARCHIVE = "cut short, damaged or another archive"

logger = logging.getLogger("flowtrain.dataflow")
_TIMEOUT = 30.0  # seconds in which no byte arrives
_CHUNK = 1 << 18


class DownloadError(DataFlowError, OSError):
    """A file is missing and cannot be downloaded; says where to get it and where to put it."""


@dataclass(frozen=True)
class Remote:
    """A published file.

    Attributes:
        name: Name of the file in the data set's folder.
        url: Where it is published.
        md5: Published MD5; None if there is none, and then ``size`` is what a download is checked by.
        size: Length in bytes.
        aliases: Other names under which the file is commonly stored.
    """

    name: str
    url: str
    md5: str | None = None
    size: int | None = None
    aliases: Sequence[str] = ()


def data_root() -> Path:
    """The folder of all data sets: ``$FLOWTRAIN_DATA``, or ``~/.cache/flowtrain/data``."""
    return Path(os.environ.get("FLOWTRAIN_DATA") or "~/.cache/flowtrain/data").expanduser()


def fetch(remote: Remote, folder: str) -> str:
    """Find a file in the data set's folder, or download it into that folder.

    An existing file is taken without a check. A download gets its name after it was checked, so that a broken one is
    never taken for the file.

    Args:
        remote: The file.
        folder: The data set's folder, or its URL, into which nothing is downloaded.

    Returns:
        The path, or the URL.

    Raises:
        DownloadError: The file is missing and cannot be downloaded, or the download is not the published file.
    """
    for name in (remote.name, *remote.aliases):
        if has_file(folder, name):
            return carried(f"{folder}/{name}")
    if is_url(folder):
        raise DownloadError(f"{remote.name} is not in {folder}: get {remote.url} and put it there")
    target = Path(folder) / remote.name
    by_hand = f"Get {remote.url} by hand and put it at {target} (the folder of all data sets is $FLOWTRAIN_DATA)."
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with writing(target) as beside:
            with open(beside, "wb") as file:
                found = _download(remote, file)
            if found is not None:
                raise DownloadError(f"what {remote.url} sent is not the published file: {found}. {by_hand}")
    except DownloadError:
        raise
    except (OSError, ValueError, http.client.HTTPException) as error:
        # no network, a refusal, an answer that is not HTTP, a full disk, a folder that may not be written to
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # an HTTPError is the response too, and holds the connection
        # Not of its subclass HTTPError, whose reason ("Not Found") lacks the 404 that its text has.
        reason = error.reason if type(error) is urllib.error.URLError else error
        raise DownloadError(
            f"{remote.name} is not in {folder} and cannot be downloaded: {reason}. {by_hand}"
        ) from error
    logger.info("Downloaded %s to %s.", remote.url, target)
    return str(target)


def _download(remote: Remote, file: BinaryIO) -> str | None:
    """Download into an open file; returns what is wrong with the content, None if nothing is."""
    digest = hashlib.md5(usedforsecurity=False)  # else a Python built for FIPS refuses MD5
    done = 0
    request = urllib.request.Request(remote.url, headers={"User-Agent": "flowtrain"})
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
        announced = answer.headers.get("Content-Length")
        total = int(announced) if announced else remote.size
        with tqdm(total=total, desc=remote.name, unit="B", unit_scale=True) as bar:
            while chunk := answer.read(_CHUNK):
                file.write(chunk)
                digest.update(chunk)
                done += len(chunk)
                bar.update(len(chunk))
                if remote.size is not None and done > remote.size:  # now: a server may send without end
                    return f"it has more than {remote.size:,} bytes"
    expected = remote.size if remote.size is not None else total
    if expected is not None and done != expected:
        return f"{done:,} bytes came, {expected:,} were expected"
    if remote.md5 is not None and digest.hexdigest() != remote.md5:
        return f"its MD5 is {digest.hexdigest()}, not {remote.md5}"
    return None


def folder_of(name: str, folder: PathLike | None) -> str:
    """The folder or URL of a data set: the given one, else the folder ``name`` in :func:`data_root`."""
    return path_or_url(folder if folder is not None else data_root() / name).rstrip("/")


def has_file(folder: str, name: str) -> bool:
    """Whether a folder, or a URL, holds a file of that name."""
    return exists(f"{folder}/{name}") if is_url(folder) else os.path.isfile(os.path.join(folder, name))
