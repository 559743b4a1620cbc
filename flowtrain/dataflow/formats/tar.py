"""Source over tar files in WebDataset's layout: the files of one sample share their name up to the first dot."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgpack

from ...utils.arguments import check_choice
from ...utils.errors import DataFlowError, FormatError
from ..core.base import Datapoint
from ..core.undecoded import get_leaving
from ..sources.turbojpeg import why_no_regions
from .framing import crc32c
from .openfiles import BoundedReader, OpenFiles
from .shards import ShardedSource
from .sidecar import load_or_build
from .source import PathLike, compression, damaged, parsing
from .tarsample import CHECKSUM, MARK, decode_members, decode_webdataset

__all__ = ["TarData"]

_INDEX_KIND = 5
_BLOCK = 512
_CHUNK = 1 << 20
_ERRORS = "surrogateescape"  # how tarfile decodes names that are not UTF-8

Sample = dict[str, Any]


class TarData(ShardedSource):
    """Samples of tar files in WebDataset's layout, in any order.

    ``0001.jpg`` and ``0001.cls`` make one sample with the components ``jpg`` and ``cls``. An index beside each tar
    (``.ftindex``, built at first use) gives random access: the flow can shuffle all samples, and no shard has to be
    read from its start. The files of a sample need not follow each other. Files whose name begins with a dot
    (``._1.jpg`` and ``.DS_Store`` of macOS) are ignored, as in WebDataset.

    Args:
        path: A file, a list of files, or a pattern such as ``"train-*.tar"``. Compressed files are refused.
        decode: None: tars of :func:`~flowtrain.dataflow.formats.write` give their datapoints, others a dict: the key
            of the sample as ``"__key__"``, and each extension -> bytes of that file. ``"raw"``: always that dict.
            ``"auto"``: that dict, decoded by extension (npy, json, txt, cls, and pictures as RGB). Or a function of
            the dict.
        shuffle: Use a new random order in each epoch.
        seed: Seed of the order; None takes the default.
        verify: Whether the checksums that ``write`` stores are compared; other tars have none for contents.

    Raises:
        DataFlowError: A file is missing or unreadable, or ``decode`` is unknown.
        FormatError: When first read: a file is cut short, damaged, compressed or not a tar, or has a name twice.

    Order:
        As in the files; with ``shuffle`` a new permutation of all samples each epoch. Indexable.

    State:
        The index of the next datapoint; resuming costs nothing.

    Example:
        >>> ds = TarData("train-*.tar", decode="auto", shuffle=True)    # doctest: +SKIP
        >>> ds = MapData(ds, lambda s: [s["jpg"], s["cls"]])            # doctest: +SKIP
    """

    def __init__(
        self,
        path: PathLike | Sequence[PathLike],
        decode: Callable[[Sample], Datapoint] | Literal["raw", "auto"] | None = None,
        *,
        shuffle: bool = False,
        seed: int | Literal["random"] | None = None,
        verify: bool = True,
    ) -> None:
        if not callable(decode):
            check_choice(
                "TarData", "decode", decode, (None, "raw", "auto"), DataFlowError, also="a function of the sample"
            )
        super().__init__(path, shuffle=shuffle, seed=seed, what="tar file")
        self._decode = decode_webdataset if decode == "auto" else decode
        self._verify = verify

    def _get_undecoded(self, index: int, epoch: int) -> Datapoint:
        return get_leaving(self, index, epoch)

    def _why_decoded(self) -> str | None:
        return why_no_regions() if self._decode is decode_webdataset else ""

    def _open_files(self) -> tuple[Sequence[_TarFile], list[int]]:
        files = OpenFiles()
        return self._lay_out(self._open_each(lambda path: _TarFile(path, files, self._decode, self._verify)))


class _TarFile:
    """One tar file, with the offset and size of every file of every sample.

    Args:
        path: The tar, or its URL.
        files: The cache of open files.
        decode: As in `TarData`, with ``"auto"`` already replaced by its function.
        verify: Whether checksums are compared.
    """

    def __init__(
        self, path: str, files: OpenFiles, decode: Callable[[Any], Datapoint] | str | None, verify: bool
    ) -> None:
        self.path, self._files, self._decode = path, files, decode
        self._crc = crc32c() if verify else None
        index = msgpack.unpackb(load_or_build(path, _INDEX_KIND, _find_samples), use_list=False, unicode_errors=_ERRORS)
        self._container, self._keys, self._members, size = index
        files.expect(path, size)
        self.count = len(self._keys)

    def read(self, number: int) -> Datapoint:
        key = self._keys[number]
        read = self._files[self.path].read
        members = []
        for name, start, size, stored in self._members[number]:
            content = read(start, start + size) if size else b""
            if stored is not None and self._crc is not None and self._crc(content) != stored:
                what = f"sample {key!r}: the file .{name} does not have the checksum that is stored with it"
                raise damaged(self.path, what, record=number, offset=start)
            members.append((name, content))
        try:
            if self._container and self._decode is None:
                return decode_members(self._container, members)
            sample: Sample = {"__key__": key, **dict(members)}
            return sample if self._decode is None or isinstance(self._decode, str) else self._decode(sample)
        except FormatError as error:
            where = self._members[number][0][1] if members else None
            raise damaged(self.path, f"sample {key!r}: {error}", record=number, offset=where) from error


def _find_samples(path: str) -> bytes:
    """Build the index of a tar from its headers.

    Returns:
        A msgpack list: container of the datapoints (``"list"`` or ``"dict"``; empty if not of `write`), keys of the
        samples, of each sample a list of (extension, offset, size, CRC32C or None), size of the tar.

    Raises:
        FormatError: The tar is damaged, cut short, compressed, or no set of samples.
    """
    samples: dict[str, dict[str, tuple[int, int, int | None]]] = {}
    end, checked, count = 0, False, None
    with BoundedReader(path) as file:
        kind = compression(file.read(8))
        file.seek(0)
        if kind:
            what = f"a compressed tar ({kind}): files cannot be found in it by their place; decompress it first"
            raise damaged(path, what)
        with (
            parsing(path, "not a tar file, cut short or damaged", lambda: {"record": len(samples), "offset": end}),
            # "r:" and not "r", which decompresses: the offsets of members would then not be offsets in the file
            tarfile.open(fileobj=file, mode="r:") as archive,  # type: ignore[call-overload]
        ):
            container = archive.pax_headers.get(MARK)
            for info in archive:
                start, end = info.offset_data, _end_of(path, info, file.size)
                if info.isdir():
                    continue
                stem, extension = _split(info.name)
                if stem is None:
                    continue
                members = samples.setdefault(stem, {})
                if extension == "__key__":
                    what = f"{info.name!r}: a sample's key stands under this extension; rename the file"
                    raise damaged(path, what, record=len(samples) - 1, offset=info.offset)
                if extension in members:
                    what = f"{info.name!r} is there twice: one sample would have two files .{extension}"
                    raise damaged(path, what, record=len(samples) - 1, offset=info.offset)
                stored, count = _stored_checksum(info)
                checked = checked or stored is not None
                members[extension] = start, info.size, stored
        _check_end(path, file, end, len(samples))
        # A checksum in any header says that `write` made the tar: then the container and the number of samples must be
        # there too. Else a damaged global header, or a tar without its last members, would pass as one of another tool.
        if container not in (None, "list", "dict") or (checked and container is None):
            raise damaged(path, f"the pax header {MARK} at its start says {container!r}, not list or dict", offset=0)
        if checked and count != len(samples):
            what = "the last sample is not marked as the last" if count is None else f"it should have {count:,} samples"
            raise damaged(path, f"cut short: {what}", record=len(samples), offset=end)
        members = [[(name, *place) for name, place in members.items()] for members in samples.values()]
        index = [container or "", list(samples), members, file.size]
        return msgpack.packb(index, unicode_errors=_ERRORS)  # type: ignore[return-value]


def _split(name: str) -> tuple[str | None, str]:
    """The key of a file's sample (None for a file that is ignored), and the file's extension."""
    folder, base = os.path.split(name)
    if base.startswith("."):
        return None, ""
    stem, _, extension = base.partition(".")
    return os.path.join(folder, stem), extension


def _end_of(path: str, info: tarfile.TarInfo, size: int) -> int:
    """The offset after a member, where the next header is.

    Raises:
        FormatError: The member is neither a file nor a folder, or the archive ends before the member does.
    """
    if not (info.isreg() or info.isdir()) or info.issparse():
        raise damaged(path, f"{info.name!r} is a link or a device: only files are expected", offset=info.offset)
    stated = info.pax_headers.get("size", "0")
    if not (stated.isascii() and stated.isdigit()):  # tarfile takes any other text for 0, and goes on there
        raise damaged(path, f"{info.name!r}: the pax header says that its size is {stated[:80]!r}", offset=info.offset)
    if info.size < 0:
        raise damaged(path, f"{info.name!r} has {info.size} bytes", offset=info.offset)
    end = info.offset_data + (-(-info.size // _BLOCK) * _BLOCK if info.isreg() else 0)
    if end > size:
        there = max(0, size - info.offset_data)
        what = f"cut short: {info.name!r} has {info.size:,} bytes, {there:,} are there"
        raise damaged(path, what, offset=info.offset_data)
    return end


def _stored_checksum(info: tarfile.TarInfo) -> tuple[int | None, int | None]:
    """The CRC32C that `write` stored for a file, and the number of samples, which the last file has; None if absent."""
    if not info.gname.startswith(CHECKSUM):
        return None, None
    crc, _, count = info.gname.removeprefix(CHECKSUM).partition(":")
    try:
        return int(crc, 16), int(count) if count else None
    except ValueError:
        return None, None


def _check_end(path: str, file: BoundedReader, end: int, samples: int) -> None:
    """Check that nothing but zeros follows the last member.

    tarfile takes a damaged header, as well as the end of the file, for the end of the archive, and reports neither.

    Raises:
        FormatError: The end of the archive is missing, or something else follows.
    """
    if end + _BLOCK > file.size:
        what = "cut short: the blocks that mark the end of the archive are missing"
        raise damaged(path, what, record=samples, offset=end)
    file.seek(end)
    for at in range(end, file.size, _CHUNK):
        rest = file.read(_CHUNK)
        if rest.count(0) != len(rest):
            what = (
                "no file header here" if at == end and any(rest[:_BLOCK]) else "zeros, which end an archive, and more"
            )
            raise damaged(path, f"{what}: damaged, or several archives one after the other", record=samples, offset=at)
