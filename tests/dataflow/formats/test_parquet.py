"""Parquet: rows by index, shuffles that read each row group once, nulls, nested cells, pictures."""

from __future__ import annotations

import datetime
import decimal
import io
import json

import cloudpickle
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from flowtrain.dataflow import BatchData, ConcatData, DataFromList, MapData, PrefetchData
from flowtrain.dataflow.formats import ParquetData, write
from flowtrain.utils.errors import DataFlowError, FormatError

ROWS = 100


def table(rows=ROWS, first=0):
    numbers = range(first, first + rows)
    return pa.table(
        {
            "id": pa.array(numbers, pa.int64()),
            "small": pa.array([n % 7 for n in numbers], pa.uint8()),
            "half": pa.array(np.arange(first, first + rows, dtype=np.float16)),
            "text": pa.array([f"é{n % 5}" for n in numbers]),
            "raw": pa.array([b"\0" * (n % 3) for n in numbers]),
            "list": pa.array([list(range(n % 4)) for n in numbers], pa.list_(pa.int32())),
            "words": pa.array([["a"] * (n % 3) for n in numbers]),
            "struct": pa.array([{"x": n, "y": {"z": str(n)}} for n in numbers]),
            "time": pa.array(
                [datetime.datetime(2020, 1, 1) + datetime.timedelta(n) for n in numbers], pa.timestamp("us")
            ),
            "price": pa.array([decimal.Decimal(n) / 4 for n in numbers], pa.decimal128(9, 2)),
        }
    )


def row(n):
    return {
        "id": np.int64(n),
        "small": np.uint8(n % 7),
        "half": np.float16(n),
        "text": f"é{n % 5}",
        "raw": b"\0" * (n % 3),
        "list": np.arange(n % 4, dtype=np.int32),
        "words": ["a"] * (n % 3),
        "struct": {"x": np.int64(n), "y": {"z": str(n)}},
        "time": np.datetime64("2020-01-01", "us") + np.timedelta64(n, "D"),
        "price": decimal.Decimal(n) / 4,
    }


@pytest.fixture
def path(tmp_path):
    pq.write_table(table(), tmp_path / "x.parquet", row_group_size=9)
    return tmp_path / "x.parquet"


def test_rows_in_order_by_index_and_from_any_position(path, same):
    ds = ParquetData(path)
    expected = [row(n) for n in range(ROWS)]
    assert len(ds) == ROWS
    same(expected, list(ds))
    same(expected[::-7], [ds.get(n) for n in range(ROWS - 1, -1, -7)])
    for shuffle in (False, True):
        reference = ParquetData(path, shuffle=shuffle, shuffle_groups=3)
        epochs = [list(reference), list(reference)]
        ds = ParquetData(path, shuffle=shuffle, shuffle_groups=3)
        iterator = iter(ds)
        for _ in range(41):
            next(iterator)
        state = json.loads(json.dumps(ds.state_dict()))
        resumed = ParquetData(path, shuffle=shuffle, shuffle_groups=3)
        resumed.load_state_dict(state)
        same(epochs[0][41:] + epochs[1], list(resumed) + list(resumed))


@pytest.mark.parametrize("workers", [1, 2])
def test_the_same_in_workers(path, same, workers):
    def flow():
        ways = {}, {"shuffle": True}, {"shuffle": True, "shuffle_groups": 2, "cache_bytes": 1}
        return ConcatData([ParquetData(path, **way) for way in ways])

    serial, parallel = flow(), PrefetchData(flow(), num_proc=workers)
    same([list(serial), list(serial)], [list(parallel), list(parallel)])


def test_what_is_handed_out_is_the_consumers_own(path, same):
    ds = ParquetData(path)
    for dp in ds:
        dp["list"][:] = 77
        dp["words"].append("b")
        dp["struct"]["y"]["z"] = None
    same([row(n) for n in range(ROWS)], list(ds))


def test_a_shuffled_walk_reads_each_row_group_once(tmp_path):
    for number in range(3):
        pq.write_table(
            table(400, 400 * number).select(["id", "text"]), tmp_path / f"{number}.parquet", row_group_size=50
        )
    for arguments in ({"shuffle_groups": 4}, {"shuffle_groups": 1}, {"cache_bytes": 5000}, {}):
        ds = ParquetData(tmp_path / "*.parquet", shuffle=True, seed=3, **arguments)
        orders = [[int(dp["id"]) for dp in ds] for _ in range(2)]
        assert all(sorted(order) == list(range(1200)) for order in orders) and orders[0] != orders[1]
        assert ds.groups_read <= 2 * 24
        first = orders[0][:50]
        assert arguments != {"shuffle_groups": 4} or len({number // 50 for number in first}) == 4  # mixed
    kept = ParquetData(tmp_path / "*.parquet", shuffle=True)
    list(kept), list(kept)
    assert kept.groups_read == 24  # all have room


def test_batches_are_the_rows(path, same):
    names = ["id", "small", "half", "text", "raw", "time"]
    for shuffle in (False, True):
        ds = ParquetData(path, names, shuffle=shuffle)
        assert ds.vectorized and not ParquetData(path).vectorized
        (batch,) = BatchData(ds, ROWS)
        rows = list(ParquetData(path, names, shuffle=shuffle))
        for name in names:
            expected = [dp[name] for dp in rows]
            same(expected, list(batch[name]))


def test_columns_in_the_order_asked_for_and_no_others(path):
    assert [list(dp) for dp in ParquetData(path, ["text", "id"])] == [["text", "id"]] * ROWS
    with pytest.raises(DataFlowError, match=r"no column 'txt'.*'text'"):
        len(ParquetData(path, ["txt"]))
    with pytest.raises(
        DataFlowError, match=r"columns must be a list of names, at least one, got 'text': write \['text'\]"
    ):
        ParquetData(path, "text")


def test_several_files_are_one_flow(tmp_path, same):
    for number in range(3):
        pq.write_table(table(10, 10 * number), tmp_path / f"{number}.parquet", row_group_size=4)
    pq.write_table(table(5).slice(0, 0), tmp_path / "1-empty.parquet")
    ds = ParquetData(tmp_path / "*.parquet")
    same([row(n) for n in range(30)], list(ds))
    pq.write_table(table(10).set_column(0, "id", pa.array(range(10), pa.int32())), tmp_path / "3.parquet")
    with pytest.raises(DataFlowError, match=r"3.parquet has 'id' as int32, .*0.parquet has int64"):
        len(ParquetData(tmp_path / "*.parquet"))
    same([{"text": row(0)["text"]}], [ParquetData(tmp_path / "*.parquet", ["text"]).get(30)])


def test_lists_and_dicts_with_the_same_columns_are_not_mixed(tmp_path):
    for name, datapoint in (("a", [1, 2]), ("b", {"0": 3, "1": 4})):
        write(DataFromList([datapoint]), tmp_path / f"{name}.parquet", progress=False)
    with pytest.raises(DataFlowError, match=r"b\.parquet and .*a\.parquet have the same columns .*ConcatData"):
        len(ParquetData(tmp_path / "*.parquet"))
    assert list(ParquetData(tmp_path / "*.parquet", decode="raw")) == [{"0": 1, "1": 2}, {"0": 3, "1": 4}]


BIG = 2**53 + 1
NULLS = {
    "whole": pa.array([BIG, None, -BIG], pa.int64()),
    "unsigned": pa.array([2**64 - 1, None, 0], pa.uint64()),
    "float": pa.array([1.5, None, float("nan")], pa.float32()),
    "flag": pa.array([True, None, False]),
    "text": pa.array(["a", None, ""]),
    "when": pa.array([1, None, 3], pa.timestamp("ms")),
    "list": pa.array([[1, 2], None, []], pa.list_(pa.int16())),
    "holes": pa.array([[1, None], [], [3]], pa.list_(pa.int64())),
    "struct": pa.array([{"a": 1}, None, {"a": None}], pa.struct([("a", pa.int64())])),
    "coded": pa.array(["x", None, "x"]).dictionary_encode(),
}


@pytest.fixture
def nulls(tmp_path):
    pq.write_table(pa.table(NULLS), tmp_path / "n.parquet")
    return tmp_path / "n.parquet"


@pytest.mark.parametrize("name", NULLS)
def test_a_null_is_an_error_where_it_is_read(nulls, name):
    ds = ParquetData(nulls, [name])
    bad = {"holes": 0}.get(name, 1)
    part = {"holes": "holes[]"}.get(name, name)
    with pytest.raises(FormatError, match=rf"n.parquet, record {bad}: '{part}' has no value".replace("[]", r"\[\]")):
        ds.get(bad)
    assert ds.get(2 - bad * 2 if name not in ("struct",) else 0)
    if name in ("whole", "text"):
        with pytest.raises(FormatError, match="record 1"):
            ds.get_batch(np.arange(3))


def test_what_stands_for_a_null(nulls, same):
    missing = {
        "whole": -1,
        "unsigned": 7,
        "float": float("nan"),
        "flag": False,
        "text": "none",
        "when": np.datetime64("NaT"),
        "list": [9],
        "holes[]": 0,
        "struct": None,
        "struct.a": 5,
        "coded": "y",
    }
    first, second, third = ParquetData(nulls, missing=missing)
    assert first["whole"] == BIG and third["whole"] == -BIG and type(second["whole"]) is np.int64
    assert first["unsigned"] == 2**64 - 1
    same(np.int64(-1), second["whole"])
    same(np.uint64(7), second["unsigned"])
    same(np.float32("nan"), second["float"])
    same(np.bool_(False), second["flag"])
    same(np.array([9], np.int16), second["list"])
    same(np.array([1, 0]), first["holes"])
    assert second["text"] == "none" and np.isnat(second["when"]) and second["when"].dtype == "M8[ms]"
    assert second["struct"] is None and third["struct"] == {"a": 5} and second["coded"] == "y"
    (batch,) = BatchData(ParquetData(nulls, ["whole", "text"], missing={"whole": -1, "text": ""}), 3)
    assert batch["whole"].dtype == np.int64 and batch["whole"].tolist() == [BIG, -1, -BIG]
    assert [dp["holes"] for dp in ParquetData(nulls, ["holes"], missing={"holes[]": None})] == [[1, None], [], [3]]
    assert [dp["whole"] for dp in ParquetData(nulls, ["whole"], missing={"whole": None})] == [BIG, None, -BIG]


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ({"whole": 0.5}, "has no such value"),
        ({"whole": float("nan")}, "has no such value"),
        ({"unsigned": -1}, "has no such value"),
        ({"whole": True}, "has no such value"),
        ({"flag": 0}, "has no such value"),
        ({"float": 1e300}, "has no such value"),
        ({"text": 0}, "a str or None"),
        ({"list": [0.5]}, "has no such value"),
        ({"hole[]": 0}, r"'hole\[\]'.*no such column.*Did you mean 'holes\[\]'"),
    ],
)
def test_what_cannot_stand_for_a_null(nulls, missing, said):
    with pytest.raises(DataFlowError, match=said):
        list(ParquetData(nulls, missing=missing))


def _picture(mode, size=(6, 4)):
    array = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3) if mode == "RGB" else size[::-1], np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return array, buffer.getvalue()


def test_pictures_in_bytes_and_in_the_structs_of_hugging_face(tmp_path):
    color, png = _picture("RGB")
    gray, gray_png = _picture("L")
    columns = {
        "image": [png, png],
        "mask": [gray_png, gray_png],
        "hub": [{"bytes": png, "path": None}, {"bytes": png, "path": "a.png"}],
        "label": [1, 2],
    }
    pq.write_table(pa.table(columns), tmp_path / "p.parquet")
    ds = ParquetData(tmp_path / "p.parquet", decode={"image": "image", "mask": "gray", "hub": "image", "label": float})
    for build in (ds, PrefetchData(ds, num_proc=1)):
        for dp in build:
            assert (dp["image"] == color).all() and (dp["hub"] == color).all() and dp["image"].dtype == np.uint8
            assert (dp["mask"][:, :, 0] == gray).all() and dp["mask"].shape == (4, 6, 1)
            assert type(dp["label"]) is float
    columns["image"] = [png, png[:50]]
    pq.write_table(pa.table(columns), tmp_path / "p.parquet")
    ds = ParquetData(tmp_path / "p.parquet", ["image"], decode={"image": "image"})
    ds.get(0)
    with pytest.raises(FormatError, match=r"p.parquet, record 1, column 'image'.*cut short"):
        ds.get(1)
    with pytest.raises(DataFlowError, match='"image", "gray" or a function'):
        ParquetData(tmp_path / "p.parquet", decode={"image": "jpeg"})
    assert [dp for dp in ParquetData(tmp_path / "p.parquet", ["label"], decode=lambda dp: [dp["label"]])] == [[1], [2]]


def test_types_of_which_no_value_can_be_made(tmp_path):
    kind = pa.list_view(pa.int64())
    with pa.OSFile(str(tmp_path / "v.parquet"), "wb") as sink:
        pq.write_table(pa.table({"a": [1], "v": pa.array([[1]], kind)}), sink)
    found = pq.ParquetFile(tmp_path / "v.parquet").schema_arrow.field("v").type
    if found != kind:
        pytest.skip("this pyarrow reads such a column as another type")
    with pytest.raises(DataFlowError, match=r"'v' is list_view.*columns=\['a'\]"):
        len(ParquetData(tmp_path / "v.parquet"))


def test_tensors_have_their_shape(tmp_path, same):
    values = np.arange(24, dtype=np.float32).reshape(4, 2, 3)
    plain = pa.FixedShapeTensorArray.from_numpy_ndarray(values)
    turned = pa.FixedShapeTensorArray.from_numpy_ndarray(values.transpose(0, 2, 1))
    pq.write_table(pa.table({"plain": plain, "turned": turned}), tmp_path / "t.parquet", row_group_size=3)
    for n, dp in enumerate(ParquetData(tmp_path / "t.parquet")):
        same(values[n], dp["plain"])
        assert dp["turned"].shape == (3, 2) and (dp["turned"] == values[n].T).all()


def test_files_of_write_are_tables_for_other_tools(tmp_path, same):
    data = [
        {
            "n": n,
            "x": n / 2,
            "vector": np.arange(3, dtype=np.float32) + n,
            "word": "w" * n,
            "picture": np.full((2, 2), n),
        }
        for n in range(6)
    ]
    path = write(DataFromList(data), tmp_path / "x.parquet", progress=False)
    frame = pq.read_table(path).to_pydict()
    assert frame["n"] == list(range(6)) and frame["word"] == ["w" * n for n in range(6)]
    assert frame["vector"][2] == [2.0, 3.0, 4.0]
    assert np.frombuffer(frame["picture"][5], np.int64).reshape(2, 2).tolist() == [[5, 5], [5, 5]]
    raw = ParquetData(path, decode="raw").get(3)
    assert raw["n"] == 3 and raw["picture"] == data[3]["picture"].tobytes()
    same({"vector": data[3]["vector"], "n": 3}, ParquetData(path, ["vector", "n"]).get(3))
    pq.write_table(pq.read_table(path), tmp_path / "again.parquet")  # by another program: it has lost what write noted
    assert ParquetData(tmp_path / "again.parquet").get(3)["n"] == np.int64(3)


@pytest.mark.parametrize("kind", [np.datetime64, np.timedelta64])
@pytest.mark.parametrize("unit", ["D", "s", "ms", "us", "ns"])
def test_times_and_durations_come_back(tmp_path, kind, unit):
    rows = [[kind(n, unit)] for n in (5, -3, 0, "NaT")]
    write(DataFromList(rows), tmp_path / "x.parquet", progress=False)
    read = [value for (value,) in ParquetData(tmp_path / "x.parquet")]
    assert [value.dtype for value in read] == [row[0].dtype for row in rows]
    assert [value.astype(int) for value in read] == [row[0].astype(int) for row in rows]


@pytest.mark.parametrize("column", [pa.array([1, None], pa.duration("ms")), pa.array([1, None], pa.timestamp("s"))])
def test_a_fill_that_is_no_time_is_the_arguments_fault(tmp_path, column):
    pq.write_table(pa.table({"x": column, "y": pa.array([[1], None])}), tmp_path / "x.parquet")
    for name, fill in {"x": "soon", "y": 0}.items():
        with pytest.raises(DataFlowError, match=rf"missing={{'{name}': .*has no such value") as caught:
            list(ParquetData(tmp_path / "x.parquet", [name], missing={name: fill}))
        assert not isinstance(caught.value, FormatError)


def test_row_groups_of_write_are_small(tmp_path):
    ds = MapData(DataFromList(list(range(900))), lambda n: [n, np.full((100, 100), n % 250, np.uint8)])
    path = write(ds, tmp_path / "x.parquet", progress=False)
    sizes = [pq.ParquetFile(path).metadata.row_group(n).num_rows for n in range(pq.ParquetFile(path).num_row_groups)]
    assert sum(sizes) == 900 and max(sizes) <= (4 << 20) // 10_000
    assert [dp[0] for dp in ParquetData(path)] == list(range(900))


def test_what_is_no_parquet_file(tmp_path, path):
    other = tmp_path / "o.parquet"
    for content in (b"", b"PAR1", b"id,text\n1,a\n", path.read_bytes()[:-9], path.read_bytes()[200:]):
        other.write_bytes(content)
        with pytest.raises(FormatError, match=r"o.parquet.*(not a Parquet file, cut short, or|is) damaged"):
            list(ParquetData(other))
    with pytest.raises(FileNotFoundError, match="no Parquet file at"):
        ParquetData(tmp_path / "absent.parquet")


def test_a_damaged_page_names_file_row_group_and_row(tmp_path):
    file = tmp_path / "x.parquet"
    pq.write_table(table(100).select(["id"]), file, row_group_size=50, compression="none", write_page_checksum=True)
    meta = pq.ParquetFile(file).metadata.row_group(1).column(0)
    content = bytearray(file.read_bytes())
    content[meta.dictionary_page_offset + meta.total_compressed_size - 3] ^= 1
    file.write_bytes(content)
    ds = ParquetData(file)
    assert ds.get(49)["id"] == 49
    with pytest.raises(FormatError, match=r"x.parquet, record 50: row group 1 is damaged"):
        ds.get(70)


def test_it_travels(path, same):
    ds = ParquetData(path, shuffle=True)
    first = list(ds)
    same(first, list(cloudpickle.loads(cloudpickle.dumps(ParquetData(path, shuffle=True)))))
