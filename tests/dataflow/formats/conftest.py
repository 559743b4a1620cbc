from __future__ import annotations

import numpy as np
import pytest


def assert_same(given, found, where="value"):
    """Equal in value, type, dtype, shape and order of keys."""
    assert type(given) is type(found), where
    if isinstance(given, np.ndarray):
        assert given.dtype == found.dtype and given.shape == found.shape, where
        if given.dtype.kind in "OT":
            for a, b in zip(given.ravel().tolist(), found.ravel().tolist(), strict=True):
                assert_same(a, b, where)
        else:
            np.testing.assert_array_equal(given, found)
    elif isinstance(given, (list, tuple)):
        assert len(given) == len(found), where
        for i, (a, b) in enumerate(zip(given, found, strict=True)):
            assert_same(a, b, f"{where}[{i}]")
    elif isinstance(given, dict):
        assert list(given) == list(found), where
        for key in given:
            assert_same(given[key], found[key], f"{where}[{key!r}]")
    elif isinstance(given, (float, np.floating, np.datetime64, np.timedelta64)) and given != given:
        assert found != found, where
    else:
        assert given == found, where


@pytest.fixture
def same():
    return assert_same
