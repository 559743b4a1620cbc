"""Files at URLs (``s3://``, ``gs://``, ``https://``, ``memory://``, ...), over fsspec."""

from .access import (
    Stat,
    exists,
    expand,
    first_missing,
    is_folder,
    is_there,
    list_folder,
    read_all,
    read_range,
    stat,
)
from .cache import kept, place_of
from .copies import as_local, download, fetched, local_copy, named_by_url
from .memory import carried
from .reader import RemoteFile, StorageFile
from .sending import delete, put, put_folder, writing_to
from .settings import cache_folder, set_remote_storage, settings
from .urls import NotLocal, StorageError, StorageMissing, in_run, is_url, local_only, path_or_url, protocol_of, url_name

__all__ = [
    "NotLocal",
    "RemoteFile",
    "Stat",
    "StorageError",
    "StorageFile",
    "StorageMissing",
    "as_local",
    "cache_folder",
    "carried",
    "delete",
    "download",
    "exists",
    "expand",
    "fetched",
    "first_missing",
    "in_run",
    "is_folder",
    "is_there",
    "is_url",
    "kept",
    "list_folder",
    "local_copy",
    "local_only",
    "named_by_url",
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
    "writing_to",
]
