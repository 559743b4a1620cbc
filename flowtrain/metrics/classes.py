"""Classification errors, confusion matrix and binary counts, in NumPy: counts of batches add up exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flowtrain.utils.arguments import names_arguments
from flowtrain.utils.errors import ConfigError

__all__ = ["BinaryCounts", "confusion_matrix", "top_k_errors"]


@names_arguments
def top_k_errors(scores: npt.ArrayLike, labels: npt.ArrayLike, k: int = 1) -> np.ndarray:
    """Top-k errors: which samples do not have their true class among the k highest scores.

    A tie counts as an error, and so does NaN: a network that gives every class the same score has not classified
    anything.

    Args:
        scores: (N, classes), logits or probabilities.
        labels: (N,) true classes, integers.
        k: Number of guesses allowed.

    Returns:
        bool (N,): True for an error.

    Raises:
        ConfigError: The shapes do not fit, or a label is not a class.

    Example:
        >>> top_k_errors(np.array([[0.1, 0.9], [0.8, 0.2]]), np.array([1, 1]))
        array([False,  True])
    """
    scores, labels = np.asarray(scores), np.asarray(labels)
    if scores.ndim != 2 or labels.shape != scores.shape[:1]:
        raise ConfigError(
            f"top_k_errors: scores {scores.shape} and labels {labels.shape}; expected (N, classes) and (N,)."
        )
    _check_labels(labels, scores.shape[1], "top_k_errors")
    own = np.take_along_axis(scores, labels[:, None].astype(np.int64), axis=1)
    # Not ``scores >= own``: comparisons with NaN are False, and a NaN has to count against the sample.
    not_below = ~(scores < own)
    return not_below.sum(axis=1) > k  # the true class is among them: k of them are allowed, itself included


def confusion_matrix(labels: npt.ArrayLike, predictions: npt.ArrayLike, num_classes: int) -> np.ndarray:
    """The confusion matrix: how often each true class was predicted as each class.

    Args:
        labels: True classes, integers of any shape.
        predictions: Predicted classes, of the same shape.
        num_classes: Number of classes.

    Returns:
        int64 (num_classes, num_classes): row is the true class, column the predicted one.

    Raises:
        ConfigError: The shapes differ, or a value is not a class.

    Example:
        >>> confusion_matrix([0, 1, 1], [0, 0, 1], num_classes=2)
        array([[1, 0],
               [1, 1]])
    """
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    if labels.shape != predictions.shape:
        raise ConfigError(
            f"confusion_matrix: labels {labels.shape} and predictions {predictions.shape}; expected equal shapes."
        )
    for values in (labels, predictions):
        _check_labels(values, num_classes, "confusion_matrix")
    # Each pair of classes as one number, so that one bincount counts all cells of the matrix.
    flat = labels.astype(np.int64).ravel() * num_classes + predictions.astype(np.int64).ravel()
    return np.bincount(flat, minlength=num_classes**2).reshape(num_classes, num_classes)


def _check_labels(labels: np.ndarray, num_classes: int, metric: str) -> None:
    if labels.size and not np.array_equal(labels, np.floor(labels)):
        raise ConfigError(f"{metric}: classes must be whole numbers, got dtype {labels.dtype}.")
    if labels.size and not 0 <= labels.min() <= labels.max() < num_classes:
        raise ConfigError(
            f"{metric}: classes run from {labels.min()} to {labels.max()}; "
            f"expected 0 to {num_classes - 1} for {num_classes} classes."
        )


@dataclass
class BinaryCounts:
    """Counts of a binary classifier's true and false positives and negatives, and the rates made from them.

    A rate whose denominator is zero (precision without a single positive prediction) is 0.0.

    Args:
        tp: True positives.
        fp: False positives: label 0, prediction 1.
        fn: False negatives: label 1, prediction 0.
        tn: True negatives.

    Example:
        >>> counts = BinaryCounts()
        >>> counts.add(labels=np.array([1, 1, 0, 0]), predictions=np.array([1, 0, 1, 0]))
        >>> counts.precision, counts.recall, counts.iou
        (0.5, 0.5, 0.3333333333333333)
    """

    tp: int = 0
    fp: int = 0
    fn: int = 0
    tn: int = 0

    def add(self, labels: npt.ArrayLike, predictions: npt.ArrayLike) -> None:
        """Add the counts of a batch: 0/1 or bool labels and predictions of equal shape."""
        (tn, fp), (fn, tp) = confusion_matrix(labels, predictions, 2)
        self.tp, self.fp = self.tp + int(tp), self.fp + int(fp)
        self.fn, self.tn = self.fn + int(fn), self.tn + int(tn)

    @property
    def total(self) -> int:
        """Number of predictions counted."""
        return self.tp + self.fp + self.fn + self.tn

    @property
    def accuracy(self) -> float:
        """Fraction of predictions that are right."""
        return _share(self.tp + self.tn, self.total)

    @property
    def precision(self) -> float:
        """Fraction of positive predictions that are right."""
        return _share(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float:
        """Fraction of positive labels that were predicted."""
        return _share(self.tp, self.tp + self.fn)

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall."""
        return _share(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def iou(self) -> float:
        """Intersection over union of positive labels and positive predictions (the Jaccard index)."""
        return _share(self.tp, self.tp + self.fp + self.fn)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
