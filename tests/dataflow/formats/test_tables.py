from __future__ import annotations

import pickle

import h5py
import numpy as np
import pytest

from flowtrain.dataflow.formats import HDF5Data, NpzData, write
from flowtrain.dataflow.sources.memory import DataFromList
from flowtrain.utils.errors import DataFlowError, FormatError

X = np.arange(60, dtype=np.uint8).reshape(10, 2, 3)
Y = np.arange(10)


@pytest.fixture
def npz(tmp_path):
    path = tmp_path / "xy.npz"
    np.savez(path, x=X, y=Y)
    return path


@pytest.fixture
def h5(tmp_path):
    path = tmp_path / "xy.h5"
    with h5py.File(path, "w") as file:
        file["x"] = X
        file.create_dataset("group/y", data=Y, chunks=(3,), compression="gzip")
        file["name"] = [f"n{i}" for i in range(10)]
        file["flag"] = Y > 4
    return path


def test_npz_of_numpy(npz, same):
    same([{"x": X[i].copy(), "y": Y[i]} for i in range(10)], list(NpzData(npz)))
    same([[Y[i], X[i].copy()] for i in range(10)], list(NpzData(npz, ["y", "x"])))
    same([{"label": Y[i]} for i in range(10)], list(NpzData(npz, {"label": "y"})))
    ds = NpzData(npz, ["x", "y"], shuffle=True)
    assert ds.vectorized
    x, y = ds.get_batch(np.arange(10), epoch=2)
    np.testing.assert_array_equal(x, np.stack([ds.get(i, 2)[0] for i in range(10)]))
    assert y.tolist() == [ds.get(i, 2)[1] for i in range(10)]
    assert ds.get(0)[0].flags.writeable
    assert len(pickle.dumps(ds)) < 1000


def test_compressed_and_fortran_arrays(tmp_path, same):
    np.savez_compressed(tmp_path / "c.npz", x=X, y=Y)
    same(list(NpzData(tmp_path / "c.npz")), [{"x": X[i].copy(), "y": Y[i]} for i in range(10)])
    np.save(tmp_path / "f.npy", np.asfortranarray(X))
    same(
        list(NpzData(tmp_path / "f.npy")),
        [[X[i].copy()] for i in range(10)],
    )


def test_files_of_write_are_plain_arrays_to_others(tmp_path):
    data = [{"x": X[i].copy(), "y": i, "deep": {"z": float(i)}} for i in range(10)]
    with np.load(write(DataFromList(data), tmp_path / "w.npz", progress=False)) as found:
        np.testing.assert_array_equal(found["x"], X)
        np.testing.assert_array_equal(found["deep/z"], np.arange(10.0))
    with h5py.File(write(DataFromList(data), tmp_path / "w.h5", progress=False)) as found:
        np.testing.assert_array_equal(found["x"], X)
        np.testing.assert_array_equal(found["deep/z"], np.arange(10.0))
    assert HDF5Data(tmp_path / "w.h5", ["y", "deep/z"]).get(3) == [3, 3.0]


def test_hdf5_of_others(h5, same):
    expected = [{"flag": Y[i] > 4, "group/y": Y[i], "name": f"n{i}", "x": X[i].copy()} for i in range(10)]
    same(expected, list(HDF5Data(h5)))
    ds = HDF5Data(h5, ["x", "group/y"], shuffle=True)
    assert sorted(int(dp[1]) for dp in ds) == list(range(10))
    assert all((dp[0] == X[dp[1]]).all() for dp in pickle.loads(pickle.dumps(ds)))


@pytest.mark.parametrize("source", [NpzData, HDF5Data])
def test_wrong_keys(source, npz, h5):
    path = npz if source is NpzData else h5
    with pytest.raises(DataFlowError, match=r"no array 'xx'\. Did you mean 'x'"):
        len(source(path, ["xx"]))
    for keys in ("x", []):
        with pytest.raises(DataFlowError, match=r"keys .*must be a list of names, at least one, got "):
            source(path, keys)


def test_arrays_that_do_not_belong_together(tmp_path):
    np.savez(tmp_path / "r.npz", x=np.zeros((3, 2)), y=np.zeros(4))
    with pytest.raises(DataFlowError, match=r"x: \(3, 2\), y: \(4,\)"):
        len(NpzData(tmp_path / "r.npz"))
    assert len(NpzData(tmp_path / "r.npz", ["y"])) == 4
    np.savez(tmp_path / "s.npz", x=np.zeros(()))
    with pytest.raises(DataFlowError, match="one length"):
        len(NpzData(tmp_path / "s.npz"))


def test_pickled_objects_are_refused(tmp_path):
    np.savez(tmp_path / "o.npz", x=np.array([{}], object))
    with pytest.raises(FormatError, match="pickled"):
        len(NpzData(tmp_path / "o.npz"))
    np.save(tmp_path / "o.npy", np.array([{}], object))
    with pytest.raises(FormatError, match="pickled"):
        len(NpzData(tmp_path / "o.npy"))


@pytest.mark.parametrize("kind", ["npz", "npy", "h5"])
def test_truncated_files(kind, tmp_path):
    path = tmp_path / f"t.{kind}"
    array = np.random.default_rng(0).integers(0, 255, (1000, 50), np.uint8)
    if kind == "npy":
        np.save(path, array)
    elif kind == "npz":
        np.savez(path, x=array)
    else:
        with h5py.File(path, "w") as file:
            file["x"] = array
    source = HDF5Data if kind == "h5" else NpzData
    assert len(list(source(path))) == 1000
    content = path.read_bytes()
    for end in (10, 300, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:end])
        with pytest.raises(FormatError, match=str(path)):
            list(source(path))
    path.write_bytes(b"")
    with pytest.raises(FormatError):
        list(source(path))


@pytest.mark.parametrize("kind", ["npz", "h5"])
def test_damaged_rows_are_named(kind, tmp_path):
    data = [{"x": np.full(100, i, np.uint8), "s": f"needle{i:04d}"} for i in range(20)]
    path = write(DataFromList(data), tmp_path / f"d.{kind}", progress=False)
    content = path.read_bytes()
    source = HDF5Data if kind == "h5" else NpzData
    for needle, name in ((bytes([7]) * 90, "x"), (b"needle0007", "s")):
        place = content.index(needle)
        path.write_bytes(content[:place] + b"!" + content[place + 1 :])
        with pytest.raises(FormatError, match=rf"d\.{kind}, record 7: component '{name}' .*checksum"):
            list(source(path))
        assert len(list(source(path, verify=False))) == 20


def test_not_of_the_format(tmp_path):
    text = tmp_path / "text.npz"
    text.write_text("just text" * 100)
    with pytest.raises(FormatError, match="not an npz"):
        len(NpzData(text))
    with pytest.raises(FormatError, match="not an HDF5"):
        len(HDF5Data(text))
    with pytest.raises(FileNotFoundError, match="no HDF5 file"):
        HDF5Data(tmp_path / "none.h5")
    with h5py.File(tmp_path / "empty.h5", "w"):
        pass
    with pytest.raises(FormatError, match="no dataset"):
        len(HDF5Data(tmp_path / "empty.h5"))


def test_chunked_damage_is_an_error_of_ours(tmp_path):
    path = tmp_path / "c.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=np.arange(1000), chunks=(100,), fletcher32=True)
    content = path.read_bytes()
    place = content.index(np.arange(500, 600).tobytes())
    path.write_bytes(content[: place + 8] + b"!" + content[place + 9 :])
    with pytest.raises(FormatError, match=r"record 500.*'/x' is damaged"):
        list(HDF5Data(path))


def test_a_dataset_without_a_shape_stands_beside_others(tmp_path):
    with h5py.File(tmp_path / "e.h5", "w") as file:
        file["x"], file["none"] = np.arange(2), h5py.Empty("f4")
    assert list(HDF5Data(tmp_path / "e.h5", ["x"])) == [[0], [1]]
    with pytest.raises(DataFlowError, match=r"one length.* none: \(\), x: \(2,\).*keys="):
        list(HDF5Data(tmp_path / "e.h5"))


def test_the_ending_of_an_npy_in_capitals(tmp_path):
    with open(tmp_path / "A.NPY", "wb") as file:
        np.save(file, np.arange(2))
    assert list(NpzData(tmp_path / "A.NPY")) == [[0], [1]]
