"""Counts of right and wrong classes, against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from flowtrain.metrics import BinaryCounts, confusion_matrix, top_k_errors
from flowtrain.utils import FlowtrainError


def test_top_k_counts_a_tie_as_wrong():
    scores = np.array([[0.5, 0.5, 0.0], [0.9, 0.1, 0.0], [np.nan, 0.2, 0.1]])
    assert top_k_errors(scores, np.array([0, 0, 0])).tolist() == [True, False, True]
    assert top_k_errors(scores, np.array([0, 1, 1]), k=2).tolist() == [False, False, False]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
def test_confusion_matrix_equals_scikit_learn(pairs):
    labels, predictions = np.array(pairs).T
    expected = reference.confusion_matrix(labels, predictions, labels=range(4))
    assert np.array_equal(confusion_matrix(labels, predictions, 4), expected)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40), st.integers(0, 40))
def test_binary_rates_equal_scikit_learn_in_any_batches(pairs, cut):
    labels, predictions = np.array(pairs).T
    counts = BinaryCounts()
    counts.add(labels[:cut], predictions[:cut])
    counts.add(labels[cut:], predictions[cut:])
    assert counts.total == len(pairs)
    assert counts.accuracy == pytest.approx(reference.accuracy_score(labels, predictions))
    for mine, theirs in (
        (counts.precision, reference.precision_score),
        (counts.recall, reference.recall_score),
        (counts.f1, reference.f1_score),
        (counts.iou, reference.jaccard_score),
    ):
        assert mine == pytest.approx(theirs(labels, predictions, zero_division=0))


@pytest.mark.parametrize(
    "call,words",
    [
        (lambda: top_k_errors(np.zeros((3, 2)), np.zeros(4)), ["(3, 2)", "(4,)"]),
        (lambda: top_k_errors(np.zeros((3, 2)), np.array([0, 1, 2])), ["0 to 1"]),
        (lambda: confusion_matrix([0.5], [1], 2), ["whole numbers"]),
        (lambda: confusion_matrix([0], [1, 1], 2), ["(1,)", "(2,)"]),
    ],
)
def test_mistakes_are_named(call, words):
    with pytest.raises(FlowtrainError) as caught:
        call()
    for word in words:
        assert word in str(caught.value)
