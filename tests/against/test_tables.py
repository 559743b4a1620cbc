"""npz beside np.load, HDF5 beside h5py: the same rows in the same dtypes, or an error that the pages name."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from flowtrain.dataflow import BatchData
from flowtrain.dataflow.formats import HDF5Data, NpzData
from flowtrain.utils.errors import DataFlowError, FormatError

from .tries import tries

NUMBERS = ["?", "i1", "u2", ">i4", "i8", "u8", "f2", "f4", ">f8", "c8", "c16"]
OTHERS = ["S3", "U2", "M8[us]", "m8[D]", np.dtype([("a", "i2"), ("b", "f4", (2,))])]
names = st.text("abc/_.-é ", min_size=1, max_size=4)


def columns(dtypes, names):
    """Arrays with the same number of rows, some of them Fortran-ordered."""

    @st.composite
    def drawn(draw):
        rows = draw(st.integers(0, 5))
        tails = hnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=3)
        found = {}
        for name in draw(st.lists(names, min_size=1, max_size=3, unique=True)):
            array = draw(hnp.arrays(draw(st.sampled_from(dtypes)), (rows, *draw(tails))))
            found[name] = np.asfortranarray(array) if draw(st.booleans()) else array
        return found

    return drawn()


def assert_rows(ds, expected):
    """The rows of a flow of dicts are those of the arrays."""
    if not len(next(iter(expected.values()))):
        with pytest.raises(FormatError, match="no records"):
            list(ds)
        return
    rows = list(ds)
    assert len(rows) == len(ds) == len(next(iter(expected.values())))
    for place, row in enumerate(rows):
        assert set(row) == set(expected)
        for name, value in row.items():
            wanted = expected[name][place]
            assert np.asarray(value).dtype == np.asarray(wanted).dtype, (name, value, wanted)
            assert np.asarray(value).tobytes() == np.asarray(wanted).tobytes(), (name, value, wanted)
    if rows:
        (batch,) = BatchData(ds, len(rows))
        for name, array in expected.items():
            if array.dtype.kind not in "SUV":  # of one axis: NumPy's numbers, which have the order of the machine
                found, wanted = (x.astype(x.dtype.newbyteorder("=")) for x in (batch[name], array))
                assert found.dtype == wanted.dtype and found.tobytes() == wanted.tobytes(), name


@tries(100)
@given(columns(NUMBERS + OTHERS, names.filter(lambda name: not name.startswith("__"))), st.booleans())
def test_npz(tmp_path_factory, arrays, compressed):
    path = tmp_path_factory.mktemp("npz") / "x.npz"
    (np.savez_compressed if compressed else np.savez)(path, **{f"x{name}": array for name, array in arrays.items()})
    with np.load(path) as file:
        expected = {name: file[name] for name in file.files}
    assert_rows(NpzData(path), expected)


@tries(40)
@given(hnp.arrays(st.sampled_from(NUMBERS + OTHERS), hnp.array_shapes(min_dims=1, max_dims=3, max_side=4)))
def test_npy(tmp_path_factory, array):
    path = tmp_path_factory.mktemp("npy") / "x.npy"
    np.save(path, array)
    assert [np.asarray(row).tobytes() for (row,) in NpzData(path)] == [
        np.asarray(row).tobytes() for row in np.load(path)
    ]


@pytest.mark.parametrize(
    "arrays",
    [{"x": np.array([None, 1], object)}, {"x": np.zeros(3), "y": np.zeros(4)}, {"x": np.array(5)}],
    ids=["objects", "lengths", "no rows"],
)
def test_what_an_npz_cannot_give(tmp_path, arrays):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(DataFlowError, match="x"):
        list(NpzData(tmp_path / "x.npz"))


filters = st.sampled_from(
    [{}, {"chunks": True}, {"compression": "gzip", "shuffle": True}, {"compression": "lzf"}, {"fletcher32": True}]
)


@tries(80)
@given(
    columns([*NUMBERS, OTHERS[-1]], st.text("abé_", min_size=1, max_size=3)),
    filters,
    st.sampled_from(["earliest", "latest"]),
    st.sampled_from(["closed", "before", "after"]),
)
def test_hdf5(tmp_path_factory, arrays, options, libver, opened):
    path = tmp_path_factory.mktemp("h5") / "x.h5"
    with h5py.File(path, "w", libver=libver) as file:
        for number, (name, array) in enumerate(arrays.items()):
            whole = options if array.size else {}  # HDF5 makes no chunks of nothing
            file.create_dataset(f"group/{name}" if number % 2 else name, data=array, **whole)
    expected = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: expected.update({name: item[:]}) if isinstance(item, h5py.Dataset) else None)
    user = h5py.File(path) if opened == "before" else None
    ds = HDF5Data(path)
    assert_rows(ds, expected)
    with h5py.File(path) as again:  # and the user may open what flowtrain has open
        assert set(again) == {name.partition("/")[0] for name in expected}
    if user is not None:
        user.close()
    assert_rows(ds, expected)


@tries(30)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5), min_size=1))
def test_strings_of_hdf5(tmp_path_factory, texts):
    path = tmp_path_factory.mktemp("h5") / "x.h5"
    with h5py.File(path, "w") as file:
        file["x"] = texts
        file["fixed"] = [text.encode()[:3] for text in texts]  # maybe cut within a letter
        expected = file["fixed"][:].tolist()
    assert list(HDF5Data(path, keys=["x"])) == [[text] for text in texts]
    try:
        expected = [[text.decode()] for text in expected]
    except UnicodeDecodeError:
        with pytest.raises(DataFlowError, match=r"'/fixed' holds bytes that are not text in UTF-8"):
            list(HDF5Data(path, keys=["fixed"]))
    else:
        assert list(HDF5Data(path, keys=["fixed"])) == expected


@pytest.mark.parametrize("mode", ["r", "r+", "a", "w"])
@pytest.mark.parametrize("options", [{}, {"chunks": True}])
def test_a_file_that_the_user_has_open(tmp_path, mode, options):
    """Whatever the user does with the file in this process, flowtrain reads it as it stands."""
    path = tmp_path / "x.h5"
    if mode != "w":
        with h5py.File(path, "w") as file:
            file.create_dataset("x", data=np.arange(4), **options)
    with h5py.File(path, mode) as file:
        if mode == "w":
            file.create_dataset("x", data=np.arange(4), **options)
        assert [int(row) for (row,) in HDF5Data(path, keys=["x"])] == [0, 1, 2, 3]
        assert file["x"][:].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("options", [{}, {"chunks": True}])
def test_a_file_that_flowtrain_has_open(tmp_path, options):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=np.arange(4), **options)
    ds = HDF5Data(path, keys=["x"])
    assert len(ds) == 4 and ds.get(0)[0] == 0
    with h5py.File(path) as file:
        assert file["x"][:].tolist() == [0, 1, 2, 3]
    assert ds.get(3)[0] == 3
