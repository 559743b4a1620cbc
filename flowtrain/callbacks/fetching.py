"""Callbacks that fetch tensors of the training graph at some steps; the other steps do not compute them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flowtrain.utils.arguments import check_int, check_names, if_given, old_spellings
from flowtrain.utils.errors import ConfigError
from flowtrain.utils.files import write_whole
from flowtrain.utils.storage import in_run

from .base import Callback
from .periodic import last_step_of_epoch, next_multiple

__all__ = ["DumpTensorAsImage", "DumpTensors", "FetchingCallback", "ProcessTensors", "TensorPrinter"]

logger = logging.getLogger("flowtrain.callbacks")


class FetchingCallback(Callback):
    """Fetches named tensors at every k-th step, or at the last step of each epoch, for a subclass's `process`.

    Args:
        names: Names of tensors of the training graph.
        every_k_steps: k; None: the last step of each epoch.

    Raises:
        ConfigError: `names` is not a list of strings, or k is not a whole number from 1.

    Example:
        >>> class Norm(FetchingCallback):
        ...     def process(self, values):
        ...         self.trainer.monitors.put_scalar("norm", np.linalg.norm(values[0]), self.global_step)
        >>> Norm(["conv1/output"], every_k_steps=100)
        Norm
    """

    def __init__(self, names: Sequence[str], every_k_steps: int | None = None) -> None:
        self.names = check_names(type(self).__name__, "names", names)
        if_given(check_int, type(self).__name__, "every_k_steps", every_k_steps)
        self.every_k_steps = every_k_steps
        super().__init__()

    def process(self, values: list[Any]) -> None:
        """Take the fetched arrays, in the order of `names`."""
        raise NotImplementedError(f"{type(self).__name__} must define process(self, values).")

    def before_run(self) -> Sequence[str]:
        return self.names  # always: it is only called at the steps of next_step

    def after_run(self, values: dict[str, Any]) -> None:
        self.process([values[name] for name in self.names])

    def next_step(self) -> float:
        if self.every_k_steps is not None:
            return next_multiple(self.global_step, self.every_k_steps)
        return last_step_of_epoch(self)


@old_spellings(fn="function")
class ProcessTensors(FetchingCallback):
    """Calls a function with fetched tensors.

    Args:
        names: Names of tensors of the training graph.
        function: Takes the arrays, one argument each.
        every_k_steps: k; None: the last step of each epoch.

    Example:
        >>> ProcessTensors(["prediction/output"], lambda output: print(output.mean()), every_k_steps=100)
        ProcessTensors
    """

    def __init__(self, names: Sequence[str], function: Callable[..., Any], every_k_steps: int | None = None) -> None:
        super().__init__(names, every_k_steps)
        self.function = function

    def process(self, values: list[Any]) -> None:
        self.function(*values)


class TensorPrinter(FetchingCallback):
    """Logs fetched tensors: the values of up to 8 elements, else dtype, shape, range and mean.

    Args:
        names: Names of tensors of the training graph.
        every_k_steps: k; None: the last step of each epoch.

    Example:
        >>> TensorPrinter(["conv1/output"], every_k_steps=10)
        TensorPrinter
    """

    def process(self, values: list[Any]) -> None:
        for name, value in zip(self.names, values, strict=True):
            array = np.asarray(value)
            if array.size <= 8:
                logger.info("step %d: %s = %s", self.global_step, name, np.array2string(array, precision=6))
            else:
                low, high, mean = array.min(), array.max(), array.mean()
                logger.info(
                    "step %d: %s is %s of shape %s in [%.6g, %.6g], mean %.6g",
                    self.global_step, name, array.dtype, array.shape, low, high, mean,
                )  # fmt: skip


class DumpTensors(FetchingCallback):
    """Writes fetched tensors to ``<folder>/step-000100.npz``.

    Args:
        names: Names of tensors of the training graph, and of the arrays in the file.
        every_k_steps: k; None: the last step of each epoch.
        folder: A folder inside the run's folder.

    Example:
        >>> DumpTensors(["prediction/output"], every_k_steps=1000)
        DumpTensors
    """

    def __init__(self, names: Sequence[str], every_k_steps: int | None = None, folder: str = "tensors") -> None:
        super().__init__(names, every_k_steps)
        self.folder = in_run(folder, "the folder of DumpTensors")

    def setup_graph(self) -> None:
        self._path = self.trainer.claim_file(self.folder, self)

    def process(self, values: list[Any]) -> None:
        self._path.mkdir(parents=True, exist_ok=True)
        arrays = dict(zip(self.names, values, strict=True))
        np.savez(self._path / f"step-{self.global_step:06d}.npz", **arrays)


@old_spellings(tensor_name="name")
class DumpTensorAsImage(FetchingCallback):
    """Writes pictures that a tensor holds as PNG files into the run's folder.

    Args:
        name: Name of the tensor: pictures (N, H, W, C) or (H, W, C), C being 1 (gray) or 3 (RGB).
        prefix: The files are ``<prefix>-step-000100-0.png``; None: made from the name.
        map_func: Applied to the array first; returns uint8, or floats in [0, 1] (clipped to that range).
        every_k_steps: k; None: the last step of each epoch.
        max_images: How many pictures of the batch to write.

    Example:
        >>> DumpTensorAsImage("prediction/output", map_func=lambda x: x / 2 + 0.5)
        DumpTensorAsImage
    """

    def __init__(
        self,
        name: str,
        prefix: str | None = None,
        map_func: Callable[[np.ndarray], np.ndarray] | None = None,
        every_k_steps: int | None = None,
        max_images: int = 10,
    ) -> None:
        super().__init__([name], every_k_steps)
        self.prefix = prefix or name.replace("/", "-").replace(":", "-")
        self.map_func, self.max_images = map_func, max_images

    def setup_graph(self) -> None:
        # The prefix stands for all files, whose names have the step in them: a second callback with it is refused.
        self._path: Path = self.trainer.claim_file(self.prefix, self).parent

    def process(self, values: list[Any]) -> None:
        import cv2

        array = np.asarray(self.map_func(values[0]) if self.map_func is not None else values[0])
        array = array[None] if array.ndim == 3 else array
        if array.ndim != 4 or array.shape[-1] not in (1, 3):
            raise ConfigError(
                f"{self.name}: {self.names[0]!r} has shape {array.shape}; expected pictures (N, H, W, 1 or 3). "
                "Make them with map_func."
            )
        if array.dtype != np.uint8:
            array = np.rint(np.clip(array, 0.0, 1.0) * 255.0).astype(np.uint8)
        for index, picture in enumerate(array[: self.max_images]):
            path = self._path / f"{self.prefix}-step-{self.global_step:06d}-{index}.png"
            _, encoded = cv2.imencode(".png", np.ascontiguousarray(picture[..., ::-1]))
            write_whole(path, encoded.tobytes(), durable=False)  # cv2.imwrite does not report a full disk
