"""How much memory bytes of a stranger may ask for: what they claim is compared with what is there, before it is taken.

A header of 12 bytes can claim gigabytes. Most claims are exact (a shape and its elements), and are compared with the
bytes that follow. This is for those that may be larger than what is there: of compressed data, of pictures, of tensors
and vectors that are given by a few of their elements.
"""

from __future__ import annotations

__all__ = ["DEFLATE_MOST", "UNNAMED", "Claim", "check_claim"]

UNNAMED = 1 << 26
"""Bytes that may be made of fewer, whatever their number, where nobody named a limit."""

DEFLATE_MOST = 1032
"""How many bytes one byte of deflate's can become (https://zlib.net/zlib_tech.html)."""


class Claim(ValueError):
    """More memory is claimed than there can be content for."""


def check_claim(wanted: int, there: int, *, ratio: int = 1, limit: int = 0, unit: str = "bytes") -> None:
    """Refuse a claim that the bytes that are there cannot fill.

    Args:
        wanted: How many bytes, or what ``unit`` says, are claimed.
        there: Bytes that are there.
        ratio: How many of what is claimed one of these can become.
        limit: How many are allowed nevertheless.
        unit: What is claimed.

    Raises:
        Claim: It is larger than both.
    """
    if wanted > max(there * ratio, limit):
        raise Claim(f"{wanted:,} {unit} are claimed, for which {there:,} bytes are there")
