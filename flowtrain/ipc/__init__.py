"""Worker processes, the memory they share, channels between them, and the codec. Knows no dataflow."""

from .pool import shutdown

__all__ = ["shutdown"]
