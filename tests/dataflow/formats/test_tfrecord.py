from __future__ import annotations

import contextlib
import json
import os
import pickle

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from flowtrain.dataflow.formats import (
    Noise2NoiseData,
    OTBTFData,
    TFRecordData,
    TFRecordWriter,
    encode_example,
    encode_tensor,
    parse_example,
    parse_tensor,
    write,
)
from flowtrain.dataflow.sources.memory import DataFromList
from flowtrain.utils.errors import DataFlowError, FormatError

RECORDS = [b"", b"a", b"\0" * 100, bytes(range(256)) * 20]


@pytest.fixture
def records(tmp_path):
    path = tmp_path / "four.tfrecord"
    with TFRecordWriter(path) as writer:
        for record in RECORDS:
            writer.write(record)
    return path


def test_bytes_are_those_of_tensorflow(records, tmp_path):
    theirs = tmp_path / "theirs.tfrecord"
    with tf.io.TFRecordWriter(str(theirs)) as writer:
        for record in RECORDS:
            writer.write(record)
    assert theirs.read_bytes() == records.read_bytes()
    assert [r.numpy() for r in tf.data.TFRecordDataset(str(records))] == RECORDS
    assert list(TFRecordData(theirs)) == [[record] for record in RECORDS]


def test_random_access_over_several_files(records, tmp_path):
    more = tmp_path / "more.tfrecord"
    empty = tmp_path / "empty.tfrecord"
    empty.touch()
    with TFRecordWriter(more) as writer:
        writer.write(b"last")
    ds = TFRecordData([records, empty, more])
    assert len(ds) == 5
    assert ds.get(4) == [b"last"] and ds.get(1) == [b"a"]
    assert len(TFRecordData(tmp_path / "*.tfrecord")) == 5


def test_shuffle_gives_each_record_once_and_a_new_order(tmp_path):
    path = tmp_path / "many.tfrecord"
    with TFRecordWriter(path) as writer:
        for i in range(100):
            writer.write(b"%d" % i)
    ds = TFRecordData(path, shuffle=True)
    first, second = list(ds), list(ds)
    assert sorted(first) == sorted(second) == sorted([b"%d" % i] for i in range(100))
    assert first != second
    assert [ds.get(i, 1) for i in range(100)] == second
    assert list(pickle.loads(pickle.dumps(TFRecordData(path, shuffle=True)))) == first


def test_index_is_kept_and_made_anew_for_a_changed_file(records):
    index = records.with_name(records.name + ".ftindex")
    assert len(TFRecordData(records)) == 4
    assert index.exists()
    with TFRecordWriter(records) as writer:
        writer.write(b"only")
    assert list(TFRecordData(records)) == [[b"only"]]
    index.write_bytes(index.read_bytes()[:-3])
    assert list(TFRecordData(records)) == [[b"only"]]
    index.write_bytes(b"rubbish")
    assert list(TFRecordData(records)) == [[b"only"]]


@given(st.data())
def test_a_damaged_file_is_named_with_record_and_offset(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("damage") / "x.tfrecord"
    with TFRecordWriter(path) as writer:
        for record in RECORDS:
            writer.write(record)
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    with pytest.raises(FormatError, match=r"x\.tfrecord, record \d, byte \d+"):
        list(TFRecordData(path))


def test_every_cut_is_noticed(records):
    content = records.read_bytes()
    boundaries = {0}
    for record in RECORDS:
        boundaries.add(max(boundaries) + len(record) + 16)
    for end in [*range(1, 150), len(content) - 1, len(content) - 4, len(content) - 5]:
        records.write_bytes(content[:end])
        if end not in boundaries:
            with pytest.raises(FormatError, match="cut short"):
                list(TFRecordData(records))


def test_without_verification_only_the_framing_is_checked(records):
    content = bytearray(records.read_bytes())
    content[-10] ^= 1
    records.write_bytes(content)
    assert len(list(TFRecordData(records, verify=False))) == 4


def test_more_shards_than_are_mapped_at_once(tmp_path):
    for i in range(150):
        with TFRecordWriter(tmp_path / f"{i:03d}.tfrecord") as writer:
            writer.write(b"%d" % i)
    ds = TFRecordData(tmp_path / "*.tfrecord", shuffle=True)
    before = len(os.listdir("/proc/self/fd"))
    assert sorted(int(dp[0]) for dp in ds) == list(range(150))
    assert len(os.listdir("/proc/self/fd")) - before <= 64


def test_a_file_that_changes_after_its_index_was_read(records):
    ds = TFRecordData(records, verify=False)
    assert len(ds) == 4
    records.write_bytes(records.read_bytes()[:-20])
    with pytest.raises(FormatError, match="has changed since"):
        ds.get(0)


def test_an_error_of_a_decode_function_names_the_datapoint(records):
    ds = TFRecordData(records, lambda record: [record[200]], shuffle=True)
    with pytest.raises(IndexError, match=r"TFRecordData\(four\.tfrecord\), epoch 0, datapoint 0"):
        list(ds)


def test_bad_input(tmp_path):
    with pytest.raises(FileNotFoundError, match="no TFRecord file at"):
        TFRecordData(tmp_path / "none.tfrecord")
    with pytest.raises(DataFlowError, match="matches"):
        TFRecordData(tmp_path / "*.tfrecord")
    with pytest.raises(DataFlowError, match="is a folder"):
        TFRecordData(tmp_path)
    with pytest.raises(DataFlowError, match="empty list"):
        TFRecordData([])
    with pytest.raises(DataFlowError, match="a path expected"):
        TFRecordData([3])
    text = tmp_path / "text.tfrecord"
    text.write_text("this is no TFRecord at all, just some text")
    with pytest.raises(DataFlowError, match=r"TFRecordData: decode must be None, 'raw', .* or a function"):
        TFRecordData(text, "exmple")
    with pytest.raises(FormatError, match="not a TFRecord"):
        len(TFRecordData(text))
    text.write_bytes(b"\x1f\x8b" + b"\0" * 30)
    with pytest.raises(FormatError, match="gunzip"):
        len(TFRecordData(text))
    with TFRecordWriter(text) as writer:
        writer.write(b"not an example")
        with pytest.raises(DataFlowError, match="bytes"):
            writer.write("text")
    with pytest.raises(FormatError, match=r"text.tfrecord, record 0: .*Example"):
        list(TFRecordData(text, "example"))


def test_an_empty_file_has_no_records(tmp_path):
    path = tmp_path / "empty.tfrecord"
    path.touch()
    for use in (list, len, lambda ds: ds.get(0)):
        with pytest.raises(DataFlowError, match=r"empty\.tfrecord.* holds no records"):
            use(TFRecordData(path))


integers = st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1).map(lambda x: np.array(x, np.int64))
floats = st.lists(st.floats(width=32, allow_nan=False), min_size=1).map(lambda x: np.array(x, np.float32))
features = st.dictionaries(st.text(), st.one_of(integers, floats, st.lists(st.binary(), min_size=1)), max_size=5)


@given(features)
def test_examples_are_those_of_tensorflow(given_features):
    proto = tf.train.Example()
    proto.features.SetInParent()
    for name, value in given_features.items():
        feature = proto.features.feature[name]
        if isinstance(value, list):
            feature.bytes_list.value.extend(value)
        elif value.dtype == np.int64:
            feature.int64_list.value.extend(value.tolist())
        else:
            feature.float_list.value.extend(value.tolist())
    theirs = proto.SerializeToString(deterministic=True)
    assert tf.train.Example.FromString(encode_example(given_features)) == proto
    found = parse_example(theirs)
    assert found.keys() == given_features.keys()
    for name, value in given_features.items():
        if isinstance(value, list):
            assert found[name] == value
        else:
            assert found[name].dtype == value.dtype
            np.testing.assert_array_equal(found[name], value)


def test_example_features_of_plain_python():
    found = parse_example(
        encode_example({"a": 3, "b": 2.5, "c": "é", "d": b"\0", "e": [], "f": True, "g": np.uint8([7])})
    )
    assert found["a"].tolist() == [3] and found["b"].tolist() == [2.5] and found["c"] == ["é".encode()]
    assert found["d"] == [b"\0"] and found["e"] == [] and found["f"].tolist() == [1] and found["g"].tolist() == [7]
    with pytest.raises(FormatError, match="'a'"):
        encode_example({"a": 1j})
    with pytest.raises(FormatError, match="int64"):
        encode_example({"a": np.array([2**63], np.uint64)})


@given(st.binary(max_size=60))
def test_parsing_anything_raises_only_format_errors(data):
    for parse in (parse_example, parse_tensor):
        with contextlib.suppress(FormatError):
            parse(data)


def test_unpacked_lists_are_read_too():
    feature = b"\x1a\x04\x08\x05\x08\x07"  # Int64List { value: 5 value: 7 }
    entry = b"\x0a\x01i\x12" + bytes([len(feature)]) + feature
    features = b"\x0a" + bytes([len(entry)]) + entry
    assert parse_example(b"\x0a" + bytes([len(features)]) + features)["i"].tolist() == [5, 7]


TENSORS = [
    np.float32([[1, 2]]),
    np.arange(6, dtype=">i4").reshape(2, 3),
    np.array(5),
    np.zeros((0, 3)),
    np.zeros((3, 0, 2), np.uint8),
    np.array([b"a", b"\0b"], object),
    np.array(["é", "x"], object),
    np.array([True, False]),
    np.array([1 + 2j]),
    np.float16([1, 2]),
    np.arange(3, dtype=np.uint64),
]


@pytest.mark.parametrize("array", TENSORS, ids=lambda a: f"{a.dtype}{a.shape}")
def test_tensors_are_those_of_tensorflow(array):
    theirs = tf.io.serialize_tensor(array).numpy()
    assert encode_tensor(array) == theirs
    found = parse_tensor(theirs)
    expected = tf.io.parse_tensor(theirs, tf.as_dtype(tf.constant(array).dtype)).numpy()
    assert found.dtype == expected.dtype and found.shape == expected.shape
    np.testing.assert_array_equal(found, expected)


def test_tensors_of_other_writers():
    bfloat = tf.constant([1.5, 2], tf.bfloat16)
    found = parse_tensor(tf.io.serialize_tensor(bfloat).numpy())
    np.testing.assert_array_equal(found, bfloat.numpy())
    proto = tf.make_tensor_proto(np.float32([3, 3, 3, 3]))
    proto.tensor_content = b""
    proto.float_val.append(3)  # one value stands for all
    np.testing.assert_array_equal(parse_tensor(proto.SerializeToString()), np.float32([3, 3, 3, 3]))
    with pytest.raises(FormatError, match="int"):
        encode_tensor(np.array(["2020"], "M8[D]"))


def test_written_datapoints_are_examples_that_tf_data_reads(tmp_path):
    data = [{"image": np.full((2, 2), i, np.uint8), "label": i, "name": f"n{i}", "x": i / 3} for i in range(3)]
    path = write(DataFromList(data), tmp_path / "x.tfrecord", progress=False)
    spec = {
        "image": tf.io.FixedLenFeature([], tf.string),
        "label": tf.io.FixedLenFeature([], tf.int64),
        "name": tf.io.FixedLenFeature([], tf.string),
    }
    for i, record in enumerate(tf.data.TFRecordDataset(str(path))):
        parsed = tf.io.parse_single_example(record, spec)
        assert tf.io.parse_tensor(parsed["image"], tf.uint8).numpy().tolist() == [[i, i], [i, i]]
        assert parsed["label"] == i and parsed["name"] == f"n{i}".encode()


def test_otbtf_shards(tmp_path):
    for shard in range(11):
        with tf.io.TFRecordWriter(str(tmp_path / f"{shard}.records")) as writer:
            values = {"patch": tf.fill((2, 2, 4), float(shard)), "label": tf.constant([shard], tf.int32)}
            serialized = {name: tf.io.serialize_tensor(value).numpy() for name, value in values.items()}
            feature = {n: tf.train.Feature(bytes_list=tf.train.BytesList(value=[v])) for n, v in serialized.items()}
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
    (tmp_path / "output_types.json").write_text(json.dumps({"patch": "float32", "label": "int32"}))
    (tmp_path / "output_shapes.json").write_text(json.dumps({"patch": [2, 2, 4], "label": [1]}))
    found = list(OTBTFData(tmp_path))
    assert [int(dp["label"][0]) for dp in found] == list(range(11))
    assert found[3]["patch"].dtype == np.float32 and found[3]["patch"].shape == (2, 2, 4)
    assert OTBTFData(tmp_path, ["label"]).get(10)[0].tolist() == [10]
    assert len(pickle.loads(pickle.dumps(OTBTFData(tmp_path, shuffle=True)))) == 11
    with pytest.raises(DataFlowError, match="labels"):
        OTBTFData(tmp_path, ["labels"])
    (tmp_path / "output_shapes.json").write_text(json.dumps({"patch": [2, 3, 4], "label": [1]}))
    with pytest.raises(FormatError, match=r"0.records, record 0: .*shape \(2, 2, 4\)"):
        OTBTFData(tmp_path).get(0)
    (tmp_path / "output_types.json").write_text("{")
    with pytest.raises(FormatError, match="not JSON"):
        OTBTFData(tmp_path)
    os.unlink(tmp_path / "4.records")
    with pytest.raises(FileNotFoundError, match="shard 4"):
        OTBTFData(tmp_path)


def test_noise2noise_pictures(tmp_path):
    path = tmp_path / "n2n.tfrecords"
    picture = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    with tf.io.TFRecordWriter(str(path)) as writer:
        feature = {
            "shape": tf.train.Feature(int64_list=tf.train.Int64List(value=picture.shape)),
            "data": tf.train.Feature(bytes_list=tf.train.BytesList(value=[picture.tobytes()])),
        }
        writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
        writer.write(encode_example({"shape": [3, 4, 6], "data": picture.tobytes()}))
    ds = Noise2NoiseData(path)
    np.testing.assert_array_equal(ds.get(0)[0], picture.transpose(1, 2, 0))
    np.testing.assert_array_equal(Noise2NoiseData(path, channels_last=False).get(0)[0], picture)
    with pytest.raises(FormatError, match=r"record 1: shape \(3, 4, 6\) with 60 bytes"):
        ds.get(1)
