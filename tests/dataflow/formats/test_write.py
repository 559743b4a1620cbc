from __future__ import annotations

import errno
import os
import pickle
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import flowtrain.dataflow as df
from flowtrain.dataflow import PrefetchData
from flowtrain.dataflow.formats import HDF5Data, LMDBData, NpzData, ParquetData, TarData, TFRecordData, write
from flowtrain.dataflow.sources.memory import DataFromList
from flowtrain.dataflow.sources.streams import DataFromGenerator
from flowtrain.dataflow.stages.map import MapData
from flowtrain.utils.errors import ConfigError, DataFlowError, FormatError

SOURCES = {
    "lmdb": LMDBData,
    "tfrecord": TFRecordData,
    "tar": TarData,
    "npz": NpzData,
    "h5": HDF5Data,
    "parquet": ParquetData,
}
every_format = pytest.mark.parametrize("ending", SOURCES)


@pytest.mark.parametrize("wrong", [0, -1, 2.5, True, "12"])
def test_commit_every_is_a_whole_number(tmp_path, wrong):
    with pytest.raises(ConfigError, match="write: commit_every must be a whole number of at least 1"):
        write(DataFromList([[1]]), tmp_path / "x.npz", commit_every=wrong)
    assert list(tmp_path.iterdir()) == []


def rich(i):
    """A datapoint with everything in it; its components are ragged from one to the next."""
    return {
        "image": np.full((2, 3), i, np.uint8),
        "int": i,
        "float": i / 3,
        "bytes": b"a\0" * i,
        "jpg": b"\xff\xd8\0",
        "text": "é\n" * i,
        "x.npy": "not an array",
        "a.b": b"bin",
        "ragged": np.zeros((i, 0 if i == 2 else 2), np.float16),
        "nested": {"words": np.array(["a", "bcd"]), "deep": {"t": (1, 2**70)}, "none": None},
        "flag": i % 2 == 0,
        "big endian": np.arange(2, dtype=">i4"),
        "date": np.array(["2020-01-01"], "M8[D]"),
        "objects": np.array(["a", b"b", None], object),
        "list": [1, [2.5, "x"]],
        "scalar": np.float32(1.5),
        "complex": np.array(1 + 2j),
        "changes": i if i < 3 else float(i),
    }


@every_format
def test_everything_comes_back(ending, tmp_path, same):
    dicts = [rich(i) for i in range(5)]
    lists = [list(dp.values()) for dp in dicts]
    for data in (dicts, lists, [[]], [{}]):
        path = write(DataFromList(data), tmp_path / f"x.{ending}", overwrite=True, progress=False)
        ds = SOURCES[ending](path)
        assert len(ds) == len(data)
        same(data, list(ds))
        same(data, list(ds))  # a second pass
        same(data, list(pickle.loads(pickle.dumps(ds))))
        same(data[-1], ds.get(len(data) - 1, epoch=3))
    assert [p.name for p in tmp_path.iterdir() if "partial" in p.name] == []


component = st.one_of(
    st.binary(max_size=20),
    st.text(max_size=10),
    st.integers(),
    st.floats(),
    hnp.arrays(
        st.one_of(hnp.integer_dtypes(endianness="?"), hnp.floating_dtypes(), hnp.boolean_dtypes()),
        hnp.array_shapes(min_dims=0, min_side=0, max_side=3),
    ),
)
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)


@every_format
@settings(max_examples=15)
@given(st.data())
def test_any_datapoints_come_back(tmp_path_factory, same, ending, data):
    keys = data.draw(st.lists(names, min_size=1, max_size=4, unique=True))
    values = [data.draw(st.lists(component, min_size=len(keys), max_size=len(keys))) for _ in range(3)]
    datapoints = [dict(zip(keys, row, strict=True)) for row in values]
    path = tmp_path_factory.mktemp("any") / f"x.{ending}"
    same(datapoints, list(SOURCES[ending](write(DataFromList(datapoints), path, progress=False))))


@every_format
def test_an_error_leaves_no_file_and_the_next_call_goes_on(ending, tmp_path, same):
    data = [rich(i) for i in range(10)]
    path = tmp_path / f"x.{ending}"
    seen = []
    broken = True

    def fail(dp):
        if broken and dp["int"] == 7:
            raise KeyError("planted")
        seen.append(dp["int"])
        return dp

    with pytest.raises(KeyError, match="planted"):
        write(MapData(DataFromList(data), fail), path, progress=False)
    assert not path.exists() and seen == list(range(7))
    broken = False
    write(MapData(DataFromList(data), fail), path, progress=False)
    assert seen == list(range(10))  # none was made twice
    same(data, list(SOURCES[ending](path)))


@every_format
def test_a_kill_leaves_no_file_and_the_next_call_goes_on(ending, tmp_path, same):
    path = tmp_path / f"x.{ending}"
    script = textwrap.dedent(
        """
        import os, signal, sys
        import numpy as np
        from flowtrain.dataflow.formats import write
        from flowtrain.dataflow.stages.map import MapData
        from flowtrain.dataflow.sources.memory import DataFromList
        def make(dp):
            if dp[0] == 37:
                os.kill(os.getpid(), signal.SIGKILL)
            return [dp[0], np.zeros(dp[0] if dp[0] > 30 else 2), "x" * dp[0]]
        write(MapData(DataFromList([[i] for i in range(50)]), make), sys.argv[1], commit_every=10, progress=False)
        """
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], timeout=800, cwd=os.getcwd())
    assert done.returncode == -signal.SIGKILL
    assert not path.exists()
    made = []

    def make(dp):
        made.append(dp[0])
        return [dp[0], np.zeros(dp[0] if dp[0] > 30 else 2), "x" * dp[0]]

    write(MapData(DataFromList([[i] for i in range(50)]), make), path, progress=False)
    assert made == list(range(30, 50))
    same([make([i]) for i in range(50)], list(SOURCES[ending](path)))


def test_an_error_above_worker_processes_costs_no_datapoint(tmp_path):
    broken = True

    def fail(dp):
        if broken and dp[0] == 23:
            raise RuntimeError("planted")
        return dp

    def flow():
        return MapData(PrefetchData(DataFromList([[i] for i in range(40)]), num_proc=2), fail)

    with pytest.raises(RuntimeError, match="planted"):
        write(flow(), tmp_path / "x.lmdb", commit_every=10, progress=False)
    broken = False
    write(flow(), tmp_path / "x.lmdb", progress=False)
    assert list(LMDBData(tmp_path / "x.lmdb")) == [[i] for i in range(40)]


@every_format
def test_a_flow_without_length(ending, tmp_path):
    flow = DataFromGenerator(lambda: ([i, b"x" * i] for i in range(20)))
    path = write(flow, tmp_path / f"x.{ending}", progress=False)
    assert list(SOURCES[ending](path)) == [[i, b"x" * i] for i in range(20)]


def test_a_shuffled_flow_resumes_in_its_own_order(tmp_path):
    data = [[i] for i in range(30)]
    expected = list(DataFromList(data, shuffle=True, seed=5))
    count = 0

    def fail(dp):
        nonlocal count
        count += 1
        if count == 12:
            raise RuntimeError("planted")
        return dp

    with pytest.raises(RuntimeError):
        write(MapData(DataFromList(data, shuffle=True, seed=5), fail), tmp_path / "x.lmdb", progress=False)
    write(MapData(DataFromList(data, shuffle=True, seed=5), fail), tmp_path / "x.lmdb", progress=False)
    assert list(LMDBData(tmp_path / "x.lmdb")) == expected


def test_arguments(tmp_path):
    ds = DataFromList([[1]])
    with pytest.raises(DataFlowError, match="ending"):
        write(ds, tmp_path / "x.bin")
    with pytest.raises(DataFlowError, match="format='zip'"):
        write(ds, tmp_path / "x.bin", "zip")
    with pytest.raises(DataFlowError, match="takes a DataFlow"):
        write([[1]], tmp_path / "x.npz")
    with pytest.raises(DataFlowError, match="does not exist"):
        write(ds, tmp_path / "none" / "x.npz")
    with pytest.raises(ConfigError, match="at least 1"):
        write(ds, tmp_path / "x.npz", commit_every=0)
    path = write(ds, tmp_path / "x.bin", "npz", progress=False)
    with pytest.raises(DataFlowError, match="overwrite"):
        write(ds, path, "npz", progress=False)


def test_another_attempt_in_the_way(tmp_path):
    def fail(dp):
        if dp[0] == 2:
            raise RuntimeError("planted")
        return dp

    with pytest.raises(RuntimeError):
        write(MapData(DataFromList([[1], [0], [2]]), fail), tmp_path / "x.tar", progress=False)
    other = DataFromList([[i] for i in range(9)])
    with pytest.raises(DataFlowError, match="another attempt"):
        write(other, tmp_path / "x.tar", progress=False)
    write(other, tmp_path / "x.tar", resume=False, progress=False)
    assert len(TarData(tmp_path / "x.tar")) == 9


def test_two_writers_of_one_file(tmp_path):
    path = tmp_path / "x.npz"

    def nested(dp):
        write(DataFromList([[1]]), path, progress=False)
        return dp

    with pytest.raises(DataFlowError, match="another process is writing"):
        write(MapData(DataFromList([[1]]), nested), path, progress=False)


def test_what_a_format_cannot_hold(tmp_path):
    with pytest.raises(FormatError, match="same columns"):
        write(DataFromList([{"a": 1}, {"b": 1}]), tmp_path / "x.npz", progress=False)
    with pytest.raises(FormatError, match="set"):
        write(DataFromList([[{1}]]), tmp_path / "x.lmdb", progress=False)
    with pytest.raises(FormatError, match="str keys"):
        write(DataFromList([{1: 2}]), tmp_path / "x.tar", progress=False)


@every_format
def test_a_mask_is_never_left_out(ending, tmp_path):
    masked = np.ma.masked_equal(np.array([1.0, -9999.0], np.float32), -9999.0)
    for row, where in [([1, masked], "component 1"), ({"deep": {"x": [masked]}}, "component 'deep', component 'x'")]:
        rows = [[1, masked.filled(0)] if isinstance(row, list) else {"deep": {"x": []}}, row]
        with pytest.raises(DataFlowError, match=rf"datapoint 1, {where}.* masked array.*\.filled\(value\)"):
            write(DataFromList(rows), tmp_path / f"x.{ending}", progress=False)
        assert not (tmp_path / f"x.{ending}").exists()
        write(MapData(DataFromList(rows), _filled), tmp_path / f"x.{ending}", progress=False, overwrite=True)
        (tmp_path / f"x.{ending}").unlink()


def _filled(dp):
    return (
        [1, np.ma.filled(dp[1], 0)]
        if isinstance(dp, list)
        else {"deep": {"x": [np.ma.filled(x) for x in dp["deep"]["x"]]}}
    )


@pytest.mark.parametrize("kind", ["tfrecord", "lmdb", "hdf5", "npz", "tar", "parquet", "otbtf"])
def test_a_failure_after_the_last_datapoint_is_gone_on_from(tmp_path, monkeypatch, kind):
    def refuse(*_):
        raise OSError(errno.EACCES, "Permission denied")

    def attempt():
        return write(DataFromList([{"x": np.full(2, i)} for i in range(5)]), tmp_path / "x", kind, **options)

    options = {"commit_every": 2, "progress": False}
    monkeypatch.setattr("flowtrain.dataflow.formats.writer.replace", refuse)  # by which a complete file gets its name
    with pytest.raises(OSError, match="Permission denied"):
        attempt()
    monkeypatch.undo()
    source = df.OTBTFData if kind == "otbtf" else SOURCES["h5" if kind == "hdf5" else kind]
    assert [dp["x"].tolist() for dp in source(attempt())] == [[i, i] for i in range(5)]


def test_the_progress_bar_counts_from_where_it_goes_on(tmp_path, capsys):
    write(DataFromList([[i] for i in range(4)]), tmp_path / "x.npz")
    assert "4/4" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["tfrecord", "lmdb", "hdf5", "npz", "tar", "otbtf"])
def test_a_flow_without_datapoints_is_not_written(tmp_path, kind):
    none = df.FilterData(df.DataFromList([[1], [2]]), lambda dp: False)
    path = tmp_path / "target"
    with pytest.raises(DataFlowError, match=r"FilterData.* gave no datapoint: nothing was written"):
        df.write(none, path, kind, progress=False)
    assert list(tmp_path.iterdir()) == []
    options = {"keys": ["x"]} if kind == "otbtf" else {}
    df.write(df.DataFromList([[1], [2]]), path, kind, progress=False, **options)
    with pytest.raises(DataFlowError, match="nothing was written"):
        df.write(none, path, kind, overwrite=True, progress=False)
    assert list(tmp_path.iterdir()) == [path]  # as it was


@pytest.mark.parametrize(
    ("name", "content", "source"),
    [
        ("a.tfrecord", b"", df.TFRecordData),
        ("a.tar", b"\0" * 10240, df.TarData),
        ("a.txt", b"", df.TextLineData),
        ("a.svm", b"", df.SVMLightData),
    ],
)
def test_a_file_without_records(tmp_path, name, content, source):
    path = tmp_path / name
    path.write_bytes(content)
    for use in (list, len, lambda ds: list(df.PrefetchData(ds, num_proc=1)), lambda ds: list(df.BatchData(ds, 2))):
        ds = source(path)
        for _ in range(2):  # each time
            with pytest.raises(DataFlowError, match=rf"{name}.* holds no records"):
                use(ds)


def test_arrays_without_rows(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((0, 3)))
    with pytest.raises(DataFlowError, match=r"a\.npz.* holds no records"):
        list(df.NpzData(tmp_path / "a.npz"))


@every_format
@pytest.mark.parametrize("name", ["scan [3]*?", " new\nline ", "\udcff\udcfe", "日本 %20#1"], ids=range(4))
def test_any_name_that_a_file_system_takes(ending, name, tmp_path, same):
    folder = tmp_path / name
    folder.mkdir()
    if ending == "parquet" and not name.isprintable() and "\n" not in name:
        with pytest.raises(DataFlowError, match="not in UTF-8, and pyarrow"):
            write(DataFromList([[1]]), folder / f"{name}.{ending}", progress=False)
        return
    path = write(DataFromList([[1, "a"], [2, "b"]]), folder / f"{name}.{ending}", progress=False)
    same([[1, "a"], [2, "b"]], list(SOURCES[ending](path)))
    same([2, "b"], SOURCES[ending](str(path)).get(1))


@pytest.mark.parametrize("name", ["x.npz", "x.lmdb", "x.tar", "x.tfrecord", "shards"])
def test_a_folder_of_other_things_is_never_replaced(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "thesis.txt").write_text("important")
    kind = "otbtf" if name == "shards" else None
    with pytest.raises(DataFlowError, match=rf"{name} is a folder that holds 'thesis\.txt'"):
        write(df.DataFromList([{"a": 1}]), tmp_path / name, kind, overwrite=True, progress=False)
    assert (tmp_path / name / "thesis.txt").read_text() == "important"


def test_a_folder_of_shards_is_replaced_by_another(tmp_path):
    for value in (1, 2):
        write(df.DataFromList([{"a": value}]), tmp_path / "shards", "otbtf", overwrite=True, progress=False)
        assert [int(dp["a"]) for dp in df.OTBTFData(tmp_path / "shards")] == [
            value
        ]  # leaves an index beside each shard


def test_a_flow_without_an_end_is_not_written(tmp_path):
    with pytest.raises(DataFlowError, match=r"RepeatedData.* never ends; put TakeData"):
        write(df.RepeatedData(df.DataFromList([[1]])), tmp_path / "x.npz", progress=False)
