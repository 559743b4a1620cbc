"""npz archives: written member by member, and mapped into memory where they are not compressed."""

from __future__ import annotations

import os
import struct
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from .source import damaged

__all__ = ["map_npy", "map_npz", "write_npz"]

_LOCAL_HEADER = struct.Struct("<4s22xHH")  # of a member in a zip file: name and extra field have these lengths
_CHUNK = 1 << 22


def write_npz(path: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an uncompressed npz from arrays that may be larger than memory.

    Args:
        path: The file.
        arrays: Member name (without ``.npy``) -> array.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(name + ".npy"), "w", force_zip64=True) as member:
                described = {
                    "descr": np.lib.format.dtype_to_descr(array.dtype),
                    "fortran_order": False,
                    "shape": array.shape,
                }
                np.lib.format.write_array_header_2_0(member, described)
                for part in _parts(array):
                    member.write(part)


def _parts(array: np.ndarray) -> Iterator[bytes]:
    flat = array.reshape(-1)
    step = max(1, _CHUNK // max(1, array.dtype.itemsize))
    for start in range(0, flat.size, step):
        yield flat[start : start + step].tobytes()


def map_npz(path: str) -> dict[str, np.ndarray]:
    """The arrays of an npz: mapped where the member is stored as it is, loaded where it is compressed.

    Args:
        path: The file.

    Returns:
        Name -> array, in the file's order.

    Raises:
        FormatError: The file is cut short, damaged or not npz, or an array holds pickled objects.
    """
    try:
        with zipfile.ZipFile(path) as archive, open(path, "rb") as file:
            names = [info for info in archive.infolist() if info.filename.endswith(".npy")]
            if not names:
                raise damaged(path, "a zip file without any .npy member: not an npz")
            return {info.filename.removesuffix(".npy"): _member(path, archive, file, info) for info in names}
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise damaged(path, f"not an npz file, cut short, or damaged: {error}") from error


def map_npy(path: str) -> np.ndarray:
    """The array of an npy file, mapped.

    Raises:
        FormatError: The file is cut short, damaged or not npy, or holds pickled objects.
    """
    with open(path, "rb") as file:
        return _map_array(path, file, 0, os.path.getsize(path), "the array")


def _member(path: str, archive: zipfile.ZipFile, file: Any, info: zipfile.ZipInfo) -> np.ndarray:
    if info.compress_type != zipfile.ZIP_STORED:
        with archive.open(info) as member:
            try:
                return np.lib.format.read_array(member, allow_pickle=False)
            except (ValueError, zipfile.zlib.error) as error:  # type: ignore[attr-defined]
                raise damaged(path, f"{info.filename}: {_reason(error)}", offset=info.header_offset) from error
    file.seek(info.header_offset)
    head = file.read(30)
    if len(head) < 30 or head[:4] != b"PK\x03\x04":
        raise damaged(path, f"{info.filename}: its header in the archive is damaged", offset=info.header_offset)
    _, name_length, extra_length = _LOCAL_HEADER.unpack(head)
    return _map_array(path, file, info.header_offset + 30 + name_length + extra_length, info.file_size, info.filename)


def _map_array(path: str, file: Any, start: int, size: int, what: str) -> np.ndarray:
    file.seek(start)
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
    except (ValueError, EOFError) as error:
        raise damaged(path, f"{what}: {_reason(error)}", offset=start) from error
    if dtype.hasobject:
        raise damaged(path, f"{what}: {_reason(ValueError('allow_pickle'))}", offset=start)
    begin = file.tell()
    wanted = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if begin + wanted > start + size or begin + wanted > os.fstat(file.fileno()).st_size:
        there = start + size - begin
        what = f"{what}: cut short: shape {shape} and dtype {dtype} need {wanted:,} bytes, {there:,} are there"
        raise damaged(path, what, offset=begin)
    if wanted == 0:
        return np.empty(shape, dtype)
    return np.memmap(path, dtype, "r", begin, shape, "F" if fortran else "C")


def _reason(error: Exception) -> str:
    if "pickle" in str(error):
        return "it holds pickled Python objects, which are never loaded: save numbers, or write it with write(ds, path)"
    return f"cut short or damaged: {error}"
