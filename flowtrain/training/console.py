"""What flowtrain logs is shown on the console, unless the application set up logging itself."""

from __future__ import annotations

import logging
import sys

__all__ = ["show_log"]


class _AboveTheBar(logging.Handler):
    """Writes lines to stderr without tearing a progress bar apart."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm.auto import tqdm

        try:
            tqdm.write(self.format(record), file=sys.stderr)
        except Exception:
            self.handleError(record)


def show_log() -> None:
    """Show flowtrain's messages, once, if nobody listens to them yet."""
    log = logging.getLogger("flowtrain")
    if log.level == logging.NOTSET:
        log.setLevel(logging.INFO)
    if not log.handlers and not logging.getLogger().handlers:
        handler = _AboveTheBar()
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
        log.addHandler(handler)
