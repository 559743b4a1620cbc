"""The public helpers: each is written here once, with its module; ``__init__.py`` serves this list."""

from .errors import FlowtrainError as FlowtrainError
from .seeding import set_seed as set_seed
from .storage.settings import set_remote_storage as set_remote_storage
