"""StartProcOrThread: processes and threads that run during training."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from flowtrain.utils.errors import ConfigError

from .base import Callback

__all__ = ["StartProcOrThread"]

logger = logging.getLogger("flowtrain.callbacks")


class StartProcOrThread(Callback):
    """Starts processes or threads before training and ends them after it.

    Each needs ``start()``. At the end its ``stop()`` is called if it has one, else its ``terminate()``; then it is
    joined for at most `timeout` seconds. A thread with neither has to end by itself.

    Python starts a thread or process once only: for several runs give functions that make them.

    Args:
        startables: A process or thread, a function without arguments that makes one, or several of these.
        timeout: Seconds to wait for each to end.

    Raises:
        ConfigError: One of them cannot be started.

    Example:
        >>> import threading
        >>> StartProcOrThread(threading.Thread(target=print, daemon=True))
        StartProcOrThread
    """

    def __init__(self, startables: Any, timeout: float = 10.0) -> None:
        self.startables = list(startables) if isinstance(startables, Iterable) else [startables]
        for startable in self.startables:
            if not callable(getattr(startable, "start", None)) and not callable(startable):
                raise ConfigError(f"StartProcOrThread: {startable!r:.80} has no start(), and makes nothing that has.")
        self.timeout = timeout
        super().__init__()

    def reset(self) -> None:
        self._started: list[Any] = []

    def before_train(self) -> None:
        for given in self.startables:
            startable = given if hasattr(given, "start") else given()
            try:
                startable.start()
            except (RuntimeError, AssertionError) as error:  # what a second start() of a thread, of a process raises
                raise ConfigError(
                    f"StartProcOrThread: {startable!r:.80} cannot be started ({error}). Each thread or process runs "
                    "once: for several runs give a function that makes it, StartProcOrThread(lambda: Thread(...))."
                ) from error
            self._started.append(startable)

    def after_train(self) -> None:
        for startable in self._started:
            end = getattr(startable, "stop", None) or getattr(startable, "terminate", None)
            if end is not None:
                end()
            if hasattr(startable, "join"):
                startable.join(self.timeout)
            if getattr(startable, "is_alive", bool)():  # bool() is False: what cannot be asked counts as ended
                logger.warning("StartProcOrThread: %r still runs %g s after its end", startable, self.timeout)
        self._started = []
