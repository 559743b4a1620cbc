"""The identity of the current process: files and workers that were opened before a fork must not be used after it."""

from __future__ import annotations

import os

__all__ = ["current"]

current = object()
"""An object that differs between processes, the child of a fork included; compare it by identity.

Read it as ``process.current``: ``from process import current`` would keep the parent's object after a fork.
``os.getpid()`` is a system call, which is too slow for a check per datapoint.
"""


def _renew() -> None:
    global current
    current = object()


os.register_at_fork(after_in_child=_renew)
