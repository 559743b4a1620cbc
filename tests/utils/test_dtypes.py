"""Names of dtypes, as files and messages hold them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from flowtrain.utils.dtypes import array_from_bytes, dtype_from_text, dtype_to_text

plain = st.one_of(hnp.scalar_dtypes(), hnp.byte_string_dtypes(), hnp.unicode_string_dtypes())
structured = st.recursive(
    plain, lambda inner: hnp.array_dtypes(inner, allow_subarrays=True, max_size=3), max_leaves=6
).filter(lambda dtype: dtype.subdtype is None)


@given(st.one_of(plain, structured))
def test_a_dtype_and_its_text(dtype):
    assert dtype_from_text(dtype_to_text(dtype)) == dtype


@given(st.one_of(st.text(max_size=30), structured.map(dtype_to_text)), st.data())
def test_any_text_names_plain_bytes_or_is_refused(text, data):
    if text:
        place = data.draw(st.integers(0, len(text) - 1))
        text = text[:place] + data.draw(st.text("[](),'\"\\|<>OTVSUfiM8 0129", max_size=3)) + text[place + 1 :]
    try:
        dtype = dtype_from_text(text)
    except ValueError:
        return
    assert not dtype.hasobject and dtype.kind != "T"


def test_numpy_reads_the_texts_too():
    dtype = np.dtype([("x", "<f4"), ("y", "<i2", (3,))])
    assert dtype_to_text(dtype) == "[('x', '<f4'), ('y', '<i2', (3,))]"
    assert dtype_from_text('[("x","<f4"),("y","<i2",(3)),]') == dtype


@pytest.mark.parametrize("shape", [(3,), (-2,), (2.0,), (True, 2), (2**40, 2**40), ("2",)])
def test_bytes_that_do_not_fill_the_array(shape):
    with pytest.raises(ValueError):
        array_from_bytes(np.dtype("<f4"), shape, bytes(8))


@pytest.mark.parametrize("text", ["<M8[0ns]", "m8[00s]", "M8[01s]", "M8[-1s]", "[('a', '<M8[0ns]')]"])
def test_a_unit_of_zero_is_none(text):
    """NumPy takes it, and divides by zero when it converts a time to it, which ends the process."""
    with pytest.raises(ValueError, match="not the name of a dtype"):
        dtype_from_text(text)
