"""Reader and writer of npz archives and npy arrays that maps uncompressed arrays into memory.

``np.load`` does not serve here: it loads each member of an npz whole, and allocates whatever a damaged header claims.
"""

from __future__ import annotations

import ast
import io
import math
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from ...utils.claims import DEFLATE_MOST, Claim, check_claim
from ...utils.dtypes import array_from_bytes, check_count, dtype_from_text
from ...utils.errors import FormatError
from ...utils.storage import is_url
from .mapped import RemoteArray, map_array
from .openfiles import BoundedReader
from .sidecar import load_or_build
from .source import damaged, parsing

__all__ = ["NpzFile", "map_npy", "parse_npy", "write_npz"]

# https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT, sections 4.3.7 and 4.3.16
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # of a member: signature, length of its name, length of its extra field
_END = struct.Struct("<4s6xH10x")  # the last record of the archive: signature, number of members
_CHUNK = 1 << 22
_MAGIC = b"\x93NUMPY"
_HEADER_MOST = 1 << 16  # bytes of header that are parsed; NumPy's own limit is 10,000
_CHECKED_KIND = 6  # kind of sidecar that lists the arrays whose CRC-32 was compared
_NOTED_FROM = 1 << 26  # bytes of arrays from which a sidecar is written

Read = Callable[[int], bytes]


@dataclass(frozen=True)
class _Header:
    """The header of an npy array."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype
    length: int  # bytes before the elements

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def array(self, content: bytes | bytearray, start: int = 0) -> np.ndarray:
        shape = self.shape[::-1] if self.fortran else self.shape
        array = array_from_bytes(self.dtype, shape, content, start)
        return array.T if self.fortran else array


def write_npz(path: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an uncompressed npz from arrays that may be larger than memory, such as mapped ones.

    Args:
        path: The file.
        arrays: Member name (without ``.npy``) -> array.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, array in arrays.items():
            # force_zip64: the size is unknown to zipfile when the local header is written, and may exceed 2 GiB
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


class NpzFile(dict[str, "np.ndarray | RemoteArray"]):
    """Name -> array of an npz. Members that are stored are mapped; compressed ones are loaded into memory.

    Args:
        path: The file, or its URL.

    Raises:
        FormatError: The file is cut short, damaged or not npz, or an array holds pickled objects.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path
        self._members: dict[str, tuple[zipfile.ZipInfo, int]] = {}  # each with the offset of its content
        with (
            BoundedReader(path) as file,
            parsing(path, "not an npz file, cut short, or damaged"),
            zipfile.ZipFile(file) as archive,  # type: ignore[arg-type]
        ):
            members = archive.infolist()
            self._check_count(file, archive, len(members))
            for info in members:
                # Before the ending is looked at: a flipped bit in ".npy" would otherwise hide the member silently.
                place = _place_of(path, file, info)
                if info.filename.endswith(".npy"):
                    name = info.filename.removesuffix(".npy")
                    if name in self:
                        raise damaged(path, f"{info.filename} is there twice", offset=info.header_offset)
                    self._members[name] = info, place
                    self[name] = self._open(archive, file, name)
        if not self:
            raise damaged(path, "a zip file without any .npy member: not an npz")

    def _check_count(self, file: BoundedReader, archive: zipfile.ZipFile, found: int) -> None:
        """Compare the number of members in the archive's end record with the number that zipfile found.

        The central directory is a chain of entries of variable length, so a damaged length of one entry can hide those
        that follow. 0xFFFF says that the number stands in the zip64 record.
        """
        at = file.size - _END.size - len(archive.comment)
        file.seek(at)
        mark, told = _END.unpack(file.read(_END.size))
        if mark != b"PK\x05\x06" or told not in (found, 0xFFFF):
            raise damaged(self.path, f"the archive's end tells of {told} members, {found} are in its list", offset=at)

    def _open(self, archive: zipfile.ZipFile, file: BoundedReader, name: str) -> np.ndarray | RemoteArray:
        info, start = self._members[name]
        if info.compress_type == zipfile.ZIP_STORED:
            return _map_array(self.path, file, start, info.file_size, info.filename)
        if info.compress_type == zipfile.ZIP_DEFLATED:
            try:
                check_claim(info.file_size, info.compress_size, ratio=DEFLATE_MOST)  # before anything is decompressed
            except Claim as error:
                raise damaged(self.path, f"{info.filename}: {error} when decompressed", offset=start) from error
        with archive.open(info) as member:
            return _load_array(self.path, member.read, info.filename)

    def check(self, names: list[str]) -> None:
        """Compare the CRC-32 of stored members, by reading them whole. Compressed ones were compared when loaded.

        For large arrays a sidecar (``.ftindex``) records that this was done, so that it is done once. Nothing is
        compared for a file at a URL, since that would fetch all of it.

        Args:
            names: The arrays to check.

        Raises:
            FormatError: The content of a member does not have its CRC-32.
        """
        if is_url(self.path):
            return
        stored = sorted(name for name in names if self._members[name][0].compress_type == zipfile.ZIP_STORED)

        def compare(path: str) -> bytes:
            for name in stored:
                self._check_member(name)
            return "\n".join(stored).encode()

        if sum(self[name].nbytes for name in stored) < _NOTED_FROM:
            compare(self.path)
        else:
            load_or_build(
                self.path, _CHECKED_KIND, compare, lambda noted: set(stored) <= set(noted.decode().split("\n"))
            )

    def _check_member(self, name: str) -> None:
        info, start = self._members[name]
        crc = 0
        with BoundedReader(self.path) as file:
            for at in range(start, start + info.file_size, _CHUNK):
                file.seek(at)
                crc = zlib.crc32(file.read(min(_CHUNK, start + info.file_size - at)), crc)
        if crc != info.CRC:
            what = f"{info.filename}: its {info.file_size:,} bytes do not have the CRC-32 that the archive has for them"
            raise damaged(self.path, what, offset=start)


def map_npy(path: str) -> np.ndarray | RemoteArray:
    """Map the array of an npy file into memory.

    Raises:
        FormatError: The file is cut short, damaged or not npy, or holds pickled objects.
    """
    with BoundedReader(path) as file:
        return _map_array(path, file, 0, file.size, "the array")


def parse_npy(content: bytes) -> np.ndarray:
    """Parse the content of an npy file.

    Returns:
        The array, which owns its memory.

    Raises:
        FormatError: It is cut short, damaged or not npy, or holds pickled objects.
    """
    header = _read_header(io.BytesIO(content).read)
    try:
        return header.array(content, header.length).copy()
    except ValueError as error:
        raise FormatError(f"cut short or damaged: {error}") from error


def _place_of(path: str, file: BoundedReader, info: zipfile.ZipInfo) -> int:
    """Offset of a member's content, which only its local header tells.

    The local header repeats the name of the central directory; comparing the two finds damage in either.
    """
    file.seek(info.header_offset)
    head = file.read(30)
    if len(head) == 30 and head[:4] == b"PK\x03\x04":
        _, name_length, extra_length = _LOCAL_HEADER.unpack(head)
        encoding = "utf-8" if info.flag_bits & 0x800 else "cp437"  # as zipfile decodes orig_filename
        if file.read(name_length).decode(encoding, "replace") == info.orig_filename:
            return info.header_offset + 30 + name_length + extra_length
    raise damaged(path, f"{info.filename}: its header in the archive is damaged", offset=info.header_offset)


def _read_header(read: Read) -> _Header:
    """Read the header of an npy file (https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html).

    Raises:
        FormatError: It is damaged, or the array holds Python objects.
    """
    start = read(8)
    if len(start) < 8 or start[:6] != _MAGIC or start[6] not in (1, 2, 3) or start[7]:
        raise FormatError("cut short or damaged: it does not begin as an npy file does")
    wide = start[6] > 1
    size = read(4 if wide else 2)
    length = int.from_bytes(size, "little")
    if length > _HEADER_MOST:
        raise FormatError(f"damaged: a header of {length:,} bytes")
    text = read(length)
    try:
        if len(text) < length:
            raise ValueError("it ends within its header")
        return _parse_header(text.decode("utf-8" if start[6] == 3 else "latin-1"), 8 + len(size) + length)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
        raise FormatError(f"cut short or damaged: its header is none of NumPy's ({error})") from error


def _parse_header(text: str, length: int) -> _Header:
    try:
        found = ast.literal_eval(text.strip())
    except SyntaxError:
        found = ast.literal_eval(re.sub(r"(\d)L\b", r"\1", text.strip()))  # NumPy under Python 2 wrote longs as 10L
    if not isinstance(found, dict) or found.keys() != {"descr", "fortran_order", "shape"}:
        raise ValueError("descr, fortran_order and shape expected")
    shape, fortran, descr = found["shape"], found["fortran_order"], found["descr"]
    if not isinstance(shape, tuple) or not all(type(size) is int and size >= 0 for size in shape) or len(shape) > 64:
        raise ValueError(f"the shape {str(shape)[:80]}")
    if type(fortran) is not bool or not isinstance(descr, (str, list)):
        raise ValueError("descr or fortran_order of a wrong type")
    if re.search(r"^[|<>=]?O", descr) if isinstance(descr, str) else re.search(r"'[|<>=]?O'", repr(descr)):
        raise FormatError(
            "it holds pickled Python objects, which are never loaded: save numbers, or write it with write(ds, path)"
        )
    dtype = dtype_from_text(descr if isinstance(descr, str) else repr(descr))
    check_count(dtype, shape)
    return _Header(shape, fortran, dtype, length)


def _header_of(path: str, read: Read, what: str, start: int) -> _Header:
    try:
        return _read_header(read)
    except FormatError as error:
        raise damaged(path, f"{what}: {error}", offset=start) from error


def _load_array(path: str, read: Read, what: str) -> np.ndarray:
    """Load the array of a compressed member.

    The buffer grows with the decompressed bytes, so a header that claims too much costs no memory.
    """
    header = _header_of(path, read, what, 0)
    most = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if header.nbytes > most:
        advice = "np.savez, which does not compress, makes a file that is mapped"
        raise damaged(path, f"{what}: needs {header.nbytes:,} bytes, this machine has {most:,}: {advice}")
    content = bytearray()
    # One byte more than the array needs is asked for: zipfile compares the CRC-32 only when a read reaches the end of
    # the member, and a member that is too long is found so.
    while len(content) <= header.nbytes:
        part = read(min(_CHUNK, header.nbytes + 1 - len(content)))
        if not part:
            break
        content += part
    if len(content) != header.nbytes:
        more = "more" if len(content) > header.nbytes else f"{len(content):,}"
        what = f"{what}: shape {header.shape} and dtype {header.dtype} need {header.nbytes:,} bytes, {more} are there"
        raise damaged(path, what)
    return header.array(content)


def _map_array(path: str, file: BoundedReader, start: int, size: int, what: str) -> np.ndarray | RemoteArray:
    file.seek(start)
    header = _header_of(path, file.read, what, start)
    begin, wanted = start + header.length, header.nbytes
    there = min(start + size, file.size) - begin
    if wanted > there:
        need = f"shape {header.shape} and dtype {header.dtype} need {wanted:,} bytes, {there:,} are there"
        raise damaged(path, f"{what}: cut short: {need}", offset=begin)
    if wanted == 0:
        try:
            return header.array(b"")
        except ValueError as error:  # (0, 2**62, 2**62) has no elements either, but NumPy refuses the shape
            raise damaged(path, f"{what}: shape {header.shape} is none: {error}", offset=begin) from error
    return map_array(path, header.dtype, begin, header.shape, header.fortran)
