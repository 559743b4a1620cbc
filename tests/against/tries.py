"""How many examples a test tries: a few in each run, thirty times as many with ``--hypothesis-profile=long``."""

from __future__ import annotations

from hypothesis import settings

USUAL = 100  # hypothesis' own number


def tries(count: int) -> settings:
    """Settings for a test that tries so many examples in a usual run."""
    return settings(max_examples=count * settings().max_examples // USUAL)
