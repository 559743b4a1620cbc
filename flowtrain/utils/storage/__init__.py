"""Files at URLs (``s3://``, ``gs://``, ``https://``, ``memory://``, ...), over fsspec."""

from .access import (
    Stat,
    delete,
    exists,
    expand,
    first_missing,
    is_folder,
    list_folder,
    put,
    put_folder,
    read_all,
    read_range,
    stat,
)
from .cache import download, fetched, kept, place_of
from .memory import carried
from .reader import RemoteFile, StorageFile
from .settings import cache_folder, set_remote_storage, settings
from .urls import StorageError, StorageMissing, is_url, local_only, path_or_url, protocol_of, url_name

__all__ = [
    "RemoteFile",
    "Stat",
    "StorageError",
    "StorageFile",
    "StorageMissing",
    "cache_folder",
    "carried",
    "delete",
    "download",
    "exists",
    "expand",
    "fetched",
    "first_missing",
    "is_folder",
    "is_url",
    "kept",
    "list_folder",
    "local_only",
    "path_or_url",
    "place_of",
    "protocol_of",
    "put",
    "put_folder",
    "read_all",
    "read_range",
    "set_remote_storage",
    "settings",
    "stat",
    "url_name",
]
