"""Bounds on the memory that untrusted bytes may ask for, checked before it is allocated.

A header of 12 bytes can claim gigabytes. Most claims are exact (a shape and its elements) and are compared with the
bytes that follow. This module is for claims that may rightly exceed the bytes: of compressed data, of pictures, of
tensors and vectors that are given by a few of their elements.
"""

from __future__ import annotations

__all__ = ["DEFLATE_MOST", "UNNAMED", "Claim", "check_claim"]

UNNAMED = 1 << 26
"""Default limit in bytes: that much may be claimed by any number of bytes."""

DEFLATE_MOST = 1032
"""The largest expansion of deflate: bytes that one compressed byte can become (https://zlib.net/zlib_tech.html)."""


class Claim(ValueError):
    """More memory is claimed than the bytes that came can fill."""


def check_claim(wanted: int, there: int, *, ratio: int = 1, limit: int = 0, unit: str = "bytes") -> None:
    """Refuse a claim above both ``there * ratio`` and ``limit``.

    Args:
        wanted: How many units are claimed.
        there: How many bytes came.
        ratio: How many units one byte can become.
        limit: How many units are allowed whatever came.
        unit: What is claimed, for the message.

    Raises:
        Claim: The claim is larger than both.
    """
    if wanted > max(there * ratio, limit):
        raise Claim(f"{wanted:,} {unit} are claimed, for which {there:,} bytes are there")
