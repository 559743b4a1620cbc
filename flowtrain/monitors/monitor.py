"""The base class of all monitors, and the dispatcher through which the trainer and its callbacks log."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import isnan, nan
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from flowtrain.utils.arguments import NamesArguments
from flowtrain.utils.errors import ConfigError, TensorNameError, closest

from .delivery import Delivery

__all__ = ["WRITER", "Monitor", "Monitors"]

WRITER: contextvars.ContextVar[Any] = contextvars.ContextVar("WRITER", default=None)
"""The callback whose hook is running in this thread, or None; set by the trainer."""


class Monitor(NamesArguments):
    """Base class of what a run logs to: a file, a console, a service. Override the methods for what it can show.

    Exact resume: `state_dict` is called after `flush` when a checkpoint is made, and `load_state_dict` after `open`
    when a run resumes from it. A monitor that writes files must then drop all that it wrote after that state, as a
    killed run may have logged steps that are now done again.

    Example:
        >>> class Shout(Monitor):
        ...     def put_scalar(self, name, value, step):
        ...         print(f"{name} is {value} at step {step}")
    """

    history: Mapping[str, Sequence[tuple[int, float]]] = MappingProxyType({})
    """Every scalar of the run so far, name -> (step, value) pairs; set by `Monitors`."""

    @property
    def name(self) -> str:
        """The monitor's name in messages and checkpoints: that of its class."""
        return type(self).__name__

    def open(self, log_dir: Path) -> None:
        """Called once, before anything is put.

        Args:
            log_dir: The run's folder, which exists.
        """

    def put_scalar(self, name: str, value: float, step: int) -> None:
        """Take one number."""

    def put_image(self, name: str, image: np.ndarray, step: int) -> None:
        """Take N pictures: uint8 (N, H, W, C), C = 1 (gray), 3 (RGB) or 4 (RGBA)."""

    def put_histogram(self, name: str, values: np.ndarray, step: int) -> None:
        """Take numbers whose distribution is to be shown: float64 of any shape."""

    def put_event(self, kind: str, content: dict[str, Any], step: int) -> None:
        """Take an event of the run.

        Args:
            kind: ``"config"``, ``"graph"``, ``"epoch"`` (at the end of each epoch) or ``"end"``.
            content: For ``"config"`` the run's settings, JSON values by name. For ``"graph"`` a serialised GraphDef
                under ``"graph_def"``. For ``"epoch"`` the number of the epoch that ended under ``"epoch"``, and in a
                training under ``"seconds"`` those spent on ``"steps"``, ``"data"``, ``"callbacks"`` and ``"saving"``.
                For ``"end"`` the ``"status"``: ``"finished"``, ``"failed"`` or ``"interrupted"``.
            step: The global step.
        """

    def flush(self) -> None:
        """Bring all that was put to where it survives a kill of the process."""

    def close(self) -> None:
        """Flush and release files."""

    def state_dict(self) -> dict[str, Any]:
        """The position after what is written so far, as JSON values."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Drop what was written after a position."""


class Monitors:
    """Dispatcher to all monitors of a run, and the history of every scalar.

    A monitor that fails is logged once and does not stop training. After an error that may pass (a full disk, a server
    that is away) it is tried again at the end of each epoch, and then gets the numbers that it missed. After an error
    of its code it gets nothing more.

    Args:
        monitors: The monitors, in order.
        log_dir: The run's folder; None: the monitors are not opened.

    Raises:
        ConfigError: An entry is no monitor, or two monitors write one file.

    Example:
        >>> monitors = Monitors([])
        >>> monitors.put_scalar("cost", 0.5, step=10)
        >>> monitors.latest("cost")
        0.5
    """

    def __init__(self, monitors: Iterable[Monitor], log_dir: Path | None = None) -> None:
        self._monitors = list(monitors)
        for monitor in self._monitors:
            if not isinstance(monitor, Monitor):
                raise ConfigError(f"monitors must be Monitor objects; got {monitor!r} ({type(monitor).__name__})")
        _check_files(self._monitors)
        self._silent = False
        self._listeners: list[Callable[[str, float, int], None]] = []
        self._claims: dict[str, Any] = {}  # scalar -> the callback that is going to put it
        self._last: dict[str, tuple[int, float, Any]] = {}  # scalar -> its last step, value and writer
        self.history: dict[str, list[tuple[int, float]]] = {}
        self._deliveries = [Delivery(monitor, self.history) for monitor in self._monitors]
        if log_dir is not None:
            for delivery in self._deliveries:
                delivery.open(log_dir)

    def __iter__(self) -> Iterator[Monitor]:
        return iter(self._monitors)

    def put_scalar(self, name: str, value: float, step: int) -> None:
        """Log one number: to the history, the listeners and all monitors.

        Raises:
            ConfigError: Another callback has put another value of this scalar at the same step.
        """
        value, step = float(value), int(step)
        if self._silent:
            return
        writer = WRITER.get()
        last, before, other = self._last.get(name, (-1, nan, None))
        differs = value != before and not (isnan(value) and isnan(before))  # one value by two ways is one curve
        if last == step and differs and other is not writer and None not in (other, writer):
            raise _two_writers(other, writer, name, f" at step {step}")
        self._last[name] = step, value, writer
        self.history.setdefault(name, []).append((step, value))
        self._tell("put_scalar", name, value, step)
        for listener in self._listeners:
            listener(name, value, step)

    def claim(self, name: str, writer: object) -> None:
        """Announce who is going to put a scalar, so that two writers are an error before training begins.

        Args:
            name: Name of the scalar.
            writer: The callback that puts it.

        Raises:
            ConfigError: Another callback has announced it.
        """
        other = self._claims.setdefault(name, writer)
        if other is not writer:
            raise _two_writers(other, writer, name)

    def put_image(self, name: str, image: np.ndarray, step: int) -> None:
        """Log pictures.

        Args:
            name: Name of the summary.
            image: (N, H, W, C) or one picture (H, W, C), C = 1 (gray), 3 (RGB) or 4 (RGBA): whole numbers from 0 to
                255, or floats from 0 to 1. Values beyond are clipped, NaN is 0.
            step: The global step.

        Raises:
            ConfigError: The shape is another one.
        """
        image = np.asarray(image)
        if image.ndim == 3:
            image = image[None]
        if image.ndim != 4 or image.shape[-1] not in (1, 3, 4):
            raise ConfigError(f"image {name!r} must be of shape (N, H, W, 1, 3 or 4); got {image.shape}")
        if image.dtype.kind in "iu":
            image = np.clip(image, 0, 255).astype(np.uint8)
        else:
            image = np.rint(np.clip(np.nan_to_num(image), 0.0, 1.0) * 255.0).astype(np.uint8)
        self._tell("put_image", name, image, int(step))

    def put_histogram(self, name: str, values: np.ndarray, step: int) -> None:
        """Log the distribution of some numbers, of any shape."""
        self._tell("put_histogram", name, np.asarray(values, dtype=np.float64), int(step))

    def put_event(self, kind: str, content: dict[str, Any], step: int) -> None:
        """Log an event (see `Monitor.put_event`); ``"epoch"`` flushes all monitors."""
        self._tell("put_event", kind, content, int(step))
        if kind == "epoch":
            self.flush()

    def latest(self, name: str) -> float:
        """The last value of a scalar.

        Raises:
            TensorNameError: No scalar of that name was logged yet; names the nearest.
        """
        values = self.history.get(name)
        if not values:
            raise TensorNameError(f"no scalar {name!r} was logged yet. {closest(name, list(self.history))}")
        return values[-1][1]

    def listen(self, listener: Callable[[str, float, int], None]) -> None:
        """Call `listener(name, value, step)` whenever a scalar is put, within that call."""
        self._listeners.append(listener)

    @contextlib.contextmanager
    def silenced(self) -> Iterator[None]:
        """Scope in which all that is put is dropped."""
        self._silent = True
        try:
            yield
        finally:
            self._silent = False

    def flush(self) -> None:
        """Flush all monitors."""
        for delivery in self._deliveries:
            delivery.flush()

    def close(self) -> None:
        """Close all monitors."""
        for delivery in self._deliveries:
            delivery.close()

    def state_dict(self) -> dict[str, Any]:
        """The history and each monitor's position, for a checkpoint."""
        self.flush()
        return {
            "history": {name: [list(pair) for pair in values] for name, values in self.history.items()},
            "monitors": [(_identity(delivery.monitor), delivery.state) for delivery in self._deliveries],
            "missed": [list(delivery.calls) for delivery in self._deliveries],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the history of a checkpoint, and have each monitor drop what was logged after it."""
        self.history.clear()
        for name, values in state["history"].items():
            self.history[name] = [(int(step), float(value)) for step, value in values]
        missed = state.get("missed") or [[] for _ in state["monitors"]]
        saved = [(name, position, calls) for (name, position), calls in zip(state["monitors"], missed, strict=True)]
        # Matched by class and file, not by place in the list, which changes when a monitor is added. Each state is
        # given once: of two monitors of one class without a file the first takes the first.
        for delivery in self._deliveries:
            known = _identity(delivery.monitor), delivery.monitor.name  # earlier versions had the name alone
            for entry in saved:
                if entry[0] in known:
                    delivery.load(dict(entry[1]), entry[2])
                    saved.remove(entry)
                    break

    def _tell(self, method: str, *args: object) -> None:
        if not self._silent:
            for delivery in self._deliveries:
                delivery.tell(method, *args)


def _two_writers(one: object, other: object, name: str, when: str = "") -> ConfigError:
    names = getattr(one, "name", repr(one)), getattr(other, "name", repr(other))
    both = f"two callbacks named {names[0]}" if names[0] == names[1] else f"{names[0]} and {names[1]}"
    return ConfigError(
        f"{both} log the same scalar {name!r}{when}: a curve of two values, and what watches it would take either. "
        'Give one of them another name: InferenceRunner(..., prefix="test"), or one runner for several dataflows, '
        "InferenceRunner({'validation': ds, 'test': other}, ...)."
    )


def _check_files(monitors: Sequence[Monitor]) -> None:
    """Refuse two monitors that would write into each other's file."""
    writers: dict[str, Monitor] = {}
    for monitor in monitors:
        target = _target(monitor)
        if target and writers.setdefault(target, monitor) is not monitor:
            raise ConfigError(
                f"{writers[target].name} and {monitor.name} both write {target!r}: give one another name, or drop it."
            )


def _target(monitor: Monitor) -> str:
    """The file or folder that a monitor writes, by its attribute ``filename`` or ``folder``; else empty."""
    return str(getattr(monitor, "filename", None) or getattr(monitor, "folder", None) or "")


def _identity(monitor: Monitor) -> str:
    """A monitor's name in checkpoints: its class, and its file or folder if it has one."""
    target = _target(monitor)
    return f"{monitor.name}({target})" if target else monitor.name
