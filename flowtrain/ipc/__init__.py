"""Worker processes, shared memory and channels between processes, and the codec. It knows no dataflow."""

from .pool import shutdown

__all__ = ["shutdown"]
