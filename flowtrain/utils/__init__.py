"""Small helpers that every part of flowtrain may use and that no library has."""

from .errors import FlowtrainError, closest
from .optional import require

__all__ = ["FlowtrainError", "closest", "require"]
