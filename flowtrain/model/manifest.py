"""The manifest of a checkpoint folder: lists the other files with their checksums, under a checksum of its own.

All other files are checked against the manifest, so a flipped byte in it must not go unseen either. Its text is JSON
whose first member is the SHA-256 of everything that follows it::

    {
     "sha256": "<64 hexadecimal digits>",
     "format": 1, ...

The position of the digest is fixed: a manifest begins with it or, if an earlier version of flowtrain wrote it, with its
format. If the digest were looked up by its name, a flipped byte in that name would disable the check.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flowtrain.utils.errors import CheckpointError
from flowtrain.utils.files import sha256_of
from flowtrain.utils.schema import Anything, ListOf, MapOf, Record, Text, Whole, mismatch

__all__ = ["FORMAT", "MANIFEST", "PREFIX", "STATE", "read_manifest", "write_manifest"]

FORMAT = 1
PREFIX = "variables"
STATE = "state.msgpack"
MANIFEST = "manifest.json"

_HEAD, _UNCHECKED_HEAD = b'{\n "sha256": "', b'{\n "format": '
_DIGITS = 64
_HASH = Text(_DIGITS, "[0-9a-f]{64}", "a SHA-256")
# Neither a slash nor dots alone: the names in a manifest must not lead out of its folder.
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
    """Write the manifest of a checkpoint folder, last of its files.

    Args:
        folder: The folder, with all other files in it.
        about: JSON values for people and tools: epoch, global_step, versions.
        variables: Name -> ``{"shape": [...], "dtype": "..."}``.
    """
    files: dict[str, Any] = {}
    for file in sorted(folder.iterdir()):
        files[file.name] = {"bytes": file.stat().st_size}
        if not _is_data(file.name):  # gigabytes perhaps: each tensor in them has its CRC32C in the index
            files[file.name]["sha256"] = sha256_of(file)
    text = json.dumps({"format": FORMAT, **about, "files": files, "variables": variables}, indent=1).encode()
    rest = b'",' + text.removeprefix(b"{")
    digest = hashlib.sha256(rest).hexdigest().encode()
    (folder / MANIFEST).write_bytes(_HEAD + digest + rest)


def read_manifest(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint's manifest, and check its checksum and its form.

    A manifest of an earlier version has no checksum and is accepted if its form is right: it lists every file of a
    checkpoint, each with its SHA-256 except the data files (which TensorFlow checks).

    Returns:
        The manifest's members, without its own checksum.

    Raises:
        CheckpointError: The manifest is missing, damaged or of a later format.
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
            _refuse_later(path, manifest)  # before its form is judged: a later format may have another one
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
    """What is missing in the list of files, or None. A manifest with an empty list would check nothing."""
    if not any(_is_data(name) for name in files):
        return f"it lists no {PREFIX}.data-... file"
    for name in (f"{PREFIX}.index", STATE):
        if name not in files:
            return f"it does not list {name}"
    bare = [name for name, entry in files.items() if "sha256" not in entry and not _is_data(name)]
    return f"it has no SHA-256 of {bare[0]}" if bare else None


def _is_data(name: str) -> bool:
    return name.startswith(f"{PREFIX}.data-")
