"""The figures of ``explain`` as a file in the folder of a run, for ``flowtrain report``."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from ...utils.files import write_whole
from .explain import Explanation

__all__ = ["PROFILE", "write_profile"]

PROFILE = "data.json"


def write_profile(found: Explanation, folder: Path) -> Path:
    """Write the profile of a flow for ``flowtrain report``.

    Args:
        found: What ``ds.explain()`` returned.
        folder: The log folder of the run that the flow feeds.

    Returns:
        The path of the file.
    """
    write_whole(folder / PROFILE, json.dumps(dataclasses.asdict(found), indent=1), durable=False)
    return folder / PROFILE
