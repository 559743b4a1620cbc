"""Whatever happens to a file, what is read is what was written, or the error that the page of the reader names.

Each file is read after a flipped byte, a cut, a block of zeros and a block of another place's bytes.
"""

from __future__ import annotations

import os
import shutil
import zipfile

import lmdb
import numpy as np
import pytest

from flowtrain.dataflow import CacheData, DataFlow, DataFromList, MapData
from flowtrain.dataflow.formats import HDF5Data, LMDBData, NpzData, OTBTFData, ParquetData, TarData, TFRecordData, write
from flowtrain.dataflow.formats.sinks import SINKS
from flowtrain.utils.errors import DataFlowError, FormatError

# arrays of one size, so that a record in another's place would pass for it
DATA = [[np.arange(i, i + 9, dtype=np.int16), i, f"text {i}", b"b" * (i % 5), i / 3] for i in range(20)]
DICTS = [{"a": np.float32([i, 2]), "b": {"c": [i, "x"], "d": None}, "e": "é" * i} for i in range(6)]
ARRAYS = [{"x": np.full((2, 2), i, np.float32), "y": np.array([i])} for i in range(6)]
READERS = {
    "tfrecord": TFRecordData,
    "lmdb": LMDBData,
    "hdf5": HDF5Data,
    "npz": NpzData,
    "tar": TarData,
    "parquet": ParquetData,
    "otbtf": OTBTFData,
}
MANY = int(os.environ.get("FLOWTRAIN_DAMAGES", "60"))  # of each kind


def damages(content: bytes, rng: np.random.Generator, count: int):
    """(what was done, the damaged content)."""
    size = len(content)
    places = range(size) if count >= size else rng.choice(size, count, replace=False).tolist()
    for place in places:
        flip = int(rng.integers(1, 256))
        yield f"byte {place} ^ {flip}", content[:place] + bytes([content[place] ^ flip]) + content[place + 1 :]
    for _ in range(count):
        start, length = int(rng.integers(0, size)), int(rng.choice([1, 8, 64, 512, 4096]))
        zeros = bytes(min(length, size - start))
        yield f"{length} zeros at {start}", content[:start] + zeros + content[start + len(zeros) :]
        end = int(rng.integers(0, size))
        yield f"cut to {end}", content[:end]
        source = int(rng.integers(0, size))
        moved = content[source : source + length][: size - start]
        yield f"{length} bytes of {source} at {start}", content[:start] + moved + content[start + len(moved) :]


def is_told(one, what, read, expected, same, fewer):
    """Read what is damaged: an error that names it, or else the right data; ``fewer``: or the first of them."""
    try:
        found = read(one)
    except DataFlowError as error:
        assert str(one) in str(error), (what, error)
        return True
    try:
        same(expected[: len(found)] if fewer else expected, found)
    except AssertionError as error:
        raise AssertionError(f"{one}, {what}: read as {str(found)[:200]}") from error
    return False


def check(path, content, read, expected, same, count, fewer=False):
    """Damage a file in many ways; returns in how many an error told it.

    ``fewer``: whether a file that is cut may be one of fewer records, in a form that notes no number of them.
    """
    rng = np.random.default_rng(len(content))
    told = 0
    for number, (what, damaged) in enumerate(damages(content, rng, count)):
        if damaged == content:
            continue
        one = path.with_name(f"{number}{path.suffix}")  # a name of its own: no clock tells two of one name apart
        one.write_bytes(damaged)
        told += is_told(one, what, read, expected, same, fewer and what.startswith("cut"))
        one.unlink()
        index = one.with_name(one.name + ".ftindex")
        index.unlink(missing_ok=True)
    return told


def test_every_format_is_damaged():
    assert READERS.keys() == SINKS.keys()


@pytest.mark.parametrize(("data", "count"), [(DATA, MANY), (DICTS, MANY // 3)], ids=["lists", "dicts"])
@pytest.mark.parametrize("kind", [kind for kind in READERS if kind != "otbtf"])
def test_files_of_write(kind, data, count, tmp_path, same):
    path = write(DataFromList(data), tmp_path / f"x.{kind}", progress=False)
    reader = READERS[kind]
    same(data, list(reader(path)))
    assert check(path, path.read_bytes(), lambda one: list(reader(one)), data, same, count, fewer=kind == "tfrecord")


def check_within(folder, name, read, expected, same, flips=(1, 0xFF)):
    """Change bytes of one file of a folder, and cut it: as `check`, for what is more than a file."""
    content, told = (folder / name).read_bytes(), 0
    places = range(0, len(content), max(1, 2 * len(content) // MANY))
    damaged = [content[:at] + bytes([content[at] ^ flip]) + content[at + 1 :] for at in places for flip in flips]
    damaged += [content[:at] for at in places]
    for number, new in enumerate(damaged):
        one = folder.with_name(f"{folder.name}-{number}")
        shutil.copytree(folder, one)
        (one / name).write_bytes(new)
        cut = name.endswith(".records") and content.startswith(new)  # between two: no number of them is noted
        told += is_told(one, new, read, expected, same, cut)
        shutil.rmtree(one, ignore_errors=True)  # of what goes on in another file the folder is gone
    return told


@pytest.mark.parametrize("name", ["0.records", "output_types.json", "output_shape.json"])
def test_folders_for_otbtf(name, tmp_path, same):
    folder = write(DataFromList(ARRAYS), tmp_path / "x", format="otbtf", progress=False)
    same(ARRAYS, list(OTBTFData(folder)))
    assert check_within(folder, name, lambda one: list(OTBTFData(one)), ARRAYS, same)


class Once(DataFlow):
    """Can only be iterated: a cache of it notes how many datapoints there are."""

    def __iter__(self):
        yield from DICTS


@pytest.mark.parametrize("name", ["manifest.json", "000000/002.msgpack"])
def test_the_folder_of_a_cache(name, tmp_path, same):
    list(CacheData(Once(), path=tmp_path / "x"))
    assert check_within(tmp_path / "x", name, lambda one: list(CacheData(Once(), path=one)), DICTS, same)


def test_the_journal_of_what_is_not_complete(tmp_path, same):
    """A position that is damaged would leave datapoints out, or write them twice."""
    broken = True

    def fail(datapoint):
        if broken and datapoint["b"]["c"][0] == 4:
            raise KeyError("planted")
        return datapoint

    def go_on(path):
        write(MapData(DataFromList(DICTS, shuffle=True), fail), path, progress=False)
        return list(TFRecordData(path))

    with pytest.raises(KeyError, match="planted"):
        go_on(tmp_path / "x.tfrecord")
    broken = False
    folder = (tmp_path / "x.tfrecord").with_suffix(".tfrecord.partial")
    shutil.copytree(folder, tmp_path / "right.tfrecord.partial")
    expected = go_on(tmp_path / "right.tfrecord")
    assert len(expected) == len(DICTS)

    def read(one):
        shutil.move(one, f"{one}.tfrecord.partial")
        try:
            return go_on(one.with_name(f"{one.name}.tfrecord"))
        finally:
            shutil.rmtree(f"{one}.tfrecord.partial", ignore_errors=True)

    assert check_within(folder, "journal", read, expected, same)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_of_numpy(save, tmp_path, same):
    path = tmp_path / "x.npz"
    save(path, x=np.arange(600).reshape(20, 30), y=np.arange(20, dtype=np.float32))
    expected = list(NpzData(path))
    assert check(path, path.read_bytes(), lambda one: list(NpzData(one)), expected, same, MANY)


def test_no_byte_of_the_list_in_an_npz_hides_a_member(tmp_path):
    """A damaged length in the list takes the next entry for a comment; the end of the archive has their number."""
    path, flipped = tmp_path / "x.npz", tmp_path / "flipped.npz"
    np.savez(path, x=np.arange(6).reshape(3, 2), y=np.arange(3.0))
    content, names = path.read_bytes(), {"x", "y"}
    for place in range(content.index(b"PK\1\2"), len(content)):
        for bits in (1, 0xFF):
            flipped.write_bytes(content[:place] + bytes([content[place] ^ bits]) + content[place + 1 :])
            try:
                assert next(iter(NpzData(flipped))).keys() == names, place
            except FormatError as error:
                assert str(flipped) in str(error)


def test_two_members_of_one_name(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(3))
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.write(tmp_path / "x.npy", "x.npy")
        archive.write(tmp_path / "x.npy", "x.npy")
    with pytest.raises(FormatError, match=r"x.npy is there twice"):
        list(NpzData(tmp_path / "x.npz"))


def test_no_byte_of_an_lmdb_file_leads_astray(tmp_path, same):
    """Its tree has no checksums, and LMDB's library follows whatever is in it, out of the file too."""
    data = [[i, "x" * i] for i in range(60)]
    path = write(DataFromList(data), tmp_path / "x.lmdb", progress=False)
    content = path.read_bytes()
    used = [place for place, byte in enumerate(content) if byte]
    # heads and the edges of pages whole, of the rest some
    edges = [place for place in used if place % 4096 < 160 or place % 4096 > 3900]
    for place in sorted({*edges[::2], *used[:: max(1, len(used) // 300)]}):
        assert_read_or_named(path, content, place, bytes([content[place] ^ (1 << place % 8)]), data, same)
    for place in [99, *range(0, len(content), 64)]:
        assert_read_or_named(path, content, place, bytes(64), data, same)


def assert_read_or_named(path, content, place, new, data, same):
    one = path.with_name("one.lmdb")
    one.unlink(missing_ok=True)  # another file, where LMDB still has the last one mapped
    one.write_bytes(content[:place] + new + content[place + len(new) :])
    try:
        found = list(LMDBData(one))
    except FormatError as error:
        assert str(one) in str(error), place
    else:
        same(data, found)


def test_a_branch_of_a_foreign_lmdb_that_points_elsewhere(tmp_path):
    path = tmp_path / "x.lmdb"
    with (
        lmdb.open(str(path), subdir=False, map_size=1 << 24) as environment,
        environment.begin(write=True) as transaction,
    ):
        for number in range(2000):
            transaction.put(b"%08d" % number, b"v" * 20)
    content, rng = path.read_bytes(), np.random.default_rng(0)
    expected = list(LMDBData(path))
    used = [place for place, byte in enumerate(content) if byte and place % 4096 < 64]
    told = 0
    for place in rng.choice(used, 200).tolist():
        one = tmp_path / "one.lmdb"
        one.unlink(missing_ok=True)
        one.write_bytes(content[:place] + bytes([content[place] ^ 1 << int(rng.integers(8))]) + content[place + 1 :])
        try:
            found = list(LMDBData(one))
        except FormatError as error:
            assert str(one) in str(error)
            told += 1
        else:
            assert len(found) in (0, len(expected))  # none: the state before the last
    assert told > 50
