"""The public names of reports: each is written here once, with its module; ``__init__.py`` serves this list."""

from .folder import RunFolder as RunFolder
from .folder import find_runs as find_runs
from .page_file import write_report as write_report
from .table import runs_table as runs_table
from .watcher import watch as watch
