"""Nested parallel stages: a stage that runs inside another stage's worker has no workers of its own."""

from __future__ import annotations

import threading

from ...ipc.worker import in_worker

__all__ = ["enter_worker_thread", "may_have_workers"]

_thread = threading.local()


def may_have_workers() -> bool:
    """Whether a parallel stage starts workers in this process and thread; inside a worker it runs serially."""
    return not in_worker() and not getattr(_thread, "is_worker", False)


def enter_worker_thread() -> None:
    """Mark the calling thread as a worker, for the rest of its life."""
    _thread.is_worker = True
