"""The public stages with workers: each is written here once, with its module; ``__init__.py`` serves this list."""

from .mapped import MultiProcessMapAndBatchData as MultiProcessMapAndBatchData
from .mapped import MultiProcessMapData as MultiProcessMapData
from .mapped import MultiThreadMapData as MultiThreadMapData
from .prefetch import MultiProcessRunnerZMQ as MultiProcessRunnerZMQ
from .prefetch import PrefetchData as PrefetchData
from .prefetch import PrefetchDataZMQ as PrefetchDataZMQ
from .thread_runner import MultiThreadRunner as MultiThreadRunner
