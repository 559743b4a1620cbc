"""Flows over the network: one process serves datapoints, another consumes them."""

from .data import RemoteData
from .endpoint import make_keys
from .receiver import RemoteError
from .sender import send_dataflow

__all__ = ["RemoteData", "RemoteError", "make_keys", "send_dataflow"]
