"""Which process this is: what was opened or started in another one must not be used here."""

from __future__ import annotations

import os

__all__ = ["current"]

current = object()
"""Is another object in each process, the child of a fork included. To be read as ``process.current`` and compared by
identity: ``os.getpid()`` is a system call, which is slow for a check per datapoint."""


def _renew() -> None:
    global current
    current = object()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
