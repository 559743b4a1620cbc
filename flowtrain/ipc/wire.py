"""Frames between machines: a header that says whose they are, a message, and raw arrays. Never pickle.

A message is a list of frames: ``FLTR``, the protocol's version and the message's kind in one, then what
:func:`flowtrain.ipc.codec.pack_frames` makes of its value.
"""

from __future__ import annotations

import struct
from typing import Any

from ..utils.errors import FlowtrainError
from .codec import pack_frames, unpack_frames

__all__ = ["VERSION", "ForeignFrame", "decode", "encode"]

VERSION = 1
_HEAD = struct.Struct("<4sHB")
_MAGIC = b"FLTR"


class ForeignFrame(FlowtrainError, ValueError):
    """A frame that is not ours, of another version, or too large."""


def encode(kind: int, value: Any) -> list[Any]:
    """Make the frames of a message.

    Args:
        kind: Which message, 0 to 255.
        value: What the codec can carry. Large arrays are not copied.
    """
    return [_HEAD.pack(_MAGIC, VERSION, kind), *pack_frames(value)]


def decode(frames: list[Any], max_bytes: int) -> tuple[int, Any]:
    """Read a message.

    Args:
        frames: As they came.
        max_bytes: A larger message is refused.

    Returns:
        Its kind and value. Arrays may be read-only views of the frames.

    Raises:
        ForeignFrame: It is not such a message; the text says why.
    """
    if not frames or len(frames[0]) != _HEAD.size:
        raise ForeignFrame("it does not start with our header")
    magic, version, kind = _HEAD.unpack(bytes(frames[0]))
    if magic != _MAGIC:
        raise ForeignFrame("it does not start with our header")
    if version != VERSION:
        raise ForeignFrame(
            f"it is of protocol version {version}, here it is {VERSION}: use one flowtrain on both sides"
        )
    try:
        return kind, unpack_frames(frames[1:], max_bytes=max_bytes)
    except ValueError as error:
        raise ForeignFrame(str(error)) from error
