"""Decoding of a region of a JPEG, by the C API of TurboJPEG 3 (libjpeg-turbo), called through ctypes.

libjpeg-turbo skips the rows above the region without their inverse transform, stops below it, and leaves out the
columns beside it. No Python package has that in its interface, so the shared library is called, if there is one: the
wheel of pylibjxl contains it, and conda, Homebrew, Fedora and Arch have it (that of Debian and Ubuntu is too old). The
pixels are those of decoding the whole picture, bit for bit.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import sys
from collections.abc import Iterator
from ctypes import c_char_p, c_int, c_size_t, c_void_p
from pathlib import Path

import numpy as np

__all__ = ["decode_region", "why_no_regions"]

_SYSTEM = {
    "linux": ("libturbojpeg.so.0",),
    "darwin": (
        "libturbojpeg.dylib",
        "/opt/homebrew/opt/jpeg-turbo/lib/libturbojpeg.dylib",
        "/usr/local/opt/jpeg-turbo/lib/libturbojpeg.dylib",
    ),
    "win32": ("turbojpeg.dll",),
}

# Constants of turbojpeg.h, version 3: TJINIT, TJPARAM, TJPF; the widths of an MCU by TJSAMP.
_DECOMPRESS = 1
_SUBSAMPLING, _WIDTH, _HEIGHT = 4, 5, 6
_PIXELS = {3: 0, 1: 6}  # RGB, gray
_MCU_WIDTH = {0: 8, 1: 16, 2: 16, 3: 8, 4: 8, 5: 32, 6: 8}  # 4:4:4, 4:2:2, 4:2:0, gray, 4:4:0, 4:1:1, 4:4:1
_MARGIN = 2  # columns beyond a pixel's own that smooth upsampling of colours by two reads


class _Region(ctypes.Structure):
    _fields_ = [("x", c_int), ("y", c_int), ("width", c_int), ("height", c_int)]


class _Factor(ctypes.Structure):
    _fields_ = [("num", c_int), ("denom", c_int)]


_FUNCTIONS = {
    "tj3Init": (c_void_p, [c_int]),
    "tj3Destroy": (None, [c_void_p]),
    "tj3Get": (c_int, [c_void_p, c_int]),
    "tj3GetErrorStr": (c_char_p, [c_void_p]),
    "tj3DecompressHeader": (c_int, [c_void_p, c_void_p, c_size_t]),
    "tj3SetScalingFactor": (c_int, [c_void_p, _Factor]),
    "tj3SetCroppingRegion": (c_int, [c_void_p, _Region]),
    "tj3Decompress8": (c_int, [c_void_p, c_void_p, c_size_t, c_void_p, c_int, c_int]),
}


def _files() -> Iterator[str]:
    spec = importlib.util.find_spec("pylibjxl")
    if spec is not None and spec.origin:
        yield from map(str, Path(spec.origin).parent.glob("_pylibjxl*"))
    yield from _SYSTEM.get(sys.platform, ())


@functools.cache
def _library() -> ctypes.CDLL | None:
    for file in _files():
        try:
            library = ctypes.CDLL(file)
            for name, (result, arguments) in _FUNCTIONS.items():
                function = getattr(library, name)
                function.restype, function.argtypes = result, arguments
        except (OSError, AttributeError):  # not there, or not version 3
            continue
        return library
    return None


def why_no_regions() -> str | None:
    """Why :func:`decode_region` cannot be used on this machine; None if it can."""
    return None if _library() else "there is no TurboJPEG 3 on this machine (pip install pylibjxl)"


def decode_region(data: np.ndarray, channel: int, scale: int, region: tuple[int, int, int, int]) -> np.ndarray:
    """Decode a region of a JPEG.

    The data below the region are not read; damage above it or in it is an error, as far as libjpeg-turbo notices it.

    Args:
        data: uint8 (N,), contiguous: the file.
        channel: 3 for RGB, 1 for gray.
        scale: Decode at 1/scale of the size: 1, 2, 4 or 8.
        region: (y, x, height, width) in the picture of that size, as stored in the file (orientation not applied).

    Returns:
        uint8 (height, width, channel), in general a view that is not contiguous.

    Raises:
        ValueError: The data are damaged, or TurboJPEG cannot decode a region of them.
    """
    library = _library()
    if library is None:
        raise ValueError("there is no TurboJPEG 3")
    # A new decompressor for each picture: libjpeg keeps the tables of the picture before, by which it would decode a
    # damaged JPEG that has none instead of reporting an error.
    handle = library.tj3Init(_DECOMPRESS)
    if not handle:
        raise ValueError("TurboJPEG gives no decompressor")

    def check(result: int) -> None:
        if result:  # -1 for warnings of damage too, after which libjpeg-turbo would return a picture
            raise ValueError(library.tj3GetErrorStr(handle).decode(errors="replace"))

    start, size = data.ctypes.data, data.size
    try:
        check(library.tj3DecompressHeader(handle, start, size))
        mcu = _MCU_WIDTH.get(library.tj3Get(handle, _SUBSAMPLING))
        if mcu is None:
            raise ValueError("its colours are sampled in a way that TurboJPEG has no name for")
        width = -(-library.tj3Get(handle, _WIDTH) // scale)
        y, x, rows, columns = region
        # At the region's left and right edges colours are upsampled as if the picture ended there, so a margin is
        # decoded too and cut off. TurboJPEG takes only a left edge that is a multiple of the (scaled) MCU's width.
        first = max(0, x - _MARGIN) // (mcu // scale) * (mcu // scale)
        last = min(width, x + columns + _MARGIN)
        out = np.empty((rows, last - first, channel), np.uint8)
        check(library.tj3SetScalingFactor(handle, _Factor(1, scale)))
        check(library.tj3SetCroppingRegion(handle, _Region(first, y, last - first, rows)))
        check(library.tj3Decompress8(handle, start, size, out.ctypes.data, 0, _PIXELS[channel]))
        return out[:, x - first : x - first + columns]
    finally:
        library.tj3Destroy(handle)
