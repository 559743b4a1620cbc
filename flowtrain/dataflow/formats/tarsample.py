"""Encoding of a datapoint as the files of one tar sample, and decoding of samples."""

from __future__ import annotations

import io
import json
import urllib.parse
from collections.abc import Callable
from typing import Any

import numpy as np

from ...ipc.codec import CodecError, pack, unpack
from ...utils.errors import FormatError
from ..core.datapoint import Component, Datapoint
from .npzfile import parse_npy

__all__ = ["CHECKSUM", "MARK", "decode_members", "decode_webdataset", "encode_members"]

MARK = "FLOWTRAIN.container"
"""The key of the pax header in which `write` notes whether datapoints are lists or dicts."""

CHECKSUM = "crc32c:"
"""How the name of the group begins in which `write` notes the CRC32C of a file's contents, as 8 hexadecimal digits;
the last file's goes on with a colon and the number of samples.

Tar's own checksum is of the header alone. The group's name is a part of that, and a program that unpacks takes the
user's own group where there is none of that name; a pax header for each file would cost 1024 bytes and a warning.
"""

_EMPTY = "__empty__"
_PICTURES = ("jpg", "jpeg", "png", "ppm", "webp", "bmp", "tif", "tiff")
# the last extensions that `write` appends: for an array, a str, anything else, bytes
_OURS: dict[str, Callable[[bytes], Any]] = {"npy": parse_npy, "txt": bytes.decode, "mp": unpack, "bin": bytes}


def encode_members(datapoint: object) -> tuple[str, list[tuple[str, bytes]]]:
    """Encode a datapoint as files.

    Arrays become ``.npy``, str ``.txt``, bytes a file with the name of the component (``jpg``) or ``.bin``, and
    everything else ``.mp`` (msgpack). WebDataset's own decoders read these too.

    Args:
        datapoint: A list, or a dict with str keys.

    Returns:
        ``"list"`` or ``"dict"``, and (extension, content) of each file.

    Raises:
        FormatError: The datapoint is something else, or a component cannot be written.
    """
    if isinstance(datapoint, list):
        container, items = "list", [(str(i), value) for i, value in enumerate(datapoint)]
    elif isinstance(datapoint, dict) and all(isinstance(key, str) and key for key in datapoint):
        container, items = "dict", [(_quote(key), value) for key, value in datapoint.items()]
    else:
        raise FormatError(
            "a list, or a dict with str keys that are not empty, can be files of a tar; got "
            f"{type(datapoint).__name__}. Write to LMDB instead, or change it in a MapData."
        )
    try:
        members = [_encode(name, value) for name, value in items]
    except CodecError as error:
        raise FormatError(str(error)) from error
    return container, members or [(_EMPTY, b"")]


def decode_members(container: str, members: list[tuple[str, bytes]]) -> Datapoint:
    """Decode the files of :func:`encode_members` to the datapoint.

    Raises:
        FormatError: A file is damaged.
    """
    if members and members[0][0] == _EMPTY:
        members = members[1:]
    decoded = [_decode(name, content) for name, content in members]
    return [value for _, value in decoded] if container == "list" else {urllib.parse.unquote(n): v for n, v in decoded}


def decode_webdataset(sample: dict[str, Any]) -> dict[str, Any]:
    """Decode each file of a sample by its extension, as WebDataset does by convention.

    npy: array; json; txt, text: str; cls, cls2, index, id: int; pictures: (H, W, 3), RGB, as ``read_image``
    gives; mp, msgpack: msgpack. Others stay bytes.

    Args:
        sample: ``"__key__"`` and extension -> bytes.

    Returns:
        The same keys, decoded.

    Raises:
        FormatError: A file is not what its extension says.
    """
    return {name: value if name.startswith("__") else _by_extension(name, value) for name, value in sample.items()}


def _by_extension(name: str, content: bytes) -> Component:
    last = name.rpartition(".")[2].lower()
    try:
        if last == "npy":
            return parse_npy(content)
        if last == "json":
            return json.loads(content)
        if last in ("txt", "text", "transcript"):
            return content.decode()
        if last in ("cls", "cls2", "class", "count", "index", "inx", "id"):
            if b"_" in content:  # int() reads 1_23 as 123
                raise ValueError("only the digits 0 to 9 make a number")
            return int(content)
        if last in ("mp", "msgpack"):
            return unpack(content)
    except (ValueError, EOFError, RecursionError) as error:  # RecursionError: of deeply nested JSON
        raise FormatError(f"the file .{name} is damaged, or not what its extension says: {error}") from error
    return _picture(name, content) if last in _PICTURES else content


def _picture(name: str, content: bytes) -> np.ndarray:
    from ..sources.decode import decode_image  # imports OpenCV, which is slow, and which only pictures need

    return decode_image(np.frombuffer(content, np.uint8), f"the file .{name}")


def _encode(name: str, value: Component) -> tuple[str, bytes]:
    kind = type(value)
    if kind is bytes:
        # ".bin" where the name would be read as another kind, or is the position in a list
        return (f"{name}.bin" if name.rpartition(".")[2] in _OURS or name.isdigit() else name), value
    if kind is str:
        try:
            return f"{name}.txt", value.encode()
        except UnicodeEncodeError:  # lone surrogates, as in a file name that is not UTF-8
            return f"{name}.mp", pack(value)
    # isbuiltin 2: a dtype that ml_dtypes registers, for which an npy header has no name of its own
    if kind is np.ndarray and value.dtype.kind in "biufcSUmM" and value.dtype.isbuiltin != 2:
        buffer = io.BytesIO()
        # ascontiguousarray makes a 0-d array 1-d; reshape undoes that
        np.lib.format.write_array(buffer, np.ascontiguousarray(value).reshape(value.shape), allow_pickle=False)
        return f"{name}.npy", buffer.getvalue()
    return f"{name}.mp", pack(value)


def _decode(name: str, content: bytes) -> tuple[str, Any]:
    stem, dot, last = name.rpartition(".")
    if not dot or last not in _OURS:
        return name, content
    try:
        return stem, _OURS[last](content)
    except (ValueError, EOFError) as error:
        raise FormatError(f"the file .{name} is damaged: {error}") from error


def _quote(key: str) -> str:
    # A slash or a leading dot in the name would assign the file to another sample, or to none.
    quoted = urllib.parse.quote(key, safe="._- ", errors="surrogatepass")
    return "%2E" + quoted[1:] if quoted.startswith(".") else quoted
