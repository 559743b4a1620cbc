"""The public names of remote flows: each is written here once, with its module; ``__init__.py`` serves this list."""

from .data import RemoteData as RemoteData
from .endpoint import make_keys as make_keys
from .receiver import RemoteError as RemoteError
from .sender import send_dataflow as send_dataflow
