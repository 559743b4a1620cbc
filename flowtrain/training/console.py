"""The log handler that shows flowtrain's messages on the console, unless the application set up logging itself."""

from __future__ import annotations

import logging
import sys

__all__ = ["show_log"]


class _AboveTheBar(logging.Handler):
    """Log handler that writes to stderr above a progress bar: tqdm takes the bar away, writes, and draws it again."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm.auto import tqdm

        try:
            tqdm.write(self.format(record), file=sys.stderr)
        except Exception:
            self.handleError(record)


def show_log() -> None:
    """Show flowtrain's messages from INFO on, unless its logger or the root logger has a handler."""
    log = logging.getLogger("flowtrain")
    if log.level == logging.NOTSET:
        log.setLevel(logging.INFO)
    if not log.handlers and not logging.getLogger().handlers:
        handler = _AboveTheBar()
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
        log.addHandler(handler)
