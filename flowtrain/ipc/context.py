"""The one ZMQ context of this process, for connections to other machines."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import zmq

__all__ = ["context", "end_context"]

_context: tuple[int, zmq.Context] | None = None


def context() -> zmq.Context:
    """Return this process's ZMQ context, made at the first call; the child of a fork gets one of its own."""
    global _context
    import zmq  # a tenth of the time that importing flowtrain.dataflow takes, and workers do without

    if _context is None or _context[0] != os.getpid() or _context[1].closed:
        _context = os.getpid(), zmq.Context()
    return _context[1]


def end_context() -> None:
    """End the context, with its thread and its descriptors."""
    global _context
    if _context is not None and _context[0] == os.getpid():
        # In a thread and for two seconds at most: destroy() may wait for a socket that someone still holds.
        ending = threading.Thread(target=_context[1].destroy, kwargs={"linger": 0}, daemon=True)
        ending.start()
        ending.join(2)
    _context = None
