"""Where code runs: in the consumer's process, where stages may have workers, or in a worker, where they have none."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from ...ipc.worker import in_worker
from ..core.base import DataFlow

__all__ = ["flat", "indexable_in_worker", "may_have_workers"]

_thread = threading.local()


def may_have_workers() -> bool:
    """Whether a parallel stage starts workers here. Inside another stage's worker it runs serially."""
    return not in_worker() and not getattr(_thread, "flat", False)


@contextlib.contextmanager
def flat() -> Iterator[None]:
    """Make the calling thread be like a worker, in which parallel stages are serial ones."""
    before = getattr(_thread, "flat", False)
    _thread.flat = True
    try:
        yield
    finally:
        _thread.flat = before


def indexable_in_worker(ds: DataFlow) -> bool:
    """Whether a worker can make any datapoint of the flow alone."""
    with flat():
        return ds.indexable
