"""Settings for files at URLs: retries and timeout, the cache, and the options of filesystems.

They are kept in an environment variable: worker processes get their parent's environment, and so have them too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..arguments import check_int, check_seconds, names_arguments
from ..errors import ConfigError
from .urls import local_only

__all__ = ["Settings", "cache_folder", "set_remote_storage", "settings"]

_LOCAL = "It is what keeps the network away: name a folder of a local disk."
VARIABLE = "FLOWTRAIN_REMOTE_STORAGE"


@dataclass(frozen=True)
class Settings:
    """See :func:`set_remote_storage`."""

    attempts: int = 6
    timeout: float = 30.0
    cache: str | None = None
    cache_bytes: int = 20_000_000_000
    options: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        who = "set_remote_storage"
        check_int(who, "attempts", self.attempts)
        check_int(who, "cache_bytes", self.cache_bytes, least=0)
        check_seconds(who, "timeout", self.timeout)


@names_arguments
def set_remote_storage(
    *,
    attempts: int | None = None,
    timeout: float | None = None,
    cache: str | os.PathLike[str] | None = None,
    cache_bytes: int | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Set how files at URLs (``s3://``, ``gs://``, ``https://``, ...) are read and written, in workers too.

    Arguments that are None leave their setting as it is. The settings are kept in the environment variable
    ``FLOWTRAIN_REMOTE_STORAGE`` (JSON).

    Args:
        attempts: How often a request is made before its failure is an error; 6 by default. The pauses between them are
            0.1 s, 0.2 s, 0.4 s and so on, at most 5 s.
        timeout: Seconds that a request may take; 30 by default. Together they bound the wait: no read takes longer than
            about ``attempts * timeout``.
        cache: Folder for what was fetched, and for indexes of remote files. By default ``$FLOWTRAIN_CACHE``, or
            ``~/.cache/flowtrain/remote``.
        cache_bytes: Bytes that the folder may hold; 20 GB by default. The least recently used files are removed. Files
            that do not fit are read without a cache. 0 keeps nothing but indexes and files that have to be local.
        options: Protocol -> keyword arguments of fsspec's filesystem, e.g.
            ``{"s3": {"endpoint_url": "http://127.0.0.1:9000", "anon": True}}``. They replace those given before for
            that protocol, and must be what JSON can hold.

    Raises:
        ConfigError: A value makes no sense.

    Example:
        >>> set_remote_storage(attempts=3, timeout=10)
    """
    current = settings()
    given: dict[str, Any] = {
        "attempts": attempts,
        "timeout": timeout,
        "cache": None if cache is None else os.path.abspath(local_only(cache, "the cache folder", _LOCAL)),
        "cache_bytes": cache_bytes,
        "options": None if options is None else {**current.options, **_plain(options)},
    }
    changed = replace(current, **{name: value for name, value in given.items() if value is not None})
    os.environ[VARIABLE] = json.dumps(asdict(changed), default=int)  # NumPy's integers are whole numbers too


def settings() -> Settings:
    """Return the settings of this process."""
    return _parsed(os.environ.get(VARIABLE, ""))


def cache_folder() -> Path:
    """Return the folder for what is fetched from URLs."""
    given = settings().cache or os.environ.get("FLOWTRAIN_CACHE")
    return Path(given or "~/.cache/flowtrain/remote").expanduser()


def _plain(options: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    if not isinstance(options, Mapping) or not all(isinstance(given, Mapping) for given in options.values()):
        raise ConfigError(
            f"options is a dict {{protocol: {{name: value}}}}, e.g. {{'s3': {{'anon': True}}}}; got {options!r}"
        )
    found = {protocol: dict(given) for protocol, given in options.items()}
    try:
        json.dumps(found)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"options must be what JSON can hold, as they go to workers: {error}") from error
    return found


@lru_cache(8)
def _parsed(text: str) -> Settings:
    if not text:
        return Settings()
    try:
        found = json.loads(text)
        if not isinstance(found, dict):
            raise ValueError("an object expected")
        unknown = found.keys() - Settings.__dataclass_fields__.keys()
        if unknown:
            raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
        return Settings(**found)
    except ValueError as error:  # JSON's is one, and ours
        raise ConfigError(f"the environment variable {VARIABLE} is wrong: {error}") from error
