"""JSON text that every program reads, also of NaN and infinity."""

from __future__ import annotations

import json
import math

__all__ = ["json_text"]


def json_text(value: object, indent: int | None = None) -> str:
    """The text of a value as JSON that every program reads.

    NaN and infinity, which JSON lacks, are the strings ``"nan"``, ``"inf"`` and ``"-inf"``. Python's own encoder would
    write the bare words NaN and Infinity, on which jq and JavaScript fail.
    """
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
