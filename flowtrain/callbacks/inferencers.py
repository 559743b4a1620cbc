"""Inferencers: compute scalars over a validation set (mean, error rate, PSNR, ...) from the outputs of its batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from flowtrain.metrics import BinaryCounts, psnr, ssim, top_k_errors
from flowtrain.utils.arguments import NamesArguments, old_spellings
from flowtrain.utils.errors import ConfigError

from .base import TrainerView
from .check import check_methods

__all__ = [
    "BinaryClassificationStats",
    "ClassificationError",
    "ImageStats",
    "Inferencer",
    "MetricStats",
    "ScalarStats",
    "check_inferencer",
]


class Inferencer(NamesArguments):
    """Base class: gets the outputs of every batch of a validation set and returns scalars at its end.

    `InferenceRunner` logs a scalar ``x`` as ``validation_x``: with its own prefix, or the inferencer's if it has one.

    Example:
        >>> class LargestError(Inferencer):
        ...     def get_fetches(self):
        ...         return ["prediction/output", "ab"]
        ...     def before_inference(self):
        ...         self.largest = 0.0
        ...     def on_fetches(self, outputs):
        ...         self.largest = max(self.largest, np.abs(outputs[0] - outputs[1]).max())
        ...     def after_inference(self):
        ...         return {"largest_error": self.largest}
    """

    trainer: TrainerView
    prefix: str | None = None
    batch_size: int = 0
    """Number of datapoints in the current batch; the last batch may be short."""

    def __getstate__(self) -> dict[str, Any]:
        """Leave the trainer out of copies and pickles."""
        return {name: value for name, value in vars(self).items() if name != "trainer"}

    def get_fetches(self) -> Sequence[str]:
        """The names of the tensors to compute."""
        raise NotImplementedError(f"{type(self).__name__} must define get_fetches(self).")

    def logged_names(self) -> Sequence[str]:
        """Names of the scalars that `after_inference` returns, if known beforehand: duplicates are refused early."""
        return ()

    def before_inference(self) -> None:
        """Before the first batch of a validation."""

    def on_fetches(self, outputs: list[np.ndarray]) -> None:
        """After each batch, with the arrays in the order of `get_fetches`."""
        raise NotImplementedError(f"{type(self).__name__} must define on_fetches(self, outputs).")

    def after_inference(self) -> dict[str, float] | None:
        """After the last batch: return the scalars to log, by name."""


_CALLS: dict[str, tuple[str, ...]] = {
    "get_fetches": (),
    "logged_names": (),
    "before_inference": (),
    "on_fetches": ("outputs",),
    "after_inference": (),
}
_OTHER_SPELLINGS = {
    **{f"_{name}": name for name in _CALLS},
    "_get_output_tensors": "get_fetches",
    "get_output_tensors": "get_fetches",
    "_datapoint": "on_fetches",
    "datapoint": "on_fetches",
    "_before_epoch": "before_inference",
    "_after_epoch": "after_inference",
}


def check_inferencer(inferencer: object) -> None:
    """Refuse an object that is not an Inferencer, or has misspelt methods or wrong signatures.

    Raises:
        ConfigError: It is so; says what to write instead.
    """
    check_methods(inferencer, Inferencer, _CALLS, _OTHER_SPELLINGS)


class ScalarStats(Inferencer):
    """The mean of scalar tensors over a validation set, such as the cost.

    Each batch is weighted by its number of datapoints: a scalar that is the mean over its batch becomes the mean over
    all datapoints, also with a short last batch.

    Args:
        names: Name of a tensor, or several.
        prefix: Replaces the runner's prefix ``validation``.

    Example:
        >>> ScalarStats("l2_loss")  # logged as validation_l2_loss  # doctest: +SKIP
    """

    def __init__(self, names: str | Sequence[str], prefix: str | None = None) -> None:
        self.names = [names] if isinstance(names, str) else list(names)
        self.prefix = prefix

    def get_fetches(self) -> Sequence[str]:
        return self.names

    def logged_names(self) -> Sequence[str]:
        return [name.removesuffix(":0") for name in self.names]

    def before_inference(self) -> None:
        self._sums = np.zeros(len(self.names))
        self._count = 0

    def on_fetches(self, outputs: list[np.ndarray]) -> None:
        for name, value in zip(self.names, outputs, strict=True):
            if np.ndim(value) != 0:
                raise ConfigError(
                    f"ScalarStats takes scalars; {name!r} has shape {np.shape(value)}. Reduce it in build_graph, "
                    "or write an Inferencer."
                )
        # float64, since a float32 sum over thousands of batches would lose the last digits of each.
        self._sums += self.batch_size * np.array(outputs, np.float64)
        self._count += self.batch_size

    def after_inference(self) -> dict[str, float]:
        means = self._sums / max(self._count, 1)
        return {name: float(mean) for name, mean in zip(self.logged_names(), means, strict=True)}


class _Mean(Inferencer):
    """Base class: the mean of a number over all datapoints; `on_fetches` adds to `_sum` and `_count`."""

    name: str

    def logged_names(self) -> Sequence[str]:
        return [self.name]

    def before_inference(self) -> None:
        self._sum, self._count = 0.0, 0

    def after_inference(self) -> dict[str, float]:
        return {self.name: self._sum / max(self._count, 1)}


@old_spellings(wrong_tensor_name="wrong", summary_name="name")
class ClassificationError(_Mean):
    """The error rate of a classifier: wrong datapoints / all datapoints.

    Args:
        wrong: Name of a vector (N,), 0 or False where the classification is right.
        logits: Name of the scores (N, classes); with `labels`, instead of `wrong`.
        labels: Name of the true classes (N,).
        k: With `logits`: a datapoint is right if its true class is among the k highest scores.
        name: Logged as ``validation_<name>``.

    Raises:
        ConfigError: Not exactly one of `wrong` and (`logits`, `labels`) is given.

    Example:
        >>> ClassificationError(logits="logits/output", labels="label")  # doctest: +SKIP
    """

    def __init__(
        self,
        wrong: str | None = None,
        *,
        logits: str | None = None,
        labels: str | None = None,
        k: int = 1,
        name: str = "error",
    ) -> None:
        if (logits is None) != (labels is None) or (wrong is None) == (logits is None):
            raise ConfigError(
                'ClassificationError takes the name of a vector of 0s and 1s, ClassificationError("wrong"), '
                'or two names, ClassificationError(logits="...", labels="...").'
            )
        self.wrong, self.logits, self.labels, self.k, self.name = wrong, logits, labels, k, name

    def get_fetches(self) -> Sequence[str]:
        return [name for name in (self.wrong, self.logits, self.labels) if name is not None]

    def on_fetches(self, outputs: list[np.ndarray]) -> None:
        wrong = np.asarray(outputs[0]) if self.wrong is not None else top_k_errors(outputs[0], outputs[1], self.k)
        if wrong.ndim != 1:
            raise ConfigError(
                f"ClassificationError takes a vector with one number per datapoint; {self.wrong!r} has shape "
                f"{wrong.shape}."
            )
        self._sum += int(np.count_nonzero(wrong))
        self._count += wrong.size


@old_spellings(pred_tensor_name="prediction", label_tensor_name="label")
class BinaryClassificationStats(Inferencer):
    """Accuracy, precision, recall, F1 and IoU of a binary classification, from counts over all elements.

    Args:
        prediction: Name of the predictions: 0/1, or probabilities, of any shape.
        label: Name of the true values, 0/1, of the same shape.
        threshold: Predictions above it are positive.
        prefix: Replaces the runner's prefix ``validation``.

    Example:
        >>> BinaryClassificationStats("probability", "label")  # validation_precision, ...  # doctest: +SKIP
    """

    def __init__(self, prediction: str, label: str, threshold: float = 0.5, prefix: str | None = None) -> None:
        self.prediction, self.label, self.threshold, self.prefix = prediction, label, threshold, prefix

    def get_fetches(self) -> Sequence[str]:
        return [self.prediction, self.label]

    def logged_names(self) -> Sequence[str]:
        return ["accuracy", "precision", "recall", "f1", "iou"]

    def before_inference(self) -> None:
        # Counts and not means over batches: the precision of a set is not the mean of its batches' precisions.
        self.counts = BinaryCounts()

    def on_fetches(self, outputs: list[np.ndarray]) -> None:
        self.counts.add(labels=outputs[1], predictions=np.asarray(outputs[0]) > self.threshold)

    def after_inference(self) -> dict[str, float]:
        return {name: getattr(self.counts, name) for name in self.logged_names()}


class ImageStats(Inferencer):
    """Mean PSNR (dB) and SSIM over pictures: the mean of each picture's value.

    Args:
        reference: Name of the true pictures (N, H, W, C).
        image: Name of the pictures to compare with them, of the same shape.
        data_range: The distance from black to white, such as 1.0 or 255.
        ssim: Compute SSIM too; it takes longer than PSNR.
        prefix: Replaces the runner's prefix ``validation``.

    Example:
        >>> ImageStats("clean", "denoised", data_range=1.0)  # validation_psnr, validation_ssim  # doctest: +SKIP
    """

    def __init__(
        self, reference: str, image: str, *, data_range: float, ssim: bool = True, prefix: str | None = None
    ) -> None:
        self.reference, self.image, self.prefix = reference, image, prefix
        self.data_range, self.ssim = data_range, ssim

    def get_fetches(self) -> Sequence[str]:
        return [self.reference, self.image]

    def logged_names(self) -> Sequence[str]:
        return ["psnr", "ssim"] if self.ssim else ["psnr"]

    def before_inference(self) -> None:
        self._psnr: list[float] = []
        self._ssim: list[float] = []

    def on_fetches(self, outputs: list[np.ndarray]) -> None:
        options = {"data_range": self.data_range, "per_image": True}
        self._psnr += psnr(outputs[0], outputs[1], **options).tolist()
        if self.ssim:
            self._ssim += ssim(outputs[0], outputs[1], **options).tolist()

    def after_inference(self) -> dict[str, float]:
        stats = {"psnr": float(np.mean(self._psnr))}
        return {**stats, "ssim": float(np.mean(self._ssim))} if self.ssim else stats


class MetricStats(_Mean):
    """The mean of a function of arrays over a validation set.

    Args:
        function: Takes the arrays of a batch, in the order of `tensors`. Returns one number for each datapoint, (N,);
            or one number for the batch, which is weighted by its number of datapoints.
        tensors: Names of the tensors that it takes.
        name: Logged as ``validation_<name>``; None: the function's name.
        prefix: Replaces the runner's prefix ``validation``.

    Raises:
        ConfigError: `function` is not callable, or returns an array of another shape.

    Example:
        >>> def largest_error(clean, denoised):
        ...     return np.abs(clean - denoised).max(axis=(1, 2, 3))
        >>> MetricStats(largest_error, ["clean", "denoised"])  # validation_largest_error  # doctest: +SKIP
    """

    def __init__(
        self,
        function: Callable[..., Any],
        tensors: str | Sequence[str],
        *,
        name: str | None = None,
        prefix: str | None = None,
    ) -> None:
        if not callable(function):
            raise ConfigError(f"MetricStats takes a function of arrays, got {function!r:.80}.")
        self.function, self.prefix = function, prefix
        self.tensors = [tensors] if isinstance(tensors, str) else list(tensors)
        own = getattr(function, "__name__", type(function).__name__)
        self.name = name or ("metric" if own == "<lambda>" else own)

    def get_fetches(self) -> Sequence[str]:
        return self.tensors

    def on_fetches(self, outputs: list[np.ndarray]) -> None:
        values = np.asarray(self.function(*outputs), np.float64)
        if values.shape not in ((), (self.batch_size,)):
            raise ConfigError(
                f"MetricStats: {self.name} of {self.batch_size} datapoints has shape {values.shape}; it is one number, "
                f"or one for each, ({self.batch_size},)."
            )
        self._sum += float(values.sum()) if values.ndim else float(values) * self.batch_size
        self._count += self.batch_size
