"""Reports of runs: one page for people, a table for the terminal. Reading a run needs no TensorFlow."""

from .folder import RunFolder, find_runs
from .page_file import write_report
from .table import runs_table
from .watch import watch

__all__ = ["RunFolder", "find_runs", "runs_table", "watch", "write_report"]
