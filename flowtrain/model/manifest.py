"""A checkpoint's manifest: what the folder holds, under a checksum of its own.

The manifest is what all other files are checked against, so a byte that flips in it must not go unseen either. Its text
is JSON whose first member is the SHA-256 of everything that follows it::

    {
     "sha256": "<64 hexadecimal digits>",
     "format": 1, ...

The place of the digest is fixed: a manifest begins with it or, when an earlier version of flowtrain wrote it, with its
format. Were it looked up by its name, a flip in that name would turn a checked manifest into an unchecked one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flowtrain.utils.errors import CheckpointError
from flowtrain.utils.schema import Anything, ListOf, MapOf, Record, Text, Whole, mismatch

__all__ = ["FORMAT", "MANIFEST", "PREFIX", "STATE", "read_manifest", "write_manifest"]

FORMAT = 1
PREFIX = "variables"
STATE = "state.msgpack"
MANIFEST = "manifest.json"

_HEAD, _UNCHECKED_HEAD = b'{\n "sha256": "', b'{\n "format": '
_DIGITS = 64
_HASH = Text(_DIGITS, "[0-9a-f]{64}", "a SHA-256")
_FILE = Text(255, r"[^/\\\0]*[^/\\\0.][^/\\\0]*", "the name of a file in the folder")
_SCHEMA = Record(
    {
        "format": Whole(FORMAT, FORMAT),
        "files": MapOf(_FILE, Record({"bytes": Whole(0)}, optional={"sha256": _HASH})),
        "variables": MapOf(Text(), Record({"shape": ListOf(Whole(0)), "dtype": Text()})),
    },
    others=Anything(),
)


def write_manifest(folder: Path, about: Mapping[str, Any], variables: Mapping[str, Any]) -> None:
    """Describe all files that are in a folder.

    Args:
        folder: Holds the checkpoint's other files.
        about: JSON values for people and tools.
        variables: Name -> ``{"shape": [...], "dtype": "..."}``.
    """
    files: dict[str, Any] = {}
    for file in sorted(folder.iterdir()):
        files[file.name] = {"bytes": file.stat().st_size}
        if not _is_data(file.name):
            with file.open("rb") as stream:
                files[file.name]["sha256"] = hashlib.file_digest(stream, "sha256").hexdigest()
    text = json.dumps({"format": FORMAT, **about, "files": files, "variables": variables}, indent=1).encode()
    rest = b'",' + text.removeprefix(b"{")
    digest = hashlib.sha256(rest).hexdigest().encode()
    (folder / MANIFEST).write_bytes(_HEAD + digest + rest)


def read_manifest(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint's manifest, and see that it is whole and of the right form.

    One of an earlier version, which has no checksum, is taken when its form is right: every file of a checkpoint is
    listed, each but the data (which TensorFlow checks) with its SHA-256.

    Returns:
        The manifest without its own checksum.

    Raises:
        CheckpointError: It is missing, damaged or of a later format.
    """
    file = Path(path) / MANIFEST
    try:
        content = file.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} is no whole checkpoint: cannot read its {MANIFEST} ({error})") from error
    manifest: dict[str, Any] = {}
    problem = _damage(content)
    if problem is None:
        try:
            manifest = json.loads(content)
        except (ValueError, RecursionError) as error:
            problem = str(error)
        else:
            _refuse_later(path, manifest)
            problem = mismatch(manifest, _SCHEMA, MANIFEST) or _unlisted(manifest["files"])
    if problem is not None:
        raise CheckpointError(f"{path} is no whole checkpoint: its {MANIFEST} is damaged ({problem})")
    manifest.pop("sha256", None)
    return manifest


def _damage(content: bytes) -> str | None:
    if content.startswith(_UNCHECKED_HEAD):
        return None
    if not content.startswith(_HEAD):
        return "it begins neither with its checksum nor with its format"
    digest, rest = content[len(_HEAD) :][:_DIGITS], content[len(_HEAD) + _DIGITS :]
    if hashlib.sha256(rest).hexdigest().encode() != digest:
        return "it does not match its own checksum"
    return None


def _refuse_later(path: str | Path, manifest: object) -> None:
    version = manifest.get("format") if isinstance(manifest, dict) else None
    if type(version) is int and version > FORMAT:
        raise CheckpointError(f"{path} has format {version}; this version of flowtrain reads format {FORMAT}")


def _unlisted(files: Mapping[str, Any]) -> str | None:
    """What the list of files lacks. An empty list would be a manifest that checks nothing."""
    if not any(_is_data(name) for name in files):
        return f"it lists no {PREFIX}.data-... file"
    for name in (f"{PREFIX}.index", STATE):
        if name not in files:
            return f"it does not list {name}"
    bare = [name for name, entry in files.items() if "sha256" not in entry and not _is_data(name)]
    return f"it has no SHA-256 of {bare[0]}" if bare else None


def _is_data(name: str) -> bool:
    return name.startswith(f"{PREFIX}.data-")
