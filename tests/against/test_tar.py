"""Tars beside the tarfile module, grouped by WebDataset's rule.

But for one thing: of ``._1.bin`` it makes no sample, of ``train/._1.bin`` the sample ``train/``, as its pattern lets a
slash be a part of the stem.
"""

from __future__ import annotations

import io
import re
import tarfile

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from flowtrain.dataflow.formats import TarData
from flowtrain.utils.errors import DataFlowError, FormatError

from .tries import tries

RULE = re.compile(r"^((?:.*/|)[^.]+)[.]([^/]*)$")  # of WebDataset: up to the first dot of the last part

stems = st.sampled_from(["1", "2", "a b", "é", "X", "0001", "x" * 120])
folders = st.sampled_from(["", "", "", "train/", "./", "a.b/", "deep/er/"])
endings = st.sampled_from([".bin", ".cls", ".seg.png", ".JPG", ".txt"])
usual = st.tuples(folders, stems, endings).map("".join)
hidden = st.tuples(folders, st.sampled_from(["._1.bin", ".DS_Store", ".hidden.cls"])).map("".join)
members = st.lists(
    st.tuples(st.one_of(usual, usual, usual, hidden), st.binary(max_size=1200)),
    max_size=8,
    unique_by=lambda pair: pair[0],
)


def archive(path, members, form, folders=False):
    with tarfile.open(path, "w", format=form) as file:
        for name, content in members:
            if folders and "/" in name:
                info = tarfile.TarInfo(name.rpartition("/")[0])
                info.type = tarfile.DIRTYPE
                file.addfile(info)
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))


def grouped(path):
    """Key -> sample, in the order in which keys first come."""
    samples = {}
    with tarfile.open(path) as file:
        for info in file:
            found = RULE.match(info.name)
            if info.isfile() and found and not info.name.rpartition("/")[2].startswith("."):
                key, extension = found.groups()
                samples.setdefault(key, {"__key__": key})[extension] = file.extractfile(info).read()
    return list(samples.values())


@tries(50)
@given(members, st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]), st.booleans())
def test_samples(tmp_path_factory, members, form, folders):
    path = tmp_path_factory.mktemp("tar") / "x.tar"
    assume(form != tarfile.USTAR_FORMAT or all(len(name) < 100 for name, _ in members))
    archive(path, members, form, folders)
    if samples := grouped(path):
        assert list(TarData(path)) == samples
    else:
        with pytest.raises(DataFlowError, match="holds no records"):
            list(TarData(path))


@tries(30)
@given(usual, st.binary(max_size=20))
def test_a_name_that_is_there_twice(tmp_path_factory, name, content):
    path = tmp_path_factory.mktemp("tar") / "x.tar"
    archive(path, [(name, content), (name, content)], tarfile.PAX_FORMAT)
    try:
        list(TarData(path))
    except FormatError as error:
        assert str(path) in str(error) and "twice" in str(error)
    else:
        raise AssertionError("WebDataset refuses it too")


def test_an_extension_that_would_replace_the_key(tmp_path):
    archive(tmp_path / "x.tar", [("1.bin", b""), ("1.__key__", b"2")], tarfile.PAX_FORMAT)
    with pytest.raises(FormatError, match=r"x.tar.*'1.__key__': a sample's key stands under this"):
        list(TarData(tmp_path / "x.tar"))
