"""fsspec's filesystems, and calls of their methods with a timeout and retries.

There is one filesystem for each protocol, its options and process: connections do not survive a fork.
"""

from __future__ import annotations

import json
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar

from flowtrain.utils.errors import error_text

from ..optional import MissingPackage, require
from .settings import settings
from .urls import StorageError, StorageMissing, protocol_of

__all__ = ["FileSystem", "call_once", "first_protocol", "tried"]

FileSystem: TypeAlias = Any
"""An ``fsspec.AbstractFileSystem``; fsspec is imported when it is used."""

T = TypeVar("T")

logger = logging.getLogger("flowtrain.storage")
_FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, NotImplementedError, TypeError)
_AGAIN = (408, 425, 429)  # HTTP's client errors that may pass: timeout, too early, too many requests
_REFUSED = ("Forbidden: ", "Bad Request: ")  # how gcsfs begins what it raises as a plain OSError and ValueError
_NO_CREDENTIALS = ("NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError")  # botocore, Google
_ABSENT = (404, 410)  # HTTP's errors for a file that is not there
_EXTRA = {"s3": "s3fs", "s3a": "s3fs", "http": "aiohttp", "https": "aiohttp", "gs": "gcsfs", "gcs": "gcsfs"}
_LONGEST_PAUSE = 5.0

_filesystems: dict[tuple[str, str, float], Any] = {}
_making = threading.RLock()


def _renew() -> None:
    global _making
    _filesystems.clear()
    _making = threading.RLock()  # another thread of the parent may have held it


os.register_at_fork(after_in_child=_renew)


def _open(url: str) -> tuple[Any, str]:
    """Return the filesystem of a URL in this process, and the path in it."""
    core = require("fsspec.core", extra="remote-files", needed_for=f"Reading {url}")
    options = settings().options
    chain = url.rpartition("://")[0].split("::")
    given: dict[str, Any] = {}
    for protocol in chain:
        given = {**given, **({protocol: options.get(protocol, {})} if len(chain) > 1 else options.get(protocol, {}))}
    key = chain[0], json.dumps(given, sort_keys=True), settings().timeout  # s3fs keeps the timeout it was made with
    with _making:
        fs = _filesystems.get(key)
        try:
            if len(chain) > 1:  # as "filecache::s3://": fsspec caches these filesystems itself
                return core.url_to_fs(url, **given)
            if fs is None:  # an instance of our own, as its retries are changed: the user's code may use fsspec too
                fs, path = core.url_to_fs(url, skip_instance_cache=True, **_bounds(chain, given))
                if isinstance(getattr(fs, "retries", None), int):
                    fs.retries = 1  # s3fs and gcsfs try again by themselves, which would multiply the bounds
                _filesystems[key] = fs
                return fs, path
            return fs, core.strip_protocol(url)
        except ImportError as error:
            package = _EXTRA.get(protocol_of(url))
            known = f"pip install 'flowtrain[remote-files]' brings {package}" if package else str(error)
            raise MissingPackage(f"{url} needs a package that cannot be imported ({error}): {known}") from error
        except ValueError as error:
            raise StorageError(
                f"{url}: {error}. fsspec knows s3, gs, https, memory, file and what other packages bring "
                "(https://filesystem-spec.readthedocs.io)"
            ) from error


def _bounds(chain: list[str], given: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a filesystem with our defaults beneath the user's own.

    s3fs does not retry by itself, as ``tried`` does. HTTP servers are asked not to compress: offsets and sizes are of
    the file as it is.
    """
    if chain[-1] in ("http", "https") and len(chain) == 1:
        own = given.get("client_kwargs", {})
        return {**given, "client_kwargs": {**own, "headers": {"Accept-Encoding": "identity", **own.get("headers", {})}}}
    if chain[-1] not in ("s3", "s3a") or len(chain) > 1:
        return given
    config = {"retries": {"max_attempts": 0}, "connect_timeout": settings().timeout, "read_timeout": settings().timeout}
    return {**given, "config_kwargs": {**config, **given.get("config_kwargs", {})}}


def call_once(fs: FileSystem, method: str, *args: Any, timeout: float | None = None, **named: Any) -> Any:
    """Call a method of a filesystem once, for no longer than the timeout."""
    try:
        return _called(fs, method, args, timeout, named)
    except FileNotFoundError as error:
        # fsspec's HTTP filesystem raises FileNotFoundError whatever kept it from looking a file up (a timeout, a 503);
        # the reason is the cause, and decides whether another attempt may help.
        cause = error.__cause__
        over_http = first_protocol(fs.protocol) in ("http", "https")
        if over_http and isinstance(cause, Exception) and getattr(cause, "status", 0) not in _ABSENT:
            raise cause from None
        raise


def _called(fs: FileSystem, method: str, args: tuple[Any, ...], timeout: float | None, named: dict[str, Any]) -> Any:
    timeout = settings().timeout if timeout is None else timeout
    if getattr(fs, "async_impl", False):
        asyn = require("fsspec.asyn", extra="remote-files", needed_for="Remote files")
        return asyn.sync(fs.loop, getattr(fs, f"_{method}"), *args, timeout=timeout, **named)
    if protocol_of(f"{first_protocol(fs.protocol)}://") in ("memory", "file"):  # answers at once: no thread is needed
        return getattr(fs, method)(*args, **named)
    return _in_time(lambda: getattr(fs, method)(*args, **named), timeout)


def first_protocol(protocol: str | Sequence[str]) -> str:
    """Return the first of the names that a filesystem has."""
    return protocol if isinstance(protocol, str) else protocol[0]


def _in_time(call: Callable[[], T], timeout: float) -> T:
    """Run a call that takes no timeout in a thread; if it does not return in time, the thread is left behind."""
    result: list[Any] = []
    error: list[BaseException] = []

    def run() -> None:
        try:
            result.append(call())
        except BaseException as raised:  # raised again in the caller's thread
            error.append(raised)

    thread = threading.Thread(target=run, name="storage-call", daemon=True)
    thread.start()
    thread.join(timeout)
    if error:
        raise error[0]
    if not result:
        raise TimeoutError(f"no answer within {timeout:g} s")
    return result[0]


def tried(url: str, what: str, call: Callable[[Any, str], T]) -> T:
    """Do something with a URL; retry with growing pauses if it fails for a reason that may pass.

    Args:
        url: The file.
        what: What is done, as an infinitive for the error: ``"read bytes 0 to 99 of"``.
        call: Takes the filesystem and the path in it.

    Raises:
        StorageMissing: There is no such file.
        StorageError: It failed for a reason that does not pass, or in each attempt.
    """
    now = settings()
    begun = time.monotonic()
    for attempt in range(1, now.attempts + 1):
        try:
            return call(*_open(url))
        except FileNotFoundError as error:
            raise StorageMissing(f"cannot {what} {url}: there is no such file{_hint(url)}") from error
        except (StorageError, MissingPackage):
            raise
        except Exception as error:
            if not _may_pass(error):
                raise StorageError(
                    f"cannot {what} {url}: {error_text(error)}. It was tried {_times(attempt)}: check the name and "
                    f"the credentials (set_remote_storage(options={{{protocol_of(url)!r}: {{...}}}}) passes them on)"
                ) from error
            if attempt == now.attempts:
                seconds = time.monotonic() - begun
                raise StorageError(
                    f"cannot {what} {url}: {error_text(error)}. It was tried {_times(attempt)} in {seconds:.1f} s: "
                    "check the network and the server, or allow more with set_remote_storage(attempts=, timeout=)"
                ) from error
            # Jitter, so that workers whose requests failed together do not all try again at the same moment.
            pause = min(_LONGEST_PAUSE, 0.1 * 2 ** (attempt - 1)) * random.uniform(0.8, 1.2)
            logger.info("Trying again in %.1f s to %s %s: %s", pause, what, url, error_text(error))
            time.sleep(pause)
    raise AssertionError("unreachable")


def _may_pass(error: Exception) -> bool:
    """Whether another attempt may succeed: not where a name, a permission or an argument is wrong."""
    if isinstance(error, _FINAL) or str(error).startswith(_REFUSED) or type(error).__name__ in _NO_CREDENTIALS:
        return False
    # aiohttp calls it status; gcsfs code, as the server spells it: a number or its digits
    status = str(getattr(error, "status", None) or getattr(error, "code", None))
    return not (status.isdecimal() and 400 <= int(status) < 500 and int(status) not in _AGAIN)


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _hint(url: str) -> str:
    if protocol_of(url) == "memory":
        return " (memory:// files are those of this process alone)"
    return ""
