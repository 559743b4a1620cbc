"""Messages between machines: a versioned header, the packed value, and raw arrays. Never pickle.

A message is a list of frames: the header (``FLTR``, the protocol's version, the message's kind), then what
:func:`flowtrain.ipc.codec.pack_frames` makes of the value.

Whoever reaches the port can send anything. So a message is checked from the outside in, and each check bounds what
the next one may cost: the header, the kind, the number of bytes, and only then what the bytes say.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

from ..utils.errors import FlowtrainError
from .codec import pack_frames, unpack_frames

__all__ = ["VERSION", "BadMessage", "ForeignFrame", "decode", "encode", "kind_of"]

VERSION = 1
_HEAD = struct.Struct("<4sHB")
_MAGIC = b"FLTR"


class ForeignFrame(FlowtrainError, ValueError):
    """A message that is not flowtrain's, or of another version of the protocol."""


class BadMessage(ForeignFrame):
    """A message with flowtrain's header that is too large, damaged, or not what its kind should be."""


def encode(kind: int, value: object) -> list[Any]:
    """Make the frames of a message.

    Args:
        kind: The kind of message, 0 to 255.
        value: What the codec can carry. Large arrays are not copied.
    """
    return [_HEAD.pack(_MAGIC, VERSION, kind), *pack_frames(value)]


def kind_of(frames: Sequence[Any]) -> int:
    """Read a message's header.

    Args:
        frames: The frames as they came.

    Returns:
        The message's kind.

    Raises:
        ForeignFrame: It is no message of this protocol and version; the text says why.
    """
    if not frames or len(frames[0]) != _HEAD.size or bytes(frames[0])[: len(_MAGIC)] != _MAGIC:
        raise ForeignFrame("it does not start with our header")
    _, version, kind = _HEAD.unpack(bytes(frames[0]))
    if version != VERSION:
        raise ForeignFrame(
            f"it is of protocol version {version}, here it is {VERSION}: use one flowtrain on both sides"
        )
    return kind


def decode(frames: Sequence[Any], limits: Mapping[int, int]) -> tuple[int, Any]:
    """Read a message.

    Args:
        frames: The frames as they came.
        limits: Kind -> how many bytes such a message may have, over all frames. Any other kind is refused.

    Returns:
        The message's kind and value. Arrays may be read-only views of the frames.

    Raises:
        ForeignFrame: It is no message of this protocol and version; the text says why.
        BadMessage: It is one, but of another kind, too large or damaged.
    """
    kind = kind_of(frames)
    if kind not in limits:
        raise BadMessage(f"a message of kind {kind} has no meaning here")
    try:
        return kind, unpack_frames(frames[1:], max_bytes=limits[kind])
    except ValueError as error:
        raise BadMessage(str(error)) from error
