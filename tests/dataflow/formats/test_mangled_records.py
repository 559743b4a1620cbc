"""Records of the formats that hold whole datapoints: damaged ones are a FormatError and nothing else."""

from __future__ import annotations

import contextlib

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowtrain.dataflow.formats.example import encode_example
from flowtrain.dataflow.formats.records import LAYOUT, decode_datapoint, encode_datapoint
from flowtrain.dataflow.formats.tensorpack import parse_value
from flowtrain.utils.errors import FormatError


def tensorpack_array(**changes):
    array = {b"nd": True, b"type": "<f4", b"kind": b"", b"shape": [2], b"data": bytes(8)}
    return msgpack.packb({**array, **{key.encode(): value for key, value in changes.items()}})


RECORDS = {
    decode_datapoint: encode_datapoint([np.arange(4.0), 3, b"x", "y", 2.5, {"a": {"b": np.zeros((2, 2), "u1")}}]),
    parse_value: msgpack.packb([msgpack.unpackb(tensorpack_array()), {b"complex": True, b"data": "1+2j"}, [1, "a"]]),
}


@given(
    st.sampled_from(list(RECORDS)),
    st.lists(st.tuples(st.integers(0, 1000), st.binary(max_size=2), st.integers(0, 3)), min_size=1, max_size=4),
)
@settings(deadline=None)
def test_mangled(parse, edits):
    record = RECORDS[parse]
    parse(record)
    for place, new, removed in edits:
        place %= len(record) + 1
        record = record[:place] + new + record[place + removed :]
    with contextlib.suppress(FormatError):
        parse(record)


@pytest.mark.parametrize(
    ("layout", "features", "message"),
    [
        (["i"], {"0": [1, 2]}, "feature '0' is not what its layout says: too many values"),
        (["t"], {"0": [1]}, "numbers where bytes are expected"),
        (["i"], {"0": [b"x"]}, "invalid literal"),
        (["i", "i"], {"0": [1]}, "feature '1' .* it is missing"),
        (["s"], {"0": [b"\xff"]}, "codec can't decode"),
        (["m"], {"0": [b"\xc1"]}, "not a message of this codec"),
        (["x"], {"0": [1]}, "unknown kind: 'x'"),
        (["ti"], {"0": [1]}, "unknown kind: 'ti'"),
        ([None], {"0": [1]}, "unknown kind: 'None'"),
        ([["i"]], {"0": [1]}, "unknown kind"),
        ({1: "i"}, {"1": [1]}, "is damaged: int is not allowed"),
    ],
)
def test_layouts_that_do_not_fit(layout, features, message):
    record = encode_example({LAYOUT: msgpack.packb([1, layout]), **features})
    with pytest.raises(FormatError, match=message):
        decode_datapoint(record)


@pytest.mark.parametrize("mark", [b"", b"\x92\x01", msgpack.packb([1]), msgpack.packb(5), msgpack.packb([2, []])])
def test_layouts_that_are_none(mark):
    with pytest.raises(FormatError, match=r"is damaged|version 2"):
        decode_datapoint(encode_example({LAYOUT: mark}))


def test_a_layout_that_nests_too_deep():
    layout = "i"
    for _ in range(900):
        layout = {"a": layout}
    with pytest.raises(FormatError, match="more than 200 deep"):
        decode_datapoint(encode_example({LAYOUT: msgpack.packb([1, layout])}))


@pytest.mark.parametrize(
    "changes",
    [
        {"type": "O"}, {"type": "T"}, {"type": "ml_dtypes.finfo"}, {"type": [["a", "O"]]}, {"type": [5]},
        {"type": None},
        {"shape": [3]}, {"shape": [1]}, {"shape": [-2]}, {"shape": None}, {"shape": [2.0]}, {"shape": [2**62, 2**62]},
        {"data": "text"}, {"data": None}, {"data": b""}, {"kind": b"O"},
        {"type": "<U2", "shape": [1], "data": b"\xff" * 8},
        {"nd": False, "data": b""}, {"complex": True, "data": "import os"}, {"complex": True, "data": 5},
    ],
)  # fmt: skip
def test_tensorpack_arrays_that_do_not_fit(changes):
    with pytest.raises(FormatError):
        parse_value(tensorpack_array(**changes))
