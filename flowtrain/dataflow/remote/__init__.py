"""Flows over the network: one process serves datapoints, another consumes them."""

from .crew import RemoteError
from .data import RemoteData
from .endpoint import make_keys
from .sender import send_dataflow

__all__ = ["RemoteData", "RemoteError", "make_keys", "send_dataflow"]
