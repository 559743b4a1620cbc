"""TFRecord, Example and SequenceExample beside TensorFlow: both read the same, or flowtrain raises FormatError."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf.message import DecodeError
from hypothesis import example, given
from hypothesis import strategies as st

from flowtrain.dataflow import BatchData
from flowtrain.dataflow.formats import TFRecordData, TFRecordWriter, encode_example, parse_example
from flowtrain.utils.errors import DataFlowError, FormatError

from .tries import tries

integers = st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3)
floats = st.lists(st.floats(width=32, allow_nan=False), max_size=3)
texts = st.lists(st.binary(max_size=4), max_size=3)
values = st.one_of(st.tuples(st.just("int64"), integers), st.tuples(st.just("float"), floats),
                   st.tuples(st.just("bytes"), texts), st.none())  # fmt: skip
names = st.text(max_size=3)


def fill(feature, value):
    if value is not None:
        kind, items = value
        getattr(feature, f"{kind}_list").SetInParent()
        getattr(feature, f"{kind}_list").value.extend(items)


@st.composite
def messages(draw):
    """A SequenceExample, or an Example, serialized."""
    context = draw(st.dictionaries(names, values, max_size=3))
    sequences = draw(st.none() | st.dictionaries(names, st.lists(values, max_size=3), max_size=2))
    if sequences is None:
        proto = tf.train.Example()
        for name, value in context.items():
            fill(proto.features.feature[name], value)
        return proto.SerializeToString()
    proto = tf.train.SequenceExample()
    for name, value in context.items():
        fill(proto.context.feature[name], value)
    for name, steps in sequences.items():
        proto.feature_lists.feature_list[name].SetInParent()
        for value in steps:
            fill(proto.feature_lists.feature_list[name].feature.add(), value)
    return proto.SerializeToString()


def theirs(record):
    """What TensorFlow reads, as flowtrain's page says it comes: an Example is a SequenceExample without sequences."""
    proto = tf.train.SequenceExample.FromString(record)
    context = {name: of_feature(feature) for name, feature in proto.context.feature.items()}
    lists = proto.feature_lists.feature_list.items()
    return context, {name: [of_feature(one) for one in steps.feature] for name, steps in lists}


def of_feature(feature):
    kind = feature.WhichOneof("kind")
    if kind is None or kind == "bytes_list":
        return list(feature.bytes_list.value)
    dtype = np.int64 if kind == "int64_list" else np.float32
    return np.array(getattr(feature, kind).value, dtype)


def form(value):
    if isinstance(value, list):
        return [form(item) for item in value]
    return (str(value.dtype), value.tobytes()) if isinstance(value, np.ndarray) else value


def agrees(record):
    try:
        found = parse_example(record)
    except FormatError as error:
        found = error
    try:
        context, sequences = theirs(record)
    except DecodeError:
        assert isinstance(found, FormatError), (record, found)
        return
    if isinstance(found, FormatError):
        assert context.keys() & sequences.keys(), (record, found)
        return
    assert {name: form(value) for name, value in found.items()} == {
        name: form(value) for name, value in (context | sequences).items()
    }, record


@tries(150)
@given(messages())
def test_messages(record):
    agrees(record)


@tries(150)
@given(messages(), messages())
def test_a_message_in_two_parts(one, other):
    """Protocol buffers may be put together from parts: the later part adds to the earlier, or replaces it."""
    agrees(one + other)


@tries(300)
@example(b"\n\t\n\x07\n\x010\x12\x02\x1a\x00", [(7, 8)])  # an entry with a field that no entry has
@given(messages(), st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), min_size=1, max_size=2))
def test_mangled_messages_are_read_alike_or_refused(record, edits):
    mangled = bytearray(record)
    for place, byte in edits:
        if place < len(mangled):
            mangled[place] = byte
    record = bytes(mangled)
    try:
        found = parse_example(record)
    except FormatError:
        return
    try:
        context, sequences = theirs(record)
    except DecodeError:
        return  # TensorFlow also checks what no feature is made of
    expected = {name: form(value) for name, value in (context | sequences).items()}
    assert {name: form(value) for name, value in found.items()} == expected


@tries(25)
@given(st.lists(st.binary(max_size=30), min_size=1, max_size=5), st.sampled_from(["", "", "GZIP", "ZLIB"]))
def test_files(tmp_path_factory, records, compression):
    folder = tmp_path_factory.mktemp("records")
    with tf.io.TFRecordWriter(str(folder / "theirs"), tf.io.TFRecordOptions(compression)) as writer:
        for record in records:
            writer.write(record)
    if compression:
        with pytest.raises(FormatError, match=f"(?i)theirs.*{compression}"):
            list(TFRecordData(folder / "theirs", "raw"))
        return
    assert list(TFRecordData(folder / "theirs", "raw")) == [[record] for record in records]
    with TFRecordWriter(folder / "ours") as writer:
        for record in records:
            writer.write(record)
    assert (folder / "ours").read_bytes() == (folder / "theirs").read_bytes()


def test_a_sequence_example_keeps_its_frames(tmp_path):
    proto = tf.train.SequenceExample()
    proto.context.feature["length"].int64_list.value.append(2)
    for place in range(2):
        proto.feature_lists.feature_list["frames"].feature.add().float_list.value.extend([place, 0.5])
    with TFRecordWriter(tmp_path / "x.tfrecord") as writer:
        writer.write(proto.SerializeToString())
        proto.ClearField("context")
        writer.write(proto.SerializeToString())
    first, second = TFRecordData(tmp_path / "x.tfrecord", "example")
    assert first["length"].tolist() == [2] and [step.tolist() for step in first["frames"]] == [[0, 0.5], [1, 0.5]]
    assert list(second) == ["frames"] and len(second["frames"]) == 2
    with pytest.raises(
        DataFlowError, match=r"row 1 has the keys \['frames'\].*MapData\(ds, lambda dp: \{'length': ..."
    ):
        list(BatchData(TFRecordData(tmp_path / "x.tfrecord", "example"), 2))


def test_one_name_in_context_and_sequences(tmp_path):
    proto = tf.train.SequenceExample()
    proto.context.feature["x"].int64_list.value.append(2)
    proto.feature_lists.feature_list["x"].feature.add()
    with pytest.raises(FormatError, match=r"'x'.*function as decode"):
        parse_example(proto.SerializeToString())


def test_a_float_beyond_float32_is_not_written():
    with pytest.raises(FormatError, match=r"'x'.*beyond float32"):
        encode_example({"x": [1.0, 1e300]})
    assert parse_example(encode_example({"x": [np.inf]}))["x"].tolist() == [np.inf]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.ma.masked_equal([1, 2], 2), "masked"),
        ([1.0, np.ma.masked], "masked"),
        ([1, "a"], "bytes or str expected"),
        (["a", 1], "bytes or str expected"),
        ([True, 2], "bool and int"),
        ([2**63, -1], "does not fit into int64"),
        ([2**53 + 1, 0.5], "exactly"),
        ([[1], [2, 3]], "differ in shape"),
        ([None, 1], "NoneType"),
    ],
)
def test_a_feature_that_would_lose_is_not_written(value, message):
    with pytest.raises(FormatError, match=f"cannot write feature 'a'.*{message}"):
        encode_example({"a": value})
