"""Small helpers that every part of flowtrain may use and that no library has."""

from .errors import FlowtrainError, closest
from .optional import require
from .seeding import set_seed
from .storage import set_remote_storage

__all__ = ["FlowtrainError", "closest", "require", "set_remote_storage", "set_seed"]
